/**
 * RMSNorm (Zhang and Sennrich 2019, arXiv 1910.07467, eq. 4): `out = x / sqrt(mean(x^2) + epsilon) * weight`, the mean
 * over the last axis. x `[rows, features]`, weight `[features]`.
 */
export function rmsNormReference(x: Float64Array, weight: Float64Array, epsilon: number): Float64Array {
  const features = weight.length;
  const out = new Float64Array(x.length);
  for (let base = 0; base < x.length; base += features) {
    let squares = 0;
    for (let column = 0; column < features; column++) squares += (x[base + column] ?? 0) ** 2;
    const scale = 1 / Math.sqrt(squares / features + epsilon);
    for (let column = 0; column < features; column++) {
      out[base + column] = (x[base + column] ?? 0) * scale * (weight[column] ?? 0);
    }
  }
  return out;
}
