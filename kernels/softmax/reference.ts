/** softmax(scale * x) over rows of `columns`, in float64: exp(s x_i) / sum_j exp(s x_j). */
export function softmaxReference(x: Float64Array, columns: number, scale: number): Float64Array {
  const out = new Float64Array(x.length);
  for (let base = 0; base < x.length; base += columns) {
    const row = x.subarray(base, base + columns).map((value) => value * scale);
    const high = Math.max(...row);
    const sum = row.reduce((total, value) => total + Math.exp(value - high), 0);
    out.set(
      row.map((value) => Math.exp(value - high) / sum),
      base,
    );
  }
  return out;
}
