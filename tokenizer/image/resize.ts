/** Bicubic resizing, byte for byte as the Pillow library does it: the released models were trained on its output. */
import { Emu3Error } from '../../kernels/core/errors.js';

const channels = 3;
/** Pillow keeps weights as integers: 32 bits less 8 for the pixel and 2 for overshoot of the cubic. */
const weightBits = 22;
/** Half width of the cubic at scale 1, in source pixels. */
const cubicSupport = 2;

/** Keys' cubic with a = -0.5. */
function cubic(distance: number): number {
  const a = -0.5;
  const x = Math.abs(distance);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

/** Which source pixels feed each target pixel of a line, and with which fixed-point weights. */
interface LineWeights {
  first: Int32Array;
  count: Int32Array;
  /** `[target pixel][perTarget]`. */
  weights: Int32Array;
  perTarget: number;
}

function lineWeights(sourceSize: number, targetSize: number): LineWeights {
  const scale = sourceSize / targetSize;
  // When shrinking, the cubic is stretched over all source pixels that fall into a target pixel.
  const stretch = Math.max(scale, 1);
  const support = cubicSupport * stretch;
  const perTarget = Math.ceil(support) * 2 + 1;
  const first = new Int32Array(targetSize);
  const count = new Int32Array(targetSize);
  const weights = new Int32Array(targetSize * perTarget);
  const exact = new Float64Array(perTarget);
  for (let target = 0; target < targetSize; target++) {
    const centre = (target + 0.5) * scale;
    const start = Math.max(Math.trunc(centre - support + 0.5), 0);
    const length = Math.min(Math.trunc(centre + support + 0.5), sourceSize) - start;
    let sum = 0;
    for (let tap = 0; tap < length; tap++) {
      const weight = cubic((tap + start - centre + 0.5) * (1 / stretch));
      exact[tap] = weight;
      sum += weight;
    }
    for (let tap = 0; tap < length; tap++) {
      const weight = exact[tap] / (sum === 0 ? 1 : sum);
      const scaled = weight * (1 << weightBits);
      weights[target * perTarget + tap] = Math.trunc(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
    }
    first[target] = start;
    count[target] = length;
  }
  return { first, count, weights, perTarget };
}

/**
 * Resizes all lines of one direction. A line's pixels lie `pixelStride` bytes apart, the lines `lineStride` bytes;
 * channels are lines of their own.
 */
function resizeLines(
  source: Uint8Array,
  target: Uint8Array,
  line: LineWeights,
  lineCount: number,
  sourceAt: { pixel: number; line: number },
  targetAt: { pixel: number; line: number },
): void {
  const { first, count, weights, perTarget } = line;
  for (let row = 0; row < lineCount; row++) {
    for (let pixel = 0; pixel < first.length; pixel++) {
      const taps = count[pixel];
      const weightStart = pixel * perTarget;
      const sourceStart = row * sourceAt.line + first[pixel] * sourceAt.pixel;
      const targetStart = row * targetAt.line + pixel * targetAt.pixel;
      for (let channel = 0; channel < channels; channel++) {
        let sum = 1 << (weightBits - 1);
        let index = sourceStart + channel;
        for (let tap = 0; tap < taps; tap++, index += sourceAt.pixel) {
          sum += source[index] * weights[weightStart + tap];
        }
        const value = sum >> weightBits;
        target[targetStart + channel] = value < 0 ? 0 : value > 255 ? 255 : value;
      }
    }
  }
}

/**
 * Resizes a picture with an antialiased bicubic filter: first along rows, then along columns, each pass rounded to
 * bytes. A direction whose size stays is not filtered.
 *
 * @param rgb `[height][width][3]` bytes
 * @returns `[newHeight][newWidth][3]` bytes, always a fresh array
 * @throws Emu3Error `image` when the bytes do not fit the size or a size is not a positive integer
 */
export function resizeBicubic(
  rgb: Uint8Array | Uint8ClampedArray,
  width: number,
  height: number,
  newWidth: number,
  newHeight: number,
): Uint8Array<ArrayBuffer> {
  checkRgb(rgb, width, height);
  checkSize(newWidth, newHeight);
  let current = new Uint8Array(rgb);
  if (newWidth !== width) {
    const target = new Uint8Array(newWidth * height * channels);
    resizeLines(
      current,
      target,
      lineWeights(width, newWidth),
      height,
      { pixel: channels, line: width * channels },
      { pixel: channels, line: newWidth * channels },
    );
    current = target;
  }
  if (newHeight !== height) {
    const target = new Uint8Array(newWidth * newHeight * channels);
    resizeLines(
      current,
      target,
      lineWeights(height, newHeight),
      newWidth,
      { pixel: newWidth * channels, line: channels },
      { pixel: newWidth * channels, line: channels },
    );
    current = target;
  }
  return current;
}

function checkSize(width: number, height: number): void {
  if (!Number.isInteger(width) || !Number.isInteger(height) || width < 1 || height < 1) {
    throw new Emu3Error(`A picture cannot be ${width} x ${height} pixels.`, {
      code: 'image',
      where: 'width x height',
      fix: 'Give positive whole numbers of pixels.',
    });
  }
}

/** @throws Emu3Error `image` unless `rgb` holds width * height * 3 bytes. */
export function checkRgb(rgb: ArrayLike<number>, width: number, height: number): void {
  checkSize(width, height);
  if (rgb.length !== width * height * channels) {
    throw new Emu3Error(`${rgb.length} bytes are no RGB picture of ${width} x ${height} pixels.`, {
      code: 'image',
      where: 'rgb',
      fix: `Give ${width * height * channels} bytes: rows from the top, three bytes a pixel, no alpha.`,
    });
  }
}
