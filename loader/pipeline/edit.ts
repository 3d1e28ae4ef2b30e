/** Drawing a part of a picture anew: which tokens, and how the result is put together. */
import { Emu3Error } from '../../kernels/core/errors.js';
import { mix32 } from '../../kernels/core/mix.js';
import type { RgbImage, Size } from '../../tokenizer/index.js';
import type { GeneratedImage, GenerateRequest } from './generate.js';
import type { EncodedImage } from './pixels.js';

const channels = 3;

/** Which pixels of a picture are to be drawn anew. */
export interface PixelMask extends Size {
  /** `[height][width]`; 0 keeps a pixel, anything else draws it anew. */
  data: ArrayLike<number>;
}

/** The settings of a picture whose size another picture gives. */
type DrawingRequest = Omit<GenerateRequest, 'ratio' | 'size' | 'keep'>;

export interface EditRequest extends DrawingRequest {
  /** A picture that is encoded already, as a drawn one is, keeps the tokens it has. */
  image: RgbImage | EncodedImage;
  /** Of the size in pixels. Every token with a marked pixel is drawn anew. */
  mask: PixelMask;
}

export interface VariationRequest extends DrawingRequest {
  /** A picture that is encoded already, as a drawn one is, keeps the tokens it has. */
  image: RgbImage | EncodedImage;
  /** Share of the tokens that are drawn anew, above 0 and at most 1; which ones follows from the seed. */
  share: number;
}

export interface EditedImage extends GeneratedImage {
  /** `[height][width]` in tokens, 1 where the model drew. */
  redrawn: Uint8Array;
}

/**
 * Refuses tokens that do not belong to their pixels.
 *
 * @param factor pixels along one side of a token.
 * @throws Emu3Error `shape` naming both sizes.
 */
export function checkEncoded({ height, width, resized }: EncodedImage, factor: number): void {
  if (resized.height === height * factor && resized.width === width * factor) return;
  throw new Emu3Error(
    `A picture of ${resized.height} x ${resized.width} pixels was given for ${height} x ${width} tokens of ${factor} x ` +
      `${factor} pixels.`,
    { code: 'shape', where: 'image', fix: 'Give pixels and tokens of the same picture.' },
  );
}

/**
 * Tokens with at least one marked pixel, [height][width] of 0 and 1.
 *
 * @param size of the picture in tokens.
 * @throws Emu3Error `shape` when the mask has not the picture's size, `argument` when it marks nothing.
 */
export function tokensUnderMask(mask: PixelMask, image: Size, size: Size): Uint8Array {
  if (mask.height !== image.height || mask.width !== image.width || mask.data.length !== mask.height * mask.width) {
    throw new Emu3Error(
      `A mask of ${mask.height} x ${mask.width} with ${mask.data.length} values was given for a picture of ` +
        `${image.height} x ${image.width}.`,
      { code: 'shape', where: 'mask', fix: 'Give one value for every pixel of the picture.' },
    );
  }
  const marked = new Uint8Array(size.height * size.width);
  for (let row = 0; row < mask.height; row++) {
    const tokenRow = Math.floor((row * size.height) / mask.height);
    for (let column = 0; column < mask.width; column++) {
      if (mask.data[row * mask.width + column] === 0) continue;
      marked[tokenRow * size.width + Math.floor((column * size.width) / mask.width)] = 1;
    }
  }
  if (!marked.includes(1)) {
    throw new Emu3Error('The mask marks no pixel.', {
      code: 'argument',
      where: 'mask',
      fix: 'Mark what is to be drawn anew with numbers other than 0.',
    });
  }
  return marked;
}

/**
 * A share of the tokens, drawn by the seed, at least one: [height][width] of 0 and 1.
 *
 * @throws Emu3Error `argument` for a share that is not above 0 and at most 1.
 */
export function tokensByChance({ height, width }: Size, share: number, seed: number): Uint8Array {
  if (!(share > 0 && share <= 1)) {
    throw new Emu3Error(`The share of tokens to draw anew is ${share}.`, {
      code: 'argument',
      where: 'share',
      fix: 'Give a number above 0 and at most 1.',
    });
  }
  const count = height * width;
  const order = Array.from({ length: count }, (_, token) => ({ token, rank: mix32(mix32(seed) ^ (token + 1)) }));
  order.sort((a, b) => a.rank - b.rank);
  const marked = new Uint8Array(count);
  for (const { token } of order.slice(0, Math.max(1, Math.round(share * count)))) marked[token] = 1;
  return marked;
}

/** The request that keeps all tokens of the original but the marked ones. */
export function keepingRequest(request: DrawingRequest, original: EncodedImage, redrawn: Uint8Array): GenerateRequest {
  const { height, width, codes } = original;
  return { ...request, keep: { height, width, codes, kept: redrawn.map((marked) => 1 - marked) } };
}

/** Puts the original's pixels back wherever its tokens were kept, so that they are the same to the bit. */
export function restoreKept(drawn: GeneratedImage, original: EncodedImage, redrawn: Uint8Array): EditedImage {
  const { height, width } = original.resized;
  const rgb = original.resized.rgb.slice();
  const [tokenHeight, tokenWidth] = [height / original.height, width / original.width];
  for (let row = 0; row < height; row++) {
    const tokenRow = Math.floor(row / tokenHeight) * original.width;
    for (let column = 0; column < width; column++) {
      if (redrawn[tokenRow + Math.floor(column / tokenWidth)] === 0) continue;
      const at = (row * width + column) * channels;
      rgb.set(drawn.image.rgb.subarray(at, at + channels), at);
    }
  }
  return { ...drawn, image: { rgb, height, width }, redrawn };
}
