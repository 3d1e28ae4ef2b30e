import { rmsNormReference } from '../rms-norm/reference.js';
import { swigluReference } from '../swiglu/reference.js';

export interface MatmulSizes {
  /** Number of independent products; default 1. */
  batch?: number;
  m: number;
  n: number;
  depth: number;
  /** a is stored [depth, m] instead of [m, depth]. */
  transposeA?: boolean;
  /** b is stored [n, depth] instead of [depth, n]. */
  transposeB?: boolean;
}

/**
 * out[i,j] = sum over k of A[i,k] B[k,j], where A [m, depth] and B [depth, n] are a and b or their transposes; each
 * matrix of a batch on its own. Row-major in and out.
 */
export function matmulReference(a: ArrayLike<number>, b: ArrayLike<number>, sizes: MatmulSizes): Float64Array {
  const { batch = 1, m, n, depth, transposeA = false, transposeB = false } = sizes;
  const out = new Float64Array(batch * m * n);
  for (let z = 0; z < batch; z++) {
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < n; j++) {
        let sum = 0;
        for (let k = 0; k < depth; k++) {
          const left = a[z * m * depth + (transposeA ? k * m + i : i * depth + k)] ?? 0;
          const right = b[z * n * depth + (transposeB ? j * depth + k : k * n + j)] ?? 0;
          sum += left * right;
        }
        out[(z * m + i) * n + j] = sum;
      }
    }
  }
  return out;
}

/** What a fused product does besides multiplying, in double precision; see `Fusion`. */
export interface FusionReference {
  gated?: boolean;
  norm?: { gain: Float64Array; epsilon: number };
  addend?: Float64Array;
}

/** out = addend + gated(norm(x) Wt) for x [m, depth] and a weight of n rows, twice as many as outputs where it is gated. */
export function fusedReference(
  x: Float64Array,
  weight: ArrayLike<number>,
  { m, n, depth }: { m: number; n: number; depth: number },
  { gated = false, norm, addend }: FusionReference,
): Float64Array {
  const read = norm ? rmsNormReference(x, norm.gain, norm.epsilon) : x;
  const products = matmulReference(read, weight, { m, n, depth, transposeB: true });
  const half = (first: number): Float64Array => products.filter((_, at) => at % n >= first && at % n < first + n / 2);
  const outputs = gated ? swigluReference(half(0), half(n / 2)) : products;
  return outputs.map((value, at) => value + (addend?.[at] ?? 0));
}
