/** A document as a list of segments, and its two written forms: the string and the token ids. */
import { Emu3Error } from '../../kernels/core/errors.js';
import type { Size } from '../image/sizes.js';
import type { SpecialRole } from '../special.js';
import { specialTokenNames, visualTokenName } from '../special.js';
import type { EncodeOptions, TextTokenizer } from '../text/text-tokenizer.js';

/** A picture in tokens; height and width count tokens. */
export interface CodeGrid extends Size {
  /** `[height][width]`, codebook entries from 0. */
  codes: ArrayLike<number>;
}

/** A video in tokens. */
export interface CodeClip extends Size {
  /** Latent frames; one stands for 4 frames of video. */
  frames: number;
  /** Frames of video a second. */
  framesPerSecond: number;
  /** `[frames][height][width]`, codebook entries from 0. */
  codes: ArrayLike<number>;
}

/** What a question or a caption can be about. */
export type VisionCodes = CodeGrid | CodeClip;

/** A piece of a document. Text is always text, whatever it spells. */
export type Segment = { special: SpecialRole } | { text: string } | { visual: number[] };

/** What turning segments into ids needs; every text tokenizer has it. */
export type DocumentVocabulary = Pick<TextTokenizer, 'encode' | 'special'>;

/** The string form, as the released code writes prompts. For people and logs: ids come from {@link documentIds}. */
export function documentString(segments: readonly Segment[]): string {
  return segments
    .map((segment) => {
      if ('text' in segment) return segment.text;
      if ('special' in segment) return specialTokenNames[segment.special];
      return segment.visual.map(visualTokenName).join('');
    })
    .join('');
}

/**
 * The token ids of a document. Special strings inside text segments stay text unless `allowSpecial` is set.
 *
 * @throws Emu3Error `token` for a code outside the codebook
 */
export function documentIds(
  segments: readonly Segment[],
  vocabulary: DocumentVocabulary,
  options?: EncodeOptions,
): number[] {
  const { special } = vocabulary;
  return segments.flatMap((segment) => {
    if ('text' in segment) return vocabulary.encode(segment.text, options);
    if ('special' in segment) return [special[segment.special]];
    return segment.visual.map((code) => {
      checkCode(code, special.visualCount);
      return special.visualStart + code;
    });
  });
}

/** @throws Emu3Error `token` unless the code is an entry of the codebook. */
export function checkCode(code: number, visualCount: number, where = 'visual tokens'): void {
  if (Number.isInteger(code) && code >= 0 && code < visualCount) return;
  throw new Emu3Error(`Code ${code} is not in the codebook of ${visualCount} entries.`, {
    code: 'token',
    where,
    fix: 'Use the vision tokenizer that belongs to the model.',
  });
}

/** A text segment, or nothing for empty text. */
export function textSegment(text: string): Segment[] {
  return text === '' ? [] : [{ text }];
}

/** What opens a picture: image start, its size in tokens as text, image token. */
export function imageHeader(size: Size): Segment[] {
  checkSide(size.height, 'height');
  checkSide(size.width, 'width');
  return [{ special: 'boi' }, { text: `${size.height}*${size.width}` }, { special: 'img' }];
}

/** A whole picture: header, each row and its end, end of frame, image end. */
export function imageSegments(grid: CodeGrid): Segment[] {
  return [...imageHeader(grid), ...frameSegments(grid, grid.codes, 1), { special: 'eoi' }];
}

/**
 * What opens a video. How the released models write its size was never published; here it is
 * `height*width*latentFrames*framesPerSecond`, so the duration is latentFrames * 4 / framesPerSecond seconds.
 */
export function videoHeader(clip: Omit<CodeClip, 'codes'>): Segment[] {
  checkSide(clip.height, 'height');
  checkSide(clip.width, 'width');
  checkSide(clip.frames, 'frames');
  if (!(clip.framesPerSecond > 0 && Number.isFinite(clip.framesPerSecond))) throw sizeError('framesPerSecond');
  const header = `${clip.height}*${clip.width}*${clip.frames}*${clip.framesPerSecond}`;
  return [{ special: 'boi' }, { text: header }, { special: 'img' }];
}

/** A whole video: header, the latent frames with an end of frame after each, image end. */
export function videoSegments(clip: CodeClip): Segment[] {
  return [...videoHeader(clip), ...frameSegments(clip, clip.codes, clip.frames), { special: 'eoi' }];
}

/** A whole picture or a whole video. */
export function visionSegments(vision: VisionCodes): Segment[] {
  return 'framesPerSecond' in vision ? videoSegments(vision) : imageSegments(vision);
}

/**
 * Latent frames: rows with an end of row behind each, and an end of frame behind each frame.
 *
 * @param codes `[frames][height][width]`
 */
export function frameSegments({ height, width }: Size, codes: ArrayLike<number>, frames: number): Segment[] {
  if (codes.length !== frames * height * width) {
    throw new Emu3Error(`${codes.length} codes do not fill ${frames} frame(s) of ${height} x ${width} tokens.`, {
      code: 'shape',
      where: 'codes',
      fix: `Give ${frames * height * width} codes, row after row.`,
    });
  }
  const segments: Segment[] = [];
  for (let row = 0; row < frames * height; row++) {
    const visual = Array.from({ length: width }, (_, column) => codes[row * width + column]);
    segments.push({ visual }, { special: 'eol' });
    if ((row + 1) % height === 0) segments.push({ special: 'eof' });
  }
  return segments;
}

function checkSide(side: number, where: string): void {
  if (!Number.isInteger(side) || side < 1) throw sizeError(where);
}

function sizeError(where: string): Emu3Error {
  return new Emu3Error('The size of a picture or video must be positive.', {
    code: 'argument',
    where,
    fix: 'Give sizes in whole tokens, at least 1, and a positive frame rate.',
  });
}
