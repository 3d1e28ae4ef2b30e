import {
  calculateGenerateSize,
  documentIds,
  documentString,
  emu3SpecialVocabulary,
  generationPrompt,
  generationSample,
  ignoreIndex,
  parseDocumentString,
  prepareImage,
  sampleLabels,
  specialTokenNames,
  understandingPrompt,
  visualTokenName,
  type CodeGrid,
  type Segment,
  type SpecialRole,
} from '../../tokenizer/index.js';
import { nodeImageCodec } from '../../tokenizer/index.node.js';
import { same, summary, type Check } from './checks.js';
import type { Bench } from './case.js';
import { unknownKeys } from './grammar.js';
import { channelsLastImage } from './layout.js';
import type { Recording } from './recording.js';

interface RecordedSegment {
  special?: SpecialRole;
  token?: string;
  id?: number;
  text?: string;
  visual?: number[];
  ids?: number[];
}

interface Prompt {
  text: string;
  image_size_h_w: number[];
  prompt_string: string;
  segments: RecordedSegment[];
}

export interface RecordedPrompts {
  special_tokens?: Record<string, { token: string; id: number }>;
  visual_token?: { first_id: number; count: number; last_id: number };
  mode_G?: (Prompt & { ratio: string; image_area: number })[];
  mode_U?: (Prompt & {
    image: string;
    image_processor: { min_pixels: number; max_pixels: number; spatial_factor: number };
    vision_tokenizer: string;
  })[];
  training_sample?: { prompt: string; codes: number[][]; string: string; segments: RecordedSegment[] };
  decode_to_parts?: { doc: string; parts: { text?: string; image_codes?: number[][] }[] }[];
}

const released = emu3SpecialVocabulary();

/** Prompts, training samples and their parts, as strings, segments and ids. */
export async function checkPrompts(
  bench: Bench,
  recording: Recording,
  folder: string,
  recorded: RecordedPrompts,
): Promise<Check[]> {
  const checks = unknownKeys(recorded, [
    'note',
    'special_tokens',
    'visual_token',
    'mode_G',
    'mode_U',
    'training_sample',
    'decode_to_parts',
  ]);
  if (recorded.special_tokens) checks.push(summary('special tokens', checkSpecial(recorded.special_tokens)));
  if (recorded.visual_token) {
    const { first_id: first, count, last_id: last } = recorded.visual_token;
    const { visualStart, visualCount } = released.ids;
    checks.push(same('visual tokens', [visualStart, visualCount, visualStart + visualCount - 1], [first, count, last]));
  }
  const compare = async (segments: Segment[], expected: RecordedSegment[], text: string): Promise<Check[]> => [
    same('string', documentString(segments), text),
    same('segments', segments, expected.map(segmentOf)),
    same('ids', documentIds(segments, await bench.textTokenizer()), await recordedIds(bench, expected)),
  ];
  if (recorded.mode_G) {
    const rows: Check[] = [];
    for (const {
      text,
      ratio,
      image_area: area,
      image_size_h_w: sides,
      prompt_string: string,
      segments,
    } of recorded.mode_G) {
      const size = calculateGenerateSize(ratio, area);
      rows.push(same('size', [size.height, size.width], sides));
      rows.push(...(await compare(generationPrompt(text, size), segments, string)));
    }
    checks.push(summary('generation prompts', rows));
  }
  if (recorded.mode_U) {
    const rows: Check[] = [];
    for (const prompt of recorded.mode_U) {
      const { min_pixels: minPixels, max_pixels: maxPixels, spatial_factor: factor } = prompt.image_processor;
      const picture = await nodeImageCodec.decodeImage(await recording.bytes(`${folder}/${prompt.image}`));
      const values = prepareImage(picture, { factor, minPixels, maxPixels });
      const { tokenizer } = await bench.visionTokenizer(prompt.vision_tokenizer.replace(/\/$/, ''));
      const { codes, height, width } = await tokenizer.encode(channelsLastImage(values));
      rows.push(same('size', [height, width], prompt.image_size_h_w));
      const segments = understandingPrompt(prompt.text, { codes, height, width });
      rows.push(...(await compare(segments, prompt.segments, prompt.prompt_string)));
    }
    checks.push(summary('understanding prompts', rows));
  }
  if (recorded.training_sample) {
    const { prompt, codes, string, segments: expected } = recorded.training_sample;
    const segments = generationSample(prompt, gridOf(codes));
    const ids = documentIds(segments, await bench.textTokenizer());
    const learned = sampleLabels(ids, released.ids, 'vision').filter((label) => label !== ignoreIndex);
    const visual = codes.flat().map((code) => released.ids.visualStart + code);
    checks.push(
      summary('training sample', [...(await compare(segments, expected, string)), same('labels', learned, visual)]),
    );
  }
  if (recorded.decode_to_parts) {
    const rows = recorded.decode_to_parts.map(({ doc, parts }) => {
      const expected = parts.map(({ text, image_codes: codes }) =>
        codes === undefined ? { kind: 'text', text: text ?? '' } : { kind: 'image', image: gridOf(codes) },
      );
      return same(doc.slice(0, 30), parseDocumentString(doc), expected);
    });
    checks.push(summary('documents taken apart', rows));
  }
  return checks;
}

function gridOf(rows: number[][]): CodeGrid {
  return { codes: rows.flat(), height: rows.length, width: rows[0]?.length ?? 0 };
}

function segmentOf({ special, text, visual }: RecordedSegment): Segment {
  if (special !== undefined) return { special };
  return visual === undefined ? { text: text ?? '' } : { visual };
}

async function recordedIds(bench: Bench, segments: readonly RecordedSegment[]): Promise<number[]> {
  const tokenizer = await bench.textTokenizer();
  return segments.flatMap(({ id, ids, text }) => (id === undefined ? (ids ?? tokenizer.encode(text ?? '')) : [id]));
}

function checkSpecial(tokens: Readonly<Record<string, { token: string; id: number }>>): Check[] {
  const { ids, named } = released;
  return Object.entries(tokens).map(([role, { token, id }]) => {
    const known = Object.entries(specialTokenNames).find(([name]) => name === role);
    const first = role === 'visual' ? { token: visualTokenName(0), id: ids.visualStart } : undefined;
    const ours = known ? { token: known[1], id: named.get(known[1]) } : first;
    return same(role, ours, { token, id });
  });
}
