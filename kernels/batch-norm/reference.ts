import { groupNormReference } from '../group-norm/reference.js';

/**
 * Batch normalisation in float64 of rows `[N, C]` (Ioffe and Szegedy 2015): `out = (x - mean) / sqrt(variance +
 * epsilon) * weight + bias` per channel, by the mean and biased variance of the rows, or by the given `running` ones.
 */
export function batchNormReference(
  x: ArrayLike<number>,
  weight: ArrayLike<number>,
  bias: ArrayLike<number>,
  epsilon: number,
  running?: { mean: ArrayLike<number>; variance: ArrayLike<number> },
): Float64Array {
  const channels = weight.length;
  const layout = { frames: 1, pixels: x.length / channels, channels, groups: channels };
  return groupNormReference(x, weight, bias, layout, { epsilon, ...running });
}

/** Running averages after a batch of rows `[N, C]`, N > 1: `0.9 * running + 0.1 * batch` at momentum 0.1, variance unbiased. */
export function updateRunningReference(
  x: ArrayLike<number>,
  running: { mean: ArrayLike<number>; variance: ArrayLike<number> },
  momentum: number,
): { mean: Float64Array; variance: Float64Array } {
  const channels = running.mean.length;
  const rows = x.length / channels;
  const mean = Float64Array.from(running.mean);
  const variance = Float64Array.from(running.variance);
  for (let channel = 0; channel < channels; channel++) {
    const column = Array.from({ length: rows }, (_, row) => x[row * channels + channel]);
    const average = column.reduce((sum, value) => sum + value, 0) / rows;
    const squares = column.reduce((sum, value) => sum + (value - average) ** 2, 0);
    mean[channel] += momentum * (average - mean[channel]);
    variance[channel] += momentum * (squares / (rows - 1) - variance[channel]);
  }
  return { mean, variance };
}
