import { Emu3Error } from '../../../kernels/core/errors.js';
import type { SeededRandom } from '../world/random.js';

/** What {@link augment} may do to a picture; every probability is in [0, 1]. */
export interface AugmentOptions {
  /** Largest shift across and down in pixels, an integer; what moves in repeats the border pixels. */
  maximumShift: number;
  /** Probability of mirroring left to right. */
  flipProbability: number;
  /** Probability of painting the white background in a random light or saturated colour. */
  backgroundProbability: number;
  /** Probability of changing brightness, contrast and the balance of the channels, and how much (0.15 is +-15 %). */
  jitterProbability: number;
  jitter: number;
}

/** For the tokenizer, which should learn edges and colours wherever they stand. */
export const TOKENIZER_AUGMENTATION: AugmentOptions = {
  maximumShift: 3,
  flipProbability: 0.5,
  backgroundProbability: 0.15,
  jitterProbability: 0.5,
  jitter: 0.15,
};

/**
 * A changed copy of a square RGB picture: shift, mirror, colour jitter, background. The same state of `random` gives
 * the same copy.
 * @param rgb size x size x 3 bytes, rows from the top; not changed.
 * @throws Emu3Error `shape` when the bytes are no square RGB picture.
 */
export function augment(
  rgb: Uint8Array,
  random: SeededRandom,
  options: AugmentOptions = TOKENIZER_AUGMENTATION,
): Uint8Array {
  const size = Math.sqrt(rgb.length / 3);
  if (!Number.isInteger(size) || size === 0) {
    throw new Emu3Error(`Only square RGB pictures can be augmented, but this one has ${rgb.length} bytes.`, {
      code: 'shape',
      where: 'rgb',
      fix: 'Pass size x size x 3 bytes.',
    });
  }
  const range = 2 * options.maximumShift + 1;
  const right = random.integer(range) - options.maximumShift;
  const down = random.integer(range) - options.maximumShift;
  const flip = random.next() < options.flipProbability;
  const curves = colourCurves(random, options);
  const background = random.next() < options.backgroundProbability ? randomColour(random) : undefined;

  const result = new Uint8Array(rgb.length);
  for (let row = 0; row < size; row++) {
    const sourceRow = clampIndex(row - down, size);
    for (let column = 0; column < size; column++) {
      const shifted = clampIndex(column - right, size);
      const source = (sourceRow * size + (flip ? size - 1 - shifted : shifted)) * 3;
      const target = (row * size + column) * 3;
      for (let channel = 0; channel < 3; channel++) {
        const value = rgb[source + channel] ?? 0;
        const jittered = curves?.[channel]?.[value] ?? value;
        // Multiplying tints white fully and dark artwork hardly, which needs no mask of the artwork.
        result[target + channel] = background ? (jittered * (background[channel] ?? 255)) / 255 : jittered;
      }
    }
  }
  return result;
}

function clampIndex(index: number, size: number): number {
  return Math.min(size - 1, Math.max(0, index));
}

/** One lookup table a channel: gain and contrast about mid grey, or nothing when this picture keeps its colours. */
function colourCurves(random: SeededRandom, options: AugmentOptions): Uint8ClampedArray[] | undefined {
  if (random.next() >= options.jitterProbability) return undefined;
  const contrast = 1 + random.between(-options.jitter, options.jitter);
  const brightness = 255 * random.between(-options.jitter, options.jitter) * 0.5;
  return [0, 1, 2].map(() => {
    const gain = 1 + random.between(-options.jitter, options.jitter);
    return Uint8ClampedArray.from({ length: 256 }, (_, value) => ((value - 128) * contrast + 128 + brightness) * gain);
  });
}

function randomColour(random: SeededRandom): [number, number, number] {
  return [64 + random.integer(192), 64 + random.integer(192), 64 + random.integer(192)];
}
