/**
 * Group normalisation in float64 of `frames` pictures of `pixels` by `channels`, channels last (Wu and He 2018,
 * equation 1): every group of neighbouring channels of a frame is brought to mean 0 and (biased) variance 1, then
 *
 *   out = (x - mean) / sqrt(variance + epsilon) * weight[channel] + bias[channel]
 *
 * and SiLU, `out / (1 + exp(-out))`, is applied when `silu` is set. With given `statistics` (mean and variance of every
 * group of every frame) those are used instead. The channels must divide into the groups.
 */
export function groupNormReference(
  x: ArrayLike<number>,
  weight: ArrayLike<number>,
  bias: ArrayLike<number>,
  layout: { frames: number; pixels: number; channels: number; groups: number },
  options: { epsilon: number; silu?: boolean; mean?: ArrayLike<number>; variance?: ArrayLike<number> },
): Float64Array {
  const { frames, pixels, channels, groups } = layout;
  const size = channels / groups;
  const out = new Float64Array(x.length);
  for (let frame = 0; frame < frames; frame++) {
    for (let group = 0; group < groups; group++) {
      const indices: number[] = [];
      for (let pixel = 0; pixel < pixels; pixel++) {
        for (let c = group * size; c < (group + 1) * size; c++) indices.push((frame * pixels + pixel) * channels + c);
      }
      const at = frame * groups + group;
      const mean = options.mean?.[at] ?? indices.reduce((sum, index) => sum + x[index], 0) / indices.length;
      const variance =
        options.variance?.[at] ?? indices.reduce((sum, index) => sum + (x[index] - mean) ** 2, 0) / indices.length;
      for (const index of indices) {
        const channel = index % channels;
        const value = ((x[index] - mean) / Math.sqrt(variance + options.epsilon)) * weight[channel] + bias[channel];
        out[index] = options.silu ? value / (1 + Math.exp(-value)) : value;
      }
    }
  }
  return out;
}
