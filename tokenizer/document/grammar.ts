/** What may stand where inside a picture: the grammar is a function of the distance from the image token alone. */
import { Emu3Error } from '../../kernels/core/errors.js';
import type { Size } from '../image/sizes.js';
import type { SpecialTokens } from '../special.js';

/** The one kind of token allowed at a place: any visual token, or a single special one. */
export type TokenClass = 'visual' | 'eol' | 'eof' | 'eoi' | 'eos' | 'pad';

/** Consecutive ids. */
export interface IdRange {
  first: number;
  count: number;
}

/** Tokens from the image token's successor to the end: rows with their ends, end of frame, image end, end. */
export function generatedLength({ height, width }: Size): number {
  return height * (width + 1) + 3;
}

/**
 * What is allowed `offset` places after the image token, by the released model's rules in their order: a multiple of
 * width + 1 is an end of row; past the rows come end of frame, image end, end, and then padding; all else is visual.
 *
 * The first rule wins everywhere. So in pictures one or two tokens wide it takes the place of image end or end, and
 * behind the end it goes on among the padding.
 *
 * @param offset current length less the place of the image token, at least 1
 */
export function allowedClass(offset: number, height: number, width: number): TokenClass {
  checkOffset(offset);
  if (offset % (width + 1) === 0) return 'eol';
  return classAfterRows(offset - (width + 1) * height) ?? 'visual';
}

/** Tokens of one latent frame of a video: rows with their ends, and its end. */
export function latentFrameLength({ height, width }: Size): number {
  return height * (width + 1) + 1;
}

/** Tokens from the image token's successor to the end of a video: its latent frames, image end, end. */
export function generatedVideoLength(size: Size, frames: number): number {
  return frames * latentFrameLength(size) + 2;
}

/**
 * The same for a video of our layout: every latent frame is rows with their ends and an end of frame. This one has no
 * odd cases for narrow sizes.
 */
export function allowedVideoClass(offset: number, frames: number, height: number, width: number): TokenClass {
  checkOffset(offset);
  const frameLength = latentFrameLength({ height, width });
  const behind = offset - frames * frameLength;
  if (behind >= 1) return classAfterRows(behind + 1) ?? 'pad';
  const place = ((offset - 1) % frameLength) + 1;
  if (place === frameLength) return 'eof';
  return place % (width + 1) === 0 ? 'eol' : 'visual';
}

/** Class of the n-th token behind the last row, counted from 1; undefined within the rows. */
function classAfterRows(place: number): TokenClass | undefined {
  if (place < 1) return undefined;
  return (['eof', 'eoi', 'eos'] as const)[place - 1] ?? 'pad';
}

function checkOffset(offset: number): void {
  if (Number.isInteger(offset) && offset >= 1) return;
  throw new Emu3Error(`Offset ${offset} is not behind the image token.`, {
    code: 'argument',
    where: 'offset',
    fix: 'Count from the image token: the place right after it is offset 1.',
  });
}

/** Ids of a class. */
export function allowedIds(allowed: TokenClass, special: SpecialTokens): IdRange {
  if (allowed === 'visual') return { first: special.visualStart, count: special.visualCount };
  return { first: special[allowed], count: 1 };
}

/**
 * The grammar of one batch of growing sequences. It remembers where each row's first image token stands, so it serves
 * one generation only.
 */
export class PrefixGrammar {
  private readonly imagePlaces = new Map<number, number>();

  /**
   * @param sizes in tokens: one for all rows, or one for each row
   */
  constructor(
    private readonly special: SpecialTokens,
    private readonly sizes: readonly Size[],
  ) {}

  /**
   * Class of a row's next token.
   *
   * @param ids the row so far, with its image token
   * @throws Emu3Error `argument` when the row has no size, `token` when it has no image token
   */
  allowedClass(row: number, ids: ArrayLike<number>): TokenClass {
    const size = this.sizes.length === 1 ? this.sizes[0] : this.sizes.at(row);
    if (size === undefined || row < 0) {
      throw new Emu3Error(`Row ${row} has no size; ${this.sizes.length} were given.`, {
        code: 'argument',
        where: 'sizes',
        fix: 'Give one size for all rows, or one for each.',
      });
    }
    return allowedClass(ids.length - this.imagePlace(row, ids), size.height, size.width);
  }

  /** Ids of a row's next token. */
  allowedIds(row: number, ids: ArrayLike<number>): IdRange {
    return allowedIds(this.allowedClass(row, ids), this.special);
  }

  private imagePlace(row: number, ids: ArrayLike<number>): number {
    let place = this.imagePlaces.get(row);
    if (place === undefined) {
      place = Array.prototype.indexOf.call(ids, this.special.img);
      if (place < 0) {
        throw new Emu3Error(`Row ${row} has no image token.`, {
          code: 'token',
          where: `row ${row}`,
          fix: 'End the prompt with image start, size and image token.',
        });
      }
      this.imagePlaces.set(row, place);
    }
    return place;
  }
}
