import type { SeededRandom } from '../world/random.js';

/**
 * The few channels of the latents pass two SiLUs on either side of the codebook, each of which would cut off what is
 * negative: training then gives up all dimensions but one or two. Lifted by this much they pass almost unchanged.
 */
const lift = 3;
const silu = (x: number): number => x / (1 + Math.exp(-x));
/** What is left of the lift behind both SiLUs. */
const lifted = silu(silu(lift));
const quantGain = 2;
const biasUnderSilu = new Map([
  ['encoder.time_conv.0.conv.conv.bias', lift],
  ['quant_conv.conv.bias', -quantGain * lifted],
  ['decoder.time_conv.0.conv.conv.bias', lift],
]);

/** Writes the starting values of a vision tokenizer: {@link initialVisionTensor}, with the lift taken out again. */
export function initialiseVision(
  shapes: ReadonlyMap<string, readonly number[]>,
  write: (name: string, values: Float32Array) => void,
  names: Iterable<string>,
  random: SeededRandom,
): void {
  const values = new Map<string, Float32Array>();
  for (const name of names) values.set(name, initialVisionTensor(name, shapes.get(name) ?? [], random));
  // Whatever reads the lifted latents starts as if they had no lift.
  for (const [name, bias] of values) {
    if (!/^decoder\.(?:.*\.conv_[yb]|conv_in)\.bias$/.test(name)) continue;
    const weight = values.get(name.replace(/bias$/, 'weight')) ?? new Float32Array();
    const fanIn = weight.length / bias.length;
    bias.forEach((_, channel) => {
      const row = weight.subarray(channel * fanIn, (channel + 1) * fanIn);
      bias[channel] -= lifted * row.reduce((sum, value) => sum + value, 0);
    });
  }
  for (const [name, data] of values) write(name, data);
}

/**
 * Starting values of the nano vision tokenizer: convolutions uniform in +-1/sqrt(fan in), norms 1 and 0, and the
 * convolutions over time as the identity on the newest frame, so that training starts from a plain picture tokenizer.
 */
export function initialVisionTensor(name: string, shape: readonly number[], random: SeededRandom): Float32Array {
  const size = shape.reduce((product, length) => product * length, 1);
  const uniform = (bound: number): Float32Array =>
    Float32Array.from({ length: size }, () => random.between(-bound, bound));
  if (name === 'quantize.embedding.weight') return Float32Array.from({ length: size }, () => random.normal());
  if (name.endsWith('running_var')) return new Float32Array(size).fill(1);
  if (name.endsWith('running_mean')) return new Float32Array(size);
  const isWeight = name.endsWith('.weight');
  if (shape.length === 1) {
    // The decoder's norms start as plain group norms: scale conv_y = 1, shift conv_b = 0.
    const one = isWeight || name.endsWith('conv_y.bias');
    const value = biasUnderSilu.get(name) ?? (one ? 1 : 0);
    return new Float32Array(size).fill(value);
  }
  const fanIn = size / shape[0];
  if (shape.length === 5) {
    const noise = uniform(0.1 / Math.sqrt(fanIn));
    // Latents of order 1 make the decoder's norms listen to them.
    if (name.startsWith('quant_conv')) addNewestFrameIdentity(noise, shape, quantGain);
    else if (!name.includes('res_stack')) addNewestFrameIdentity(noise, shape, 1);
    return noise;
  }
  return uniform(1 / Math.sqrt(fanIn));
}

function addNewestFrameIdentity(weights: Float32Array, shape: readonly number[], gain: number): void {
  const [outChannels, inChannels, time, height, width] = shape;
  for (let channel = 0; channel < Math.min(outChannels, inChannels); channel++) {
    const tap = ((time - 1) * height + (height - 1) / 2) * width + (width - 1) / 2;
    weights[(channel * inChannels + channel) * time * height * width + tap] += gain;
  }
}

/** Starting values of the transformer: normal(0, 0.02), the projections back into the residual smaller by sqrt(2 layers). */
export function initialTransformerTensor(
  name: string,
  shape: readonly number[],
  layers: number,
  random: SeededRandom,
): Float32Array {
  const size = shape.reduce((product, length) => product * length, 1);
  if (shape.length === 1) return new Float32Array(size).fill(1);
  const residual = name.endsWith('o_proj.weight') || name.endsWith('down_proj.weight');
  const deviation = residual ? 0.02 / Math.sqrt(2 * layers) : 0.02;
  return Float32Array.from({ length: size }, () => random.normal() * deviation);
}

/** A trained codebook: values [size, dimension], row by row. */
export interface Codebook {
  readonly size: number;
  readonly dimension: number;
  readonly values: Float32Array;
}

/**
 * Adds a random projection of the standardised codebook to the rows of the vision tokens, so that codes that look alike
 * start alike. Without it each of the codes, of which a picture holds 64, has to be learned on its own.
 * @param rows [codebook size, hidden], the embeddings or the head from the first vision token on; changed in place.
 */
export function addCodebookProjection(rows: Float32Array, codebook: Codebook, random: SeededRandom): void {
  const { size, dimension, values } = codebook;
  const hidden = rows.length / size;
  const deviation = 0.04 / Math.sqrt(dimension);
  const projection = Float32Array.from({ length: dimension * hidden }, () => random.normal() * deviation);
  for (let at = 0; at < dimension; at++) {
    const column = Float32Array.from({ length: size }, (_, code) => values[code * dimension + at]);
    const mean = column.reduce((sum, value) => sum + value, 0) / size;
    const spread = Math.sqrt(column.reduce((sum, value) => sum + (value - mean) ** 2, 0) / size);
    for (let code = 0; code < size; code++) {
      const standard = spread > 0 ? (column[code] - mean) / spread : 0;
      for (let channel = 0; channel < hidden; channel++) {
        rows[code * hidden + channel] += standard * projection[at * hidden + channel];
      }
    }
  }
}
