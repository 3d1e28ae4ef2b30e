import { upsampleReference } from '../upsample/reference.js';

/**
 * Spatial conditioning in float64: `out = normal * resize(scale) + resize(shift)`, the resize to nearest; SiLU of that
 * when `silu` is set. `large` and `small` are `[B, T, H, W, C]` and `[B, T, h, w, C]`, equal in B, T and C.
 */
export function spatialNormReference(
  normal: ArrayLike<number>,
  scale: ArrayLike<number>,
  shift: ArrayLike<number>,
  large: readonly number[],
  small: readonly number[],
  silu = false,
): Float64Array {
  const factors = upsampleReference(scale, small, large);
  const terms = upsampleReference(shift, small, large);
  return Float64Array.from(normal, (value, index) => {
    const conditioned = value * factors[index] + terms[index];
    return silu ? conditioned / (1 + Math.exp(-conditioned)) : conditioned;
  });
}
