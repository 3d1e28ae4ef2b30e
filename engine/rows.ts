import { GpuTensor } from './tensor.js';

/** Consecutive rows of a weight. */
export interface RowRange {
  readonly first: number;
  readonly count: number;
}

/** The row from which views of all these tensors can be bound: `first` or the nearest before it that is aligned. */
export function firstBindableRow(tensors: readonly GpuTensor[], first: number): number {
  const bindable = (row: number): boolean =>
    tensors.every(({ device, offset, byteLength, shape }) => {
      const alignment = device.gpu.limits.minStorageBufferOffsetAlignment;
      return (offset + (row * byteLength) / shape[0]) % alignment === 0;
    });
  let row = first;
  while (!bindable(row)) row--;
  return row;
}

/** A view of rows `begin` to `end` of a tensor, where a binding can begin. */
export function rowView(tensor: GpuTensor, begin: number, end: number): GpuTensor {
  const { device, buffer, shape, dtype, label } = tensor;
  const offset = tensor.offset + (begin * tensor.byteLength) / shape[0];
  return new GpuTensor(
    device,
    buffer,
    offset,
    [end - begin, ...shape.slice(1)],
    dtype,
    `${label} rows ${begin} to ${end}`,
  );
}
