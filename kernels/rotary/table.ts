import { Emu3Error } from '../core/errors.js';

/** How positions are stretched beyond the length a model was trained at. */
export type RotaryScaling =
  { readonly type: 'linear'; readonly factor: number } | { readonly type: 'dynamic'; readonly factor: number };

export interface RotaryConfig {
  /** Elements per head, even. */
  readonly headDimension: number;
  /** Base of the geometric series of wavelengths, 1e6 in Emu3. */
  readonly base: number;
  /** `max_position_embeddings` of the config: the length from which dynamic scaling begins. */
  readonly maxPositions: number;
  readonly scaling?: RotaryScaling | undefined;
}

/**
 * Radians per position of each pair, `[headDimension / 2]`: `frequency[i] = base^(-2 i / headDimension)`.
 *
 * Linear scaling (Chen et al. 2023, arXiv 2306.15595) divides positions, hence frequencies, by the factor. Dynamic NTK
 * scaling keeps them up to `maxPositions` and beyond it, at length L, raises the base to
 * `base * (factor * L / maxPositions - (factor - 1))^(d / (d - 2))`, d = headDimension. Nothing is remembered between
 * lengths: a short sequence after a long one gets the frequencies of a short one.
 *
 * @param length Length of the sequence in tokens, padding included; dynamic scaling depends on it.
 * @throws Emu3Error `config` for an odd head dimension, a base or factor outside its range.
 */
export function rotaryFrequencies(config: RotaryConfig, length: number): Float64Array {
  const { headDimension, maxPositions, scaling } = config;
  const refuse = (message: string): Emu3Error =>
    new Emu3Error(`${message}.`, { code: 'config', where: 'rotary embedding', fix: 'Correct the model config.' });
  if (!Number.isInteger(headDimension) || headDimension < 2 || headDimension % 2 !== 0) {
    throw refuse(`The head dimension ${headDimension} is not a positive even number`);
  }
  if (!(config.base > 0) || !Number.isFinite(config.base))
    throw refuse(`The rotary base ${config.base} is not positive`);
  if (scaling !== undefined && !(scaling.factor >= 1 && Number.isFinite(scaling.factor))) {
    throw refuse(`The rotary scaling factor ${scaling.factor} is not a number from 1 up`);
  }
  let base = config.base;
  if (scaling?.type === 'dynamic' && length > maxPositions) {
    if (headDimension === 2) throw refuse('Dynamic rotary scaling needs a head dimension above 2');
    const stretch = (scaling.factor * length) / maxPositions - (scaling.factor - 1);
    base *= stretch ** (headDimension / (headDimension - 2));
  }
  const divisor = scaling?.type === 'linear' ? scaling.factor : 1;
  return Float64Array.from({ length: headDimension / 2 }, (_, pair) => base ** ((-2 * pair) / headDimension) / divisor);
}

/**
 * Cosines and sines of every position below `length`, `[length, headDimension]` row-major: the first half of a row
 * holds the cosines of its pairs, the second half the sines. Computed in f64 and rounded once, so that positions in the
 * hundred thousands are as exact as the first.
 *
 * @param length Number of positions, from 1; also the sequence length that dynamic scaling goes by.
 */
export function rotaryTable(config: RotaryConfig, length: number): Float32Array<ArrayBuffer> {
  if (!Number.isInteger(length) || length < 1) {
    throw new Emu3Error(`A rotary table of ${length} positions cannot be made.`, {
      code: 'argument',
      where: 'rotary embedding',
      fix: 'Give the sequence length as a positive integer.',
    });
  }
  const frequencies = rotaryFrequencies(config, length);
  const half = frequencies.length;
  const table = new Float32Array(length * 2 * half);
  for (let position = 0; position < length; position++) {
    for (let pair = 0; pair < half; pair++) {
      const angle = position * (frequencies[pair] ?? 0);
      table[position * 2 * half + pair] = Math.cos(angle);
      table[position * 2 * half + half + pair] = Math.sin(angle);
    }
  }
  return table;
}
