/** Takes documents apart again: text, pictures and videos, from strings or from token ids. */
import { Emu3Error } from '../../kernels/core/errors.js';
import type { SpecialRole } from '../special.js';
import { roleOf, specialTokenNames, visualTokenCode, visualTokenPattern } from '../special.js';
import type { TextTokenizer } from '../text/text-tokenizer.js';
import type { CodeClip, CodeGrid } from './segments.js';
import { checkCode } from './segments.js';

export type DocumentPart =
  { kind: 'text'; text: string } | { kind: 'image'; image: CodeGrid } | { kind: 'video'; video: CodeClip };

/** A token with a meaning inside pictures, and the range it covers in the document. */
interface Mark {
  role: SpecialRole | 'visual';
  code: number;
  start: number;
  end: number;
}

const pictureRoles = ['boi', 'img', 'eol', 'eof', 'eoi'] as const;
const markPattern = new RegExp(
  [...pictureRoles.map((role) => specialTokenNames[role].replaceAll('|', '\\|')), visualTokenPattern.source].join('|'),
  'g',
);

/**
 * Parts of a document's string form. Whatever stands from an image start to the next image end is a picture, or a video
 * when its header has four numbers; everything else, special strings included, is text. A picture without its end stays
 * text. The rows count, not the header's size.
 *
 * @param visualCount entries of the codebook
 * @throws Emu3Error `token` for a code outside the codebook, `format` for rows of different length or a picture of none
 */
export function parseDocumentString(text: string, visualCount = 32_768): DocumentPart[] {
  const marks = Array.from(text.matchAll(markPattern), (match): Mark => {
    const [token] = match;
    const code = visualTokenCode(token);
    const role = pictureRoles.find((name) => specialTokenNames[name] === token) ?? 'visual';
    return { role, code: code ?? -1, start: match.index, end: match.index + token.length };
  });
  return partsOf(marks, text.length, visualCount, (start, end) => text.slice(start, end));
}

/**
 * Parts of a document given as token ids, by the same rules.
 *
 * @throws Emu3Error `token` for an id outside the vocabulary, `format` as {@link parseDocumentString}
 */
export function parseDocumentIds(
  ids: ArrayLike<number>,
  tokenizer: Pick<TextTokenizer, 'decode' | 'special'>,
): DocumentPart[] {
  const { special } = tokenizer;
  const list = Array.from(ids);
  const marks: Mark[] = [];
  for (const [index, id] of list.entries()) {
    const role = roleOf(id, special);
    if (role !== undefined) marks.push({ role, code: id - special.visualStart, start: index, end: index + 1 });
  }
  return partsOf(marks, list.length, special.visualCount, (start, end) => tokenizer.decode(list.slice(start, end)));
}

function partsOf(
  marks: Mark[],
  length: number,
  visualCount: number,
  textOf: (start: number, end: number) => string,
): DocumentPart[] {
  const parts: DocumentPart[] = [];
  let place = 0;
  const pushText = (end: number): void => {
    if (end > place) parts.push({ kind: 'text', text: textOf(place, end) });
  };
  let open = marks.findIndex((mark) => mark.role === 'boi');
  while (open >= 0) {
    const close = marks.findIndex((mark, index) => index > open && mark.role === 'eoi');
    if (close < 0) break;
    pushText(marks[open].start);
    parts.push(picturePart(marks.slice(open, close + 1), visualCount, textOf));
    place = marks[close].end;
    open = marks.findIndex((mark, index) => index > close && mark.role === 'boi');
  }
  pushText(length);
  return parts;
}

/** @param marks from image start to image end */
function picturePart(marks: Mark[], visualCount: number, textOf: (start: number, end: number) => string): DocumentPart {
  const rows: number[][] = [];
  let row: number[] = [];
  let frames = 0;
  const endRow = (): void => {
    if (row.length > 0) rows.push(row);
    row = [];
  };
  for (const { role, code } of marks) {
    if (role === 'visual') {
      checkCode(code, visualCount);
      row.push(code);
    } else if (role === 'eol' || role === 'eoi') {
      endRow();
    } else if (role === 'eof') {
      endRow();
      frames++;
    }
  }
  const width = rows[0]?.length ?? 0;
  const uneven = rows.findIndex((codes) => codes.length !== width);
  if (width === 0 || uneven >= 0) {
    throw formatError(
      width === 0
        ? 'The picture has no visual tokens.'
        : `Row ${uneven} has ${rows[uneven].length} visual tokens, row 0 has ${width}.`,
    );
  }
  const codes = rows.flat();
  const imageToken = marks.find((mark) => mark.role === 'img');
  const header = imageToken === undefined ? '' : textOf(marks[0].end, imageToken.start);
  const framesPerSecond = /^\d+\*\d+\*\d+\*(\d+(?:\.\d+)?)$/.exec(header)?.[1];
  if (framesPerSecond === undefined) return { kind: 'image', image: { codes, height: rows.length, width } };
  if (frames === 0 || rows.length % frames !== 0) {
    throw formatError(`${rows.length} rows do not divide into ${frames} latent frames.`);
  }
  const height = rows.length / frames;
  return { kind: 'video', video: { codes, frames, height, width, framesPerSecond: Number(framesPerSecond) } };
}

function formatError(message: string): Emu3Error {
  return new Emu3Error(message, {
    code: 'format',
    where: 'picture in the document',
    fix: 'Generate it again with the grammar of the picture switched on.',
  });
}
