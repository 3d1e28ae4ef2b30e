import { Emu3Error } from '../../../kernels/core/errors.js';

/** Side of the pictures that the checker compares, in pixels. */
export const PICTURE_SIZE = 64;
/** Side of the fine feature map: one cell for 2x2 pixels. */
export const FINE_SIZE = 32;

/**
 * What the checker compares of one picture: its difference from white in CIELAB, three planes (L*, a*, b*), white
 * being zero everywhere.
 */
export interface PictureFeatures {
  /** [3, 32, 32] after a 3x3 binomial blur of the 2x2 averages. */
  fine: Float32Array;
  /** [3, 16, 16], one cell for 4x4 pixels: 2x2 averages of `fine`. */
  coarse: Float32Array;
  /** Sum of squares of `fine` and of `coarse`: how much there is on the white sheet. */
  fineEnergy: number;
  coarseEnergy: number;
}

/** sRGB byte to linear light (IEC 61966-2-1). */
const LINEAR = Float64Array.from({ length: 256 }, (_, byte) => {
  const value = byte / 255;
  return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
});

/** The cube root with its linear toe from the definition of CIELAB (CIE 15:2004, section 8.2.1). */
function labCurve(ratio: number): number {
  return ratio > 216 / 24389 ? Math.cbrt(ratio) : (24389 / 27 / 116) * ratio + 16 / 116;
}

/**
 * CIELAB (D65 white) of 64x64 RGB bytes as three planes [3, 64, 64], with L* lowered by 100 so that white is zero.
 * L* is in [-100, 0], a* and b* roughly in [-110, 110].
 * @throws Emu3Error `shape` when the picture is not 64 x 64 x 3 bytes.
 */
export function labFromWhite(rgb: Uint8Array): Float32Array {
  const pixels = PICTURE_SIZE * PICTURE_SIZE;
  if (rgb.length !== pixels * 3) {
    throw new Emu3Error(`The checker compares pictures of ${pixels * 3} bytes, but this one has ${rgb.length}.`, {
      code: 'shape',
      where: 'rgb',
      fix: `Pass ${PICTURE_SIZE} x ${PICTURE_SIZE} RGB pixels, one byte a channel.`,
    });
  }
  const planes = new Float32Array(pixels * 3);
  for (let index = 0; index < pixels; index++) {
    const red = LINEAR[rgb[index * 3] ?? 0] ?? 0;
    const green = LINEAR[rgb[index * 3 + 1] ?? 0] ?? 0;
    const blue = LINEAR[rgb[index * 3 + 2] ?? 0] ?? 0;
    const x = labCurve((0.4124564 * red + 0.3575761 * green + 0.1804375 * blue) / 0.95047);
    const y = labCurve(0.2126729 * red + 0.7151522 * green + 0.072175 * blue);
    const z = labCurve((0.0193339 * red + 0.119192 * green + 0.9503041 * blue) / 1.08883);
    planes[index] = 116 * y - 116;
    planes[pixels + index] = 500 * (x - y);
    planes[2 * pixels + index] = 200 * (y - z);
  }
  return planes;
}

/** The checker's view of a 64x64 RGB picture; see {@link PictureFeatures}. */
export function pictureFeatures(rgb: Uint8Array): PictureFeatures {
  const fine = blurPlanes(halvePlanes(labFromWhite(rgb), PICTURE_SIZE), FINE_SIZE);
  const coarse = halvePlanes(fine, FINE_SIZE);
  return { fine, coarse, fineEnergy: energy(fine), coarseEnergy: energy(coarse) };
}

function energy(values: Float32Array): number {
  let sum = 0;
  for (const value of values) sum += value * value;
  return sum;
}

/** 2x2 averages: [3, size, size] to [3, size/2, size/2]. */
function halvePlanes(planes: Float32Array, size: number): Float32Array {
  const half = size / 2;
  const result = new Float32Array(3 * half * half);
  for (let row = 0; row < 3 * half; row++) {
    for (let column = 0; column < half; column++) {
      const at = 2 * row * size + 2 * column;
      const top = (planes[at] ?? 0) + (planes[at + 1] ?? 0);
      const bottom = (planes[at + size] ?? 0) + (planes[at + size + 1] ?? 0);
      result[row * half + column] = (top + bottom) / 4;
    }
  }
  return result;
}

/** 3x3 binomial blur (1 2 1)/4 both ways; outside the picture is white, that is zero. */
function blurPlanes(planes: Float32Array, size: number): Float32Array {
  const across = new Float32Array(planes.length);
  for (let index = 0; index < planes.length; index++) {
    const column = index % size;
    const left = column > 0 ? (planes[index - 1] ?? 0) : 0;
    const right = column < size - 1 ? (planes[index + 1] ?? 0) : 0;
    across[index] = (left + 2 * (planes[index] ?? 0) + right) / 4;
  }
  const result = new Float32Array(planes.length);
  for (let index = 0; index < planes.length; index++) {
    const row = Math.floor(index / size) % size;
    const above = row > 0 ? (across[index - size] ?? 0) : 0;
    const below = row < size - 1 ? (across[index + size] ?? 0) : 0;
    result[index] = (above + 2 * (across[index] ?? 0) + below) / 4;
  }
  return result;
}

/**
 * How unlike two pictures are, from 0 (same) to about 2 (they share nothing, or one is blank):
 * `min over shifts of sum (a - b)^2 / mean(sum a^2, sum b^2)`, the features being differences from white, so that
 * pictures are compared by what is drawn and a large white margin counts for nothing. Both pictures move against each
 * other by up to `reach` fine cells (2 pixels each) across and down; what moves in is white.
 */
export function pictureDistance(a: PictureFeatures, b: PictureFeatures, reach = 1): number {
  const scale = (a.fineEnergy + b.fineEnergy) / 2;
  if (scale === 0) return 0;
  let largest = -Infinity;
  for (let down = -reach; down <= reach; down++) {
    for (let right = -reach; right <= reach; right++) {
      largest = Math.max(largest, shiftedProduct(a.fine, b.fine, down, right));
    }
  }
  return Math.max(0, 2 - (2 * largest) / scale);
}

/** The distance of the coarse maps without shifts: the cheap form of {@link pictureDistance} for a shortlist. */
export function coarseDistance(a: PictureFeatures, b: PictureFeatures): number {
  const scale = (a.coarseEnergy + b.coarseEnergy) / 2;
  if (scale === 0) return 0;
  let product = 0;
  for (let index = 0; index < a.coarse.length; index++) product += (a.coarse[index] ?? 0) * (b.coarse[index] ?? 0);
  return Math.max(0, 2 - (2 * product) / scale);
}

/** Inner product of a with b moved by (down, right) cells; with it the squared distance is |a|^2 + |b|^2 - 2 a.b. */
function shiftedProduct(a: Float32Array, b: Float32Array, down: number, right: number): number {
  const size = FINE_SIZE;
  const firstRow = Math.max(0, down);
  const lastRow = Math.min(size, size + down);
  const firstColumn = Math.max(0, right);
  const lastColumn = Math.min(size, size + right);
  const offset = down * size + right;
  let product = 0;
  for (let plane = 0; plane < 3; plane++) {
    for (let row = firstRow; row < lastRow; row++) {
      const start = (plane * size + row) * size;
      for (let at = start + firstColumn; at < start + lastColumn; at++) {
        product += (a[at] ?? 0) * (b[at - offset] ?? 0);
      }
    }
  }
  return product;
}
