/** Float64 twin of `copyWindow`: in each of `rows` rows, `count` elements of x from `offset` at `start` among zeros. */
export function copyWindowReference(
  x: Float64Array,
  length: number,
  window: { rows: number; start: number; count: number; offset: number },
): Float64Array {
  const { rows, start, count, offset } = window;
  const out = new Float64Array(length);
  for (let row = 0; row < rows; row++) {
    const from = row * (x.length / rows) + offset;
    out.set(x.subarray(from, from + count), row * (length / rows) + start);
  }
  return out;
}

/** Float64 twin of `place` along the last axis: `out` with the rows of x, `columns` long, in its rows of `outColumns` from `start`. */
export function placeReference(
  x: Float64Array,
  out: Float64Array,
  place: { columns: number; outColumns: number; start: number },
): Float64Array {
  const { columns, outColumns, start } = place;
  const result = Float64Array.from(out);
  for (let row = 0; row < x.length / columns; row++) {
    result.set(x.subarray(row * columns, (row + 1) * columns), row * outColumns + start);
  }
  return result;
}
