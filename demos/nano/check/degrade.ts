import { SeededRandom } from '../world/random.js';
import { gaussianWeights } from './metrics.js';

/** Gaussian blur of a square RGB picture; `sigma` in pixels, positive; the border pixels repeat outside. */
export function blurPicture(rgb: Uint8Array, sigma: number): Uint8Array {
  const size = Math.sqrt(rgb.length / 3);
  const radius = Math.ceil(3 * sigma);
  const weights = gaussianWeights(radius, sigma);
  const pass = (source: ArrayLike<number>, rowStep: number, columnStep: number): Float64Array =>
    Float64Array.from({ length: rgb.length }, (_, index) => {
      const channel = index % 3;
      const row = Math.floor(index / 3 / size);
      const column = Math.floor(index / 3) % size;
      let sum = 0;
      for (const [tap, weight] of weights.entries()) {
        const fromRow = clamp(row + (tap - radius) * rowStep, size - 1);
        const fromColumn = clamp(column + (tap - radius) * columnStep, size - 1);
        sum += weight * source[(fromRow * size + fromColumn) * 3 + channel];
      }
      return sum;
    });
  return Uint8Array.from(pass(pass(rgb, 0, 1), 1, 0), (value) => clamp(Math.round(value), 255));
}

/** Normal noise of the given standard deviation, in 8-bit steps, on every byte. */
export function addNoise(rgb: Uint8Array, deviation: number, seed: number): Uint8Array {
  const random = new SeededRandom(seed);
  return rgb.map((value) => clamp(Math.round(value + deviation * random.normal()), 255));
}

/** The picture moved by whole pixels; the border repeats. */
export function shiftPicture(rgb: Uint8Array, right: number, down: number): Uint8Array {
  const size = Math.sqrt(rgb.length / 3);
  return Uint8Array.from({ length: rgb.length }, (_, index) => {
    const row = clamp(Math.floor(index / 3 / size) - down, size - 1);
    const column = clamp((Math.floor(index / 3) % size) - right, size - 1);
    return rgb[(row * size + column) * 3 + (index % 3)];
  });
}

/** Wrong shades: less contrast, a little too dark in green and too blue. */
export function tintPicture(rgb: Uint8Array): Uint8Array {
  const [scale, lift] = [
    [0.9, 0.95, 0.88],
    [12, 0, 22],
  ];
  return rgb.map((value, index) => clamp(Math.round(scale[index % 3] * value + lift[index % 3]), 255));
}

/** Side of the blocks of {@link quantiseBlocks}, the patch of one vision token. */
const BLOCK = 8;

/**
 * Keeps, in every 8x8 block and channel, the DCT-II coefficients rounded to multiples of `step` times one plus the
 * coefficient's order (row plus column), as JPEG does: ringing and blocks, a stand-in for the damage of a coarse code.
 * @param step 8-bit steps, positive; 24 is coarse.
 */
export function quantiseBlocks(rgb: Uint8Array, step: number): Uint8Array {
  const size = Math.sqrt(rgb.length / 3);
  const result = new Uint8Array(rgb.length);
  const block = new Float64Array(BLOCK * BLOCK);
  for (let top = 0; top < size; top += BLOCK) {
    for (let left = 0; left < size; left += BLOCK) {
      for (let channel = 0; channel < 3; channel++) {
        const at = (index: number): number =>
          ((top + Math.floor(index / BLOCK)) * size + left + (index % BLOCK)) * 3 + channel;
        for (let index = 0; index < block.length; index++) block[index] = rgb[at(index)] - 128;
        const coefficients = transformBlock(block, false);
        for (let index = 0; index < block.length; index++) {
          const unit = step * (1 + Math.floor(index / BLOCK) + (index % BLOCK));
          coefficients[index] = unit * Math.round(coefficients[index] / unit);
        }
        const restored = transformBlock(coefficients, true);
        for (let index = 0; index < block.length; index++) {
          result[at(index)] = clamp(Math.round(restored[index] + 128), 255);
        }
      }
    }
  }
  return result;
}

/** Orthonormal DCT-II matrix: row = frequency, column = sample. */
const COSINES = Float64Array.from({ length: BLOCK * BLOCK }, (_, index) => {
  const frequency = Math.floor(index / BLOCK);
  const sample = index % BLOCK;
  const scale = Math.sqrt((frequency === 0 ? 1 : 2) / BLOCK);
  return scale * Math.cos(((2 * sample + 1) * frequency * Math.PI) / (2 * BLOCK));
});

/** C X C^T, or its inverse C^T X C. */
function transformBlock(block: Float64Array, inverse: boolean): Float64Array {
  const entry = (row: number, column: number): number =>
    COSINES[inverse ? column * BLOCK + row : row * BLOCK + column] ?? 0;
  const half = new Float64Array(block.length);
  const result = new Float64Array(block.length);
  for (let row = 0; row < BLOCK; row++) {
    for (let column = 0; column < BLOCK; column++) {
      let sum = 0;
      for (let inner = 0; inner < BLOCK; inner++) sum += entry(row, inner) * block[inner * BLOCK + column];
      half[row * BLOCK + column] = sum;
    }
  }
  for (let row = 0; row < BLOCK; row++) {
    for (let column = 0; column < BLOCK; column++) {
      let sum = 0;
      for (let inner = 0; inner < BLOCK; inner++) sum += half[row * BLOCK + inner] * entry(column, inner);
      result[row * BLOCK + column] = sum;
    }
  }
  return result;
}

function clamp(value: number, maximum: number): number {
  return Math.min(maximum, Math.max(0, value));
}
