import {
  allowedClass,
  calculateGenerateSize,
  emu3SpecialVocabulary,
  PrefixGrammar,
  smartResize,
  trainingPrepareResize,
  type Size,
  type TokenClass,
} from '../../tokenizer/index.js';
import { Emu3Error } from '../../kernels/core/errors.js';
import { failure, same, summary, type Check } from './checks.js';

interface RecordedConstraint {
  sizes?: { h: number; w: number; classes: string }[];
  large?: { h: number; w: number; rle: [string, number][]; total: number; counts: Record<string, number> }[];
  batch?: { heights: number[]; widths: number[]; rows: string[] }[];
  two_img_tokens?: { h: number; w: number; img_positions: number[]; length: number; allowed: string };
}

const letters: Record<TokenClass, string> = { visual: 'v', eol: 'l', eof: 'f', eoi: 'i', eos: 's', pad: 'p' };
const special = emu3SpecialVocabulary().ids;

function classes(height: number, width: number, length: number): string {
  return Array.from({ length }, (_, index) => letters[allowedClass(index + 1, height, width)]).join('');
}

/** The grammar of pictures at every offset. */
export function checkConstraint(recorded: Readonly<Record<string, unknown>>): Check[] {
  const { sizes, large, batch, two_img_tokens: twoPlaces }: RecordedConstraint = recorded;
  const checks: Check[] = unknownKeys(recorded, ['letters', 'note', 'sizes', 'large', 'batch', 'two_img_tokens']);
  if (sizes) {
    const rows = sizes.map(({ h, w, classes: expected }) =>
      same(`${h}x${w}`, classes(h, w, expected.length), expected),
    );
    checks.push(summary('sizes', rows));
  }
  if (large) checks.push(summary('large sizes', large.flatMap(checkLarge)));
  if (batch) {
    const rows = batch.flatMap(({ heights, widths, rows: expected }) => {
      const grammar = new PrefixGrammar(
        special,
        heights.map((height, index): Size => ({ height, width: widths[index] })),
      );
      return expected.map((row, index) => same(`row ${index}`, grow(grammar, index, row.length), row));
    });
    checks.push(summary('batches', rows));
  }
  if (twoPlaces) {
    const { h, w, img_positions: places, length, allowed } = twoPlaces;
    const ids = Array.from({ length }, (_, index) => (places.includes(index) ? special.img : 5));
    const found = new PrefixGrammar(special, [{ height: h, width: w }]).allowedClass(0, ids);
    checks.push(same('two image tokens', letters[found], allowed));
  }
  return checks;
}

/** Classes along a row that grows by the first id allowed, behind a prompt whose length differs from row to row. */
function grow(grammar: PrefixGrammar, row: number, length: number): string {
  const ids = [special.bos, ...new Array<number>(row).fill(7), special.img];
  let found = '';
  while (found.length < length) {
    found += letters[grammar.allowedClass(row, ids)];
    ids.push(grammar.allowedIds(row, ids).first);
  }
  return found;
}

/** Run lengths are recorded from both ends; what lies between is in the counts. */
function checkLarge({ h, w, rle, total, counts }: NonNullable<RecordedConstraint['large']>[number]): Check[] {
  const all = classes(h, w, total);
  const runs = Array.from(all.matchAll(/(.)\1*/g), ([run]): [string, number] => [run[0], run.length]);
  const found: Record<string, number> = {};
  for (const letter of all) found[letter] = (found[letter] ?? 0) + 1;
  const text = (list: readonly [string, number][]): string => list.map((run) => run.join('')).join(' ');
  let matches = false;
  for (let head = 0; head <= rle.length; head++) {
    const tail = rle.length - head;
    const joined = [...runs.slice(0, head), ...(tail === 0 ? [] : runs.slice(-tail))];
    matches ||= runs.length >= rle.length && text(joined) === text(rle);
  }
  return [
    same(`${h}x${w} counts`, Object.entries(found).sort(), Object.entries(counts).sort()),
    same(`${h}x${w} runs`, matches, true),
  ];
}

interface SizeRow {
  height?: number;
  width?: number;
  factor?: number;
  min_pixels?: number;
  max_pixels?: number;
  image_area?: number;
  out?: number[];
  error?: string;
  ratio_w_h?: string;
  spatial_scale_factor?: number;
  h?: number;
  w?: number;
}

type SizeSection = SizeRow[] | (SizeRow & { rows: SizeRow[] });

/** Sizes of pictures: a row with a ratio is a size to generate, one with an area a training resize, else smart resize. */
export function checkSizes(recorded: Readonly<Record<string, SizeSection>>): Check[] {
  return Object.entries(recorded).flatMap(([name, section]) => {
    if (typeof section !== 'object') return [];
    const shared = Array.isArray(section) ? {} : section;
    const rows = Array.isArray(section) ? section : section.rows;
    return Array.isArray(rows)
      ? [
          summary(
            name,
            rows.map((row) => checkSize({ ...shared, ...row })),
          ),
        ]
      : [failure(name, 'no rows')];
  });
}

function checkSize(row: SizeRow): Check {
  const { height = NaN, width = NaN, image_area: area, ratio_w_h: ratio } = row;
  if (ratio !== undefined && area !== undefined) {
    const size = calculateGenerateSize(ratio, area, row.spatial_scale_factor);
    return same(`${ratio} at ${area}`, [size.height, size.width], [row.h, row.w]);
  }
  const what = `${height}x${width}`;
  const resize = (): Size => {
    if (area !== undefined) return trainingPrepareResize(height, width, area);
    return smartResize(height, width, {
      ...(row.factor === undefined ? {} : { factor: row.factor }),
      ...(row.min_pixels === undefined ? {} : { minPixels: row.min_pixels }),
      ...(row.max_pixels === undefined ? {} : { maxPixels: row.max_pixels }),
    });
  };
  try {
    const size = resize();
    return same(what, [size.height, size.width], row.out ?? `error: ${row.error ?? 'nothing recorded'}`);
  } catch (error) {
    const isRefusal = error instanceof Emu3Error && error.code === 'image';
    return same(what, isRefusal && row.error !== undefined ? 'refused' : String(error), 'refused');
  }
}

/** A failing check for each section of a JSON file that no check reads. */
export function unknownKeys(recorded: object, known: readonly string[]): Check[] {
  return Object.keys(recorded)
    .filter((key) => !known.includes(key))
    .map((key) => failure(key, 'no known case reads this section'));
}
