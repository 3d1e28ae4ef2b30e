/** Softmax in float64 of every row of `columns` values: `exp(scale * x) / sum of exp(scale * x)`. */
export function softmaxReference(x: ArrayLike<number>, columns: number, scale: number): Float64Array {
  const out = new Float64Array(x.length);
  for (let first = 0; first < x.length; first += columns) {
    let largest = -Infinity;
    for (let column = 0; column < columns; column++) largest = Math.max(largest, scale * x[first + column]);
    let sum = 0;
    for (let column = 0; column < columns; column++) sum += Math.exp(scale * x[first + column] - largest);
    for (let column = 0; column < columns; column++) {
      out[first + column] = Math.exp(scale * x[first + column] - largest) / sum;
    }
  }
  return out;
}
