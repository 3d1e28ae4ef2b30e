/** Sum of all elements; with `squares`, of their squares. 0 for no elements. */
export function sumReference(x: ArrayLike<number>, squares = false): number {
  let sum = 0;
  for (let index = 0; index < x.length; index++) sum += squares ? (x[index] ?? 0) ** 2 : (x[index] ?? 0);
  return sum;
}

/** Largest |x|, 0 for no elements. */
export function maxAbsoluteReference(x: ArrayLike<number>): number {
  let largest = 0;
  for (let index = 0; index < x.length; index++) largest = Math.max(largest, Math.abs(x[index] ?? 0));
  return largest;
}

/** out[c] = sum over r of x[r,c], x row-major [rows, columns]. */
export function columnSumsReference(x: ArrayLike<number>, rows: number, columns: number): Float64Array {
  const out = new Float64Array(columns);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++)
      out[column] = (out[column] ?? 0) + (x[row * columns + column] ?? 0);
  }
  return out;
}
