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

/** One view of matrices that lie one behind another in a buffer, or undefined where they do not or no binding holds them. */
export function joinRows(tensors: readonly GpuTensor[]): GpuTensor | undefined {
  const [{ device, buffer, offset, dtype, label }] = tensors;
  let [end, rows] = [offset, 0];
  for (const tensor of tensors) {
    const { shape } = tensor;
    if (tensor.buffer !== buffer || tensor.offset !== end || shape[1] !== tensors[0].shape[1]) return undefined;
    end += tensor.byteLength;
    rows += shape[0];
  }
  if (end - offset > device.gpu.limits.maxStorageBufferBindingSize) return undefined;
  return new GpuTensor(device, buffer, offset, [rows, tensors[0].shape[1]], dtype, `${label} and what follows`);
}
