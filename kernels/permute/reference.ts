/**
 * out[i_order[0], i_order[1], ..] = x[i_0, i_1, ..] for x of `shape`; out has shape `order.map((axis) => shape[axis])`.
 */
export function permuteReference(
  x: ArrayLike<number>,
  shape: readonly number[],
  order: readonly number[],
): Float64Array {
  const outShape = order.map((axis) => shape[axis] ?? 0);
  const out = new Float64Array(x.length);
  for (let index = 0; index < x.length; index++) {
    const coordinates: number[] = [];
    let rest = index;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      const size = shape[axis] ?? 1;
      coordinates[axis] = rest % size;
      rest = Math.floor(rest / size);
    }
    let target = 0;
    order.forEach((axis, position) => {
      target = target * (outShape[position] ?? 1) + (coordinates[axis] ?? 0);
    });
    out[target] = x[index] ?? 0;
  }
  return out;
}
