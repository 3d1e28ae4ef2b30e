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
