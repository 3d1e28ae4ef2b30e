import { defineKernel, shapeError, type KernelCall } from '../core/define.js';
import {
  bytesPerElement,
  divideRoundUp,
  elementCount,
  linearGrid,
  type KernelTraits,
  type Operand,
} from '../core/types.js';
import permuteSource from './permute.wgsl';
import transposeSource from './transpose.wgsl';
import softwareTransposeSource from './software-transpose.wgsl';

const prelude = { aliases: { TypeIn: 'f32', TypeOut: 'f32' } } as const;
const permuteKernel = defineKernel('permute', permuteSource, prelude);
const transposeKernel = defineKernel('transpose', transposeSource, prelude);
const softwareTransposeKernel = defineKernel('software-transpose', softwareTransposeSource, prelude);

const softwareLanes = 8;

interface Transposition<T extends Operand> {
  /** `batch` matrices of `rows` x `columns`, one behind the other. */
  x: T;
  out: T;
  batch: number;
  rows: number;
  columns: number;
}

/**
 * Transposes each of `batch` matrices: out[b,c,r] = x[b,r,c]. Only element counts of the operands are looked at, so
 * any shape with batch * rows * columns elements goes; f32 and f16 convert on the way.
 *
 * @throws Emu3Error `shape` when an operand has another number of elements or batch passes 65535.
 */
export function transpose<T extends Operand>(traits: KernelTraits, args: Transposition<T>): KernelCall<T> {
  const { x, out, batch, rows, columns } = args;
  const count = batch * rows * columns;
  if (elementCount(x.shape) !== count || elementCount(out.shape) < count) {
    throw shapeError(
      'transpose',
      `[${x.shape}] and [${out.shape}] do not hold ${batch} matrices of ${rows} x ${columns}`,
    );
  }
  if (batch > 65535) throw shapeError('transpose', `batch ${batch} is above 65535`);
  const rowsPerTile = traits.software ? softwareLanes : 32;
  const columnsPerTile = traits.software ? 16 : 32;
  const [gridX, gridY] = linearGrid(divideRoundUp(rows, rowsPerTile) * divideRoundUp(columns, columnsPerTile));
  const kernel = traits.software ? softwareTransposeKernel : transposeKernel;
  return kernel.call({
    aliases: { TypeIn: x.dtype, TypeOut: out.dtype },
    overrides: traits.software ? { LANES: softwareLanes } : {},
    params: { rows, columns },
    bindings: { x, out },
    grid: [gridX, gridY, batch],
    bytes: count * (bytesPerElement[x.dtype] + bytesPerElement[out.dtype]),
    flops: 0,
  });
}

/** Shape after `out[i_order[0], i_order[1], ..] = x[i_0, i_1, ..]`. @throws Emu3Error `shape` unless `order` is a permutation of the axes. */
export function permutedShape(shape: readonly number[], order: readonly number[]): number[] {
  const seen = new Set(order);
  if (order.length !== shape.length || seen.size !== shape.length || order.some((axis) => shape[axis] === undefined)) {
    throw shapeError('permute', `order [${order}] is no permutation of the axes of [${shape}]`);
  }
  return order.map((axis) => shape[axis] ?? 0);
}

/** Axes of out with their sizes and strides in x; axes of size 1 dropped, and axes that stay neighbours merged. */
function simplifiedAxes(shape: readonly number[], order: readonly number[]): { size: number; stride: number }[] {
  const strides: number[] = [];
  let stride = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    strides[axis] = stride;
    stride *= shape[axis] ?? 1;
  }
  const axes: { size: number; stride: number }[] = [];
  for (const axis of order) {
    const next = { size: shape[axis] ?? 1, stride: strides[axis] ?? 1 };
    if (next.size === 1) continue;
    const last = axes.at(-1);
    if (last !== undefined && last.stride === next.size * next.stride) {
      axes[axes.length - 1] = { size: last.size * next.size, stride: next.stride };
    } else {
      axes.push(next);
    }
  }
  return axes;
}

/**
 * Transposes any axes: out[i_order[0], i_order[1], ..] = x[i_0, i_1, ..] (NumPy's `transpose(x, order)`), for tensors
 * of at most 5 axes once axes of size 1 are dropped and axes that stay neighbours are merged. f32 and f16 convert on
 * the way.
 *
 * @throws Emu3Error `shape` when order is no permutation, out's shape is not the permuted one, or there are more axes.
 */
export function permute<T extends Operand>(
  traits: KernelTraits,
  args: { x: T; out: T; order: readonly number[] },
): KernelCall<T> {
  const { x, out, order } = args;
  const shape = permutedShape(x.shape, order);
  if (out.shape.length !== shape.length || out.shape.some((size, axis) => size !== shape[axis])) {
    throw shapeError('permute', `[${x.shape}] in order [${order}] is [${shape}], but out is [${out.shape}]`);
  }
  const axes = simplifiedAxes(x.shape, order);
  const matrix = axes.length > 0 && axes.length <= 3 ? axes.slice(-2) : [];
  const [columnsOut, rowsOut] = matrix;
  const batch = axes.length === 3 ? axes[0] : { size: 1, stride: 0 };
  if (
    columnsOut !== undefined &&
    rowsOut !== undefined &&
    batch !== undefined &&
    columnsOut.stride === 1 &&
    rowsOut.stride === columnsOut.size &&
    (batch.size === 1 || batch.stride === rowsOut.size * columnsOut.size) &&
    batch.size <= 65535
  ) {
    return transpose(traits, { x, out, batch: batch.size, rows: rowsOut.size, columns: columnsOut.size });
  }
  if (axes.length > 5) throw shapeError('permute', `[${x.shape}] in order [${order}] has more than 5 separate axes`);
  const padded = [...Array.from({ length: 5 - axes.length }, () => ({ size: 1, stride: 0 })), ...axes];
  const count = elementCount(shape);
  const params: Record<string, number> = { count };
  padded.forEach(({ size, stride }, axis) => {
    if (axis > 0) params[`size${axis}`] = size;
    params[`stride${axis}`] = stride;
  });
  return permuteKernel.call({
    aliases: { TypeIn: x.dtype, TypeOut: out.dtype },
    overrides: { WORKGROUP_SIZE: 64 },
    params,
    bindings: { x, out },
    grid: linearGrid(divideRoundUp(count, 64 * 4)),
    bytes: count * (bytesPerElement[x.dtype] + bytesPerElement[out.dtype]),
    flops: 0,
  });
}
