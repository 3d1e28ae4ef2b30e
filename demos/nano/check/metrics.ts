import { Emu3Error } from '../../../kernels/core/errors.js';

function requireSameLength(a: Uint8Array, b: Uint8Array): void {
  if (a.length !== b.length || a.length === 0) {
    throw new Emu3Error(`Two pictures of ${a.length} and ${b.length} bytes cannot be compared.`, {
      code: 'shape',
      where: 'pictures',
      fix: 'Pass two pictures of the same size, at least one pixel.',
    });
  }
}

/**
 * Mean squared error of two pictures' bytes, in squared 8-bit steps.
 * @throws Emu3Error `shape` when the lengths differ or are zero.
 */
export function meanSquaredError(a: Uint8Array, b: Uint8Array): number {
  requireSameLength(a, b);
  let sum = 0;
  for (let index = 0; index < a.length; index++) sum += ((a[index] ?? 0) - (b[index] ?? 0)) ** 2;
  return sum / a.length;
}

/**
 * Peak signal-to-noise ratio in dB of 8-bit pictures: 10 log10(255^2 / MSE), the mean over all bytes; Infinity for
 * equal pictures.
 * @throws Emu3Error `shape` when the lengths differ or are zero.
 */
export function psnr(a: Uint8Array, b: Uint8Array): number {
  return 10 * Math.log10(255 ** 2 / meanSquaredError(a, b));
}

/** Window of the structural similarity: 11x11 Gaussian, sigma 1.5. */
const WINDOW_RADIUS = 5;
const WINDOW_SIGMA = 1.5;
/** Stabilisers (0.01 * 255)^2 and (0.03 * 255)^2. */
const LUMINANCE_STABILISER = (0.01 * 255) ** 2;
const CONTRAST_STABILISER = (0.03 * 255) ** 2;

/**
 * Mean structural similarity in [-1, 1], 1 for equal pictures, of two RGB pictures: Wang, Bovik, Sheikh and Simoncelli,
 * "Image quality assessment: from error visibility to structural similarity" (IEEE TIP 2004), equation 13 with the
 * 11x11 Gaussian window of section III.C (sigma 1.5, K1 0.01, K2 0.03), on BT.601 luma, over the windows that lie
 * wholly inside the picture.
 * @param width pixels in a row; rows follow from the length (3 bytes a pixel). Both sides are 11 at least.
 * @throws Emu3Error `shape` when the sizes do not fit.
 */
export function ssim(a: Uint8Array, b: Uint8Array, width: number): number {
  requireSameLength(a, b);
  const height = a.length / 3 / width;
  if (!Number.isInteger(height) || Math.min(width, height) < 2 * WINDOW_RADIUS + 1) {
    throw new Emu3Error(`A picture of ${a.length} bytes in rows of ${width} pixels has no structural similarity.`, {
      code: 'shape',
      where: 'pictures',
      fix: 'Pass whole rows of RGB pixels, 11 x 11 pixels at least.',
    });
  }
  const first = luma(a);
  const second = luma(b);
  const filter = (values: Float64Array): Float64Array => gaussianFilter(values, width, height);
  const meanA = filter(first);
  const meanB = filter(second);
  const squareA = filter(first.map((value) => value * value));
  const squareB = filter(second.map((value) => value * value));
  const product = filter(first.map((value, index) => value * (second[index] ?? 0)));
  let sum = 0;
  for (let index = 0; index < meanA.length; index++) {
    const muA = meanA[index] ?? 0;
    const muB = meanB[index] ?? 0;
    const varianceA = (squareA[index] ?? 0) - muA * muA;
    const varianceB = (squareB[index] ?? 0) - muB * muB;
    const covariance = (product[index] ?? 0) - muA * muB;
    sum +=
      ((2 * muA * muB + LUMINANCE_STABILISER) * (2 * covariance + CONTRAST_STABILISER)) /
      ((muA * muA + muB * muB + LUMINANCE_STABILISER) * (varianceA + varianceB + CONTRAST_STABILISER));
  }
  return sum / meanA.length;
}

function luma(rgb: Uint8Array): Float64Array {
  return Float64Array.from({ length: rgb.length / 3 }, (_, index) => {
    const at = index * 3;
    return 0.299 * (rgb[at] ?? 0) + 0.587 * (rgb[at + 1] ?? 0) + 0.114 * (rgb[at + 2] ?? 0);
  });
}

const WINDOW = gaussianWeights(WINDOW_RADIUS, WINDOW_SIGMA);

/** Gaussian weights at -radius..radius that sum to one. */
export function gaussianWeights(radius: number, sigma: number): number[] {
  const weights = Array.from({ length: 2 * radius + 1 }, (_, index) =>
    Math.exp(-((index - radius) ** 2) / (2 * sigma ** 2)),
  );
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => weight / sum);
}

/** Separable window means where the window fits: [height, width] to [height - 10, width - 10]. */
function gaussianFilter(values: Float64Array, width: number, height: number): Float64Array {
  const outWidth = width - 2 * WINDOW_RADIUS;
  const outHeight = height - 2 * WINDOW_RADIUS;
  const across = new Float64Array(height * outWidth);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < outWidth; column++) {
      let sum = 0;
      for (const [offset, weight] of WINDOW.entries()) sum += weight * (values[row * width + column + offset] ?? 0);
      across[row * outWidth + column] = sum;
    }
  }
  const result = new Float64Array(outHeight * outWidth);
  for (let row = 0; row < outHeight; row++) {
    for (let column = 0; column < outWidth; column++) {
      let sum = 0;
      for (const [offset, weight] of WINDOW.entries())
        sum += weight * (across[(row + offset) * outWidth + column] ?? 0);
      result[row * outWidth + column] = sum;
    }
  }
  return result;
}
