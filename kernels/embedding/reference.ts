/**
 * `out[row] = table[ids[row]]`, zeros for an id that the table does not have. ids `[rows]`, table
 * `[vocabulary, features]`, out `[rows, features]`.
 */
export function embeddingReference(ids: ArrayLike<number>, table: Float64Array, features: number): Float64Array {
  const out = new Float64Array(ids.length * features);
  for (let row = 0; row < ids.length; row++) {
    for (let column = 0; column < features; column++) {
      out[row * features + column] = table[(ids[row] ?? 0) * features + column] ?? 0;
    }
  }
  return out;
}

/** Gradient of the table: each row's gradient added to the row of its id, but for `paddingId`, whose row stays zero. */
export function embeddingGradientReference(
  ids: ArrayLike<number>,
  outGradient: Float64Array,
  vocabulary: number,
  features: number,
  paddingId?: number,
): Float64Array {
  const gradient = new Float64Array(vocabulary * features);
  for (let row = 0; row < ids.length; row++) {
    const id = ids[row] ?? 0;
    if (id >= vocabulary || id === paddingId) continue;
    for (let column = 0; column < features; column++) {
      const index = id * features + column;
      gradient[index] = (gradient[index] ?? 0) + (outGradient[row * features + column] ?? 0);
    }
  }
  return gradient;
}
