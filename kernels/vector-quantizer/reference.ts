import { mix32 } from '../core/mix.js';
/**
 * Nearest codebook row by squared distance, in float64: `codes[p] = argmin_k sum_j (z[p, j] - codebook[k, j])^2`, the
 * first index on ties, and `quantized[p] = codebook[codes[p]]`. `border` is the gap of the two smallest distances of each
 * latent: below the rounding of float32 a kernel may choose either.
 *
 * @param latents [P, dimension]. @param codebook [K, dimension].
 */
export function quantizeReference(
  latents: ArrayLike<number>,
  codebook: ArrayLike<number>,
  dimension: number,
): { codes: Uint32Array; quantized: Float64Array; border: Float64Array } {
  const count = latents.length / dimension;
  const codes = new Uint32Array(count);
  const quantized = new Float64Array(latents.length);
  const border = new Float64Array(count);
  for (let p = 0; p < count; p++) {
    let nearest = Infinity;
    let second = Infinity;
    for (let k = 0; k < codebook.length / dimension; k++) {
      let distance = 0;
      for (let j = 0; j < dimension; j++) distance += (latents[p * dimension + j] - codebook[k * dimension + j]) ** 2;
      if (distance < nearest) {
        second = nearest;
        nearest = distance;
        codes[p] = k;
      } else if (distance < second) second = distance;
    }
    border[p] = second - nearest;
    for (let j = 0; j < dimension; j++) quantized[p * dimension + j] = codebook[codes[p] * dimension + j];
  }
  return { codes, quantized, border };
}

/** `mean((latents - codebook[codes])^2)` over all elements: the codebook loss, and the commitment loss without its beta. */
export function codebookLossReference(
  latents: ArrayLike<number>,
  codebook: ArrayLike<number>,
  codes: ArrayLike<number>,
  dimension: number,
): number {
  let sum = 0;
  for (let i = 0; i < latents.length; i++) {
    sum += (latents[i] - codebook[codes[Math.floor(i / dimension)] * dimension + (i % dimension)]) ** 2;
  }
  return sum / latents.length;
}

/** How often each of `size` codes occurs. */
export function countCodesReference(codes: ArrayLike<number>, size: number): Uint32Array {
  const counts = new Uint32Array(size);
  for (let p = 0; p < codes.length; p++) counts[codes[p]]++;
  return counts;
}

/** The latent that takes the place of an unused code, the same whole number as the kernel draws. */
export function revivalLatent(seed: number, code: number, latents: number): number {
  return mix32(mix32(seed + 0x9e3779b9) + Math.imul(code, 0x9e3779b9)) % latents;
}
