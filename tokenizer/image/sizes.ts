/** Which size a picture is brought to before it becomes tokens, and which size a generated one gets. */
import { Emu3Error } from '../../kernels/core/errors.js';

/** A height and a width, in pixels or in tokens as the function says. */
export interface Size {
  height: number;
  width: number;
}

export interface PixelLimits {
  /** Pixels a token covers along each side. */
  factor: number;
  /** Smallest area, in pixels. */
  minPixels: number;
  /** Largest area, in pixels. */
  maxPixels: number;
}

/** The released image processor's limits: 512 x 512 to 1024 x 1024 pixels, 8 x 8 a token. */
export const defaultPixelLimits: PixelLimits = { factor: 8, minPixels: 512 * 512, maxPixels: 1024 * 1024 };

const largestAspectRatio = 5;

/** Rounds to the nearest integer, halves to the even one. */
export function roundHalfToEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return rest < 0.5 ? floor : floor + 1;
  return floor % 2 === 0 ? floor : floor + 1;
}

/**
 * The size, in pixels, a picture is resized to for the vision tokenizer: sides are multiples of `factor`, the area lies
 * within the limits, the aspect ratio stays about the same.
 *
 * Whether the area is too large or too small is asked of the rounded sides, but the scale comes from the original ones,
 * as in the released processor: 300 x 1500 becomes 304 x 1504.
 *
 * @throws Emu3Error `image` when a side is shorter than `factor`, one side is more than 5 times the other, or the limits
 * leave no room for a single token
 */
export function smartResize(height: number, width: number, limits: Partial<PixelLimits> = {}): Size {
  const { factor, minPixels, maxPixels } = { ...defaultPixelLimits, ...limits };
  if (!(height >= factor && width >= factor)) {
    throw new Emu3Error(`A picture of ${height} x ${width} pixels (height x width) is too small.`, {
      code: 'image',
      where: 'picture size',
      fix: `Both sides must have at least ${factor} pixels.`,
    });
  }
  const ratio = Math.max(height, width) / Math.min(height, width);
  if (ratio > largestAspectRatio) {
    throw new Emu3Error(`The picture's aspect ratio ${Number(ratio.toFixed(4))} is above ${largestAspectRatio}.`, {
      code: 'image',
      where: `${height} x ${width} pixels (height x width)`,
      fix: `Crop it so that the longer side is at most ${largestAspectRatio} times the shorter one.`,
    });
  }
  let size = {
    height: roundHalfToEven(height / factor) * factor,
    width: roundHalfToEven(width / factor) * factor,
  };
  if (size.height * size.width > maxPixels) {
    const shrink = Math.sqrt((height * width) / maxPixels);
    size = {
      height: Math.floor(height / shrink / factor) * factor,
      width: Math.floor(width / shrink / factor) * factor,
    };
  } else if (size.height * size.width < minPixels) {
    const grow = Math.sqrt(minPixels / (height * width));
    size = {
      height: Math.ceil((height * grow) / factor) * factor,
      width: Math.ceil((width * grow) / factor) * factor,
    };
  }
  if (size.height < factor || size.width < factor) {
    throw new Emu3Error(`At most ${maxPixels} pixels leave no token for a picture of ${height} x ${width} pixels.`, {
      code: 'image',
      where: 'maxPixels',
      fix: 'Raise maxPixels, or crop the picture to a squarer shape.',
    });
  }
  return size;
}

/**
 * The size, in tokens, of a picture to generate.
 *
 * @param ratio width to height, as `"16:9"`
 * @param imageArea area in pixels to come close to, e.g. 720 * 720
 * @param factor pixels a token covers along each side
 * @throws Emu3Error `argument` for a ratio that is not two positive whole numbers, or an area without a token
 */
export function calculateGenerateSize(ratio: string, imageArea: number, factor = 8): Size {
  const match = /^\s*(\d+)\s*:\s*(\d+)\s*$/.exec(ratio);
  const width = Number(match?.[1]);
  const height = Number(match?.[2]);
  if (match === null || width === 0 || height === 0) {
    throw new Emu3Error(`"${ratio}" is not a ratio.`, {
      code: 'argument',
      where: 'ratio',
      fix: 'Write width and height as whole numbers with a colon, such as "1:1" or "16:9".',
    });
  }
  const scale = Math.sqrt(imageArea / (height * width));
  const size = {
    height: roundHalfToEven((height * scale) / factor),
    width: roundHalfToEven((width * scale) / factor),
  };
  if (!(size.height >= 1 && size.width >= 1 && Number.isFinite(size.height * size.width))) {
    throw new Emu3Error(`An area of ${imageArea} pixels holds no ${ratio} picture.`, {
      code: 'argument',
      where: 'imageArea',
      fix: 'Give a larger area, or a ratio closer to 1:1.',
    });
  }
  return size;
}

/**
 * The size, in pixels, that training data is brought to before {@link smartResize}: the given area, same aspect ratio.
 *
 * @throws Emu3Error `image` when a side would vanish
 */
export function trainingPrepareResize(height: number, width: number, imageArea: number): Size {
  const scale = Math.sqrt(imageArea / (height * width));
  const size = { height: roundHalfToEven(height * scale), width: roundHalfToEven(width * scale) };
  if (!(size.height >= 1 && size.width >= 1 && Number.isFinite(size.height * size.width))) {
    throw new Emu3Error(`A picture of ${height} x ${width} pixels cannot be brought to an area of ${imageArea}.`, {
      code: 'image',
      where: 'picture size',
      fix: 'Give positive sides, a positive area and a squarer shape.',
    });
  }
  return size;
}
