import { dequantizeReference } from '../quantize/reference.js';
import type { QuantizationFormat } from '../quantize/format.js';
import { matmulReference } from '../matmul/reference.js';

export interface QuantizedMatmulSizes {
  m: number;
  n: number;
  /** A multiple of 32. */
  k: number;
  format: QuantizationFormat;
}

/** out[m,n] = sum over k of x[m,k] scale[n, k / 32] level[n,k]. */
export function quantizedMatmulReference(
  x: ArrayLike<number>,
  data: ArrayLike<number>,
  scales: ArrayLike<number>,
  sizes: QuantizedMatmulSizes,
): Float64Array {
  const { m, n, k } = sizes;
  return matmulReference(x, dequantizeReference(data, scales, sizes), { m, n, depth: k, transposeB: true });
}

/** xGradient[m,k] = sum over n of outGradient[m,n] scale[n, k / 32] level[n,k]. */
export function quantizedMatmulInputGradientReference(
  outGradient: ArrayLike<number>,
  data: ArrayLike<number>,
  scales: ArrayLike<number>,
  sizes: QuantizedMatmulSizes,
): Float64Array {
  const { m, n, k } = sizes;
  return matmulReference(outGradient, dequantizeReference(data, scales, sizes), { m, n: k, depth: n });
}
