/** Bytes to the numbers the vision tokenizer works on, and back. */
import { Emu3Error } from '../../kernels/core/errors.js';
import { checkRgb, resizeBicubic } from './resize.js';
import type { PixelLimits, Size } from './sizes.js';
import { smartResize } from './sizes.js';

const channels = 3;

/** A picture in bytes. */
export interface RgbImage extends Size {
  /** `[height][width][3]`, rows from the top. */
  rgb: Uint8Array<ArrayBuffer>;
}

/** A picture in numbers, mostly -1 to 1. */
export interface PixelValues extends Size {
  /** `[3][height][width]`. */
  data: Float32Array<ArrayBuffer>;
}

/** Pictures of different size in one tensor. */
export interface PixelBatch extends Size {
  /** `[pictures][3][height][width]`; zeros right of and below each picture. */
  data: Float32Array<ArrayBuffer>;
  /** Each picture's own size, in pixels. */
  sizes: Size[];
}

/** byte / 255 rounded to single precision, then (x - 0.5) / 0.5, for each byte. */
const valueOfByte = Float32Array.from({ length: 256 }, (_, byte) => (Math.fround(byte / 255) - 0.5) / 0.5);

/** Bytes to numbers from -1 to 1, channels first. */
export function normalise(image: RgbImage): PixelValues {
  const { rgb, height, width } = image;
  checkRgb(rgb, width, height);
  const area = height * width;
  const data = new Float32Array(channels * area);
  for (let pixel = 0; pixel < area; pixel++) {
    for (let channel = 0; channel < channels; channel++) {
      data[channel * area + pixel] = valueOfByte[rgb[pixel * channels + channel]];
    }
  }
  return { data, height, width };
}

/**
 * The decoder's numbers to bytes: (x + 1) / 2 * 255 in single precision, clipped to 0..255, truncated.
 *
 * @param values `[3][height][width]`
 */
export function postprocess(values: { data: ArrayLike<number> } & Size): RgbImage {
  const { data, height, width } = values;
  const area = height * width;
  if (data.length !== channels * area) {
    throw new Emu3Error(`${data.length} numbers are no picture of 3 x ${height} x ${width}.`, {
      code: 'shape',
      where: 'pixel values',
      fix: `Give ${channels * area} numbers.`,
    });
  }
  const rgb = new Uint8Array(channels * area);
  for (let pixel = 0; pixel < area; pixel++) {
    for (let channel = 0; channel < channels; channel++) {
      const halved = Math.fround(Math.fround(data[channel * area + pixel] + 1) / 2);
      const scaled = Math.fround(halved * 255);
      rgb[pixel * channels + channel] = Math.trunc(Math.min(Math.max(scaled, 0), 255));
    }
  }
  return { rgb, height, width };
}

/** Brings a picture to the vision tokenizer's size and numbers. The sides of the result are multiples of the factor. */
export function prepareImage(image: RgbImage, limits: Partial<PixelLimits> = {}): PixelValues & { resized: RgbImage } {
  const { height, width } = smartResize(image.height, image.width, limits);
  const resized = { rgb: resizeBicubic(image.rgb, image.width, image.height, width, height), height, width };
  return { ...normalise(resized), resized };
}

/**
 * Puts pictures of different size into one batch, each in the top left corner, zeros elsewhere. Zeros are mid-grey, and
 * the convolutions see them: codes near the edge, and through attention all codes, differ from the picture's own.
 *
 * @throws Emu3Error `argument` for an empty list
 */
export function padBatch(images: readonly PixelValues[]): PixelBatch {
  if (images.length === 0) {
    throw new Emu3Error('A batch needs at least one picture.', {
      code: 'argument',
      where: 'images',
      fix: 'Pass one or more pictures.',
    });
  }
  const height = Math.max(...images.map((image) => image.height));
  const width = Math.max(...images.map((image) => image.width));
  const data = new Float32Array(images.length * channels * height * width);
  images.forEach((image, index) => {
    for (let line = 0; line < channels * image.height; line++) {
      const channel = Math.floor(line / image.height);
      const row = line % image.height;
      data.set(
        image.data.subarray(line * image.width, (line + 1) * image.width),
        ((index * channels + channel) * height + row) * width,
      );
    }
  });
  return { data, height, width, sizes: images.map((image) => ({ height: image.height, width: image.width })) };
}

/**
 * Cuts a picture's own codes out of a padded grid.
 *
 * @param codes `[gridHeight][gridWidth]`
 * @param size the picture's size in tokens
 * @returns `[size.height][size.width]` as one row after the other
 * @throws Emu3Error `shape` when the picture does not fit the grid
 */
export function cropCodes(codes: ArrayLike<number>, gridWidth: number, size: Size): number[] {
  if (size.width > gridWidth || size.height * gridWidth > codes.length) {
    throw new Emu3Error(`${size.height} x ${size.width} codes do not fit ${codes.length} codes, ${gridWidth} a row.`, {
      code: 'shape',
      where: 'codes',
      fix: 'Give the whole grid of the batch, and the size in tokens.',
    });
  }
  return Array.from({ length: size.height * size.width }, (_, index) => {
    const row = Math.floor(index / size.width);
    return codes[row * gridWidth + (index % size.width)];
  });
}
