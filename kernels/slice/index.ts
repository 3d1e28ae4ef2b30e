import { floatType } from '../core/checks.js';
import { defineKernel, shapeError, type KernelCall } from '../core/define.js';
import {
  bytesPerElement,
  divideRoundUp,
  elementCount,
  linearGrid,
  type KernelTraits,
  type Operand,
} from '../core/types.js';
import placeSource from './place.wgsl';
import windowSource from './window.wgsl';

const windowKernel = defineKernel('window', windowSource, { aliases: { Scalar: 'f32' } });
const placeKernel = defineKernel('place', placeSource, { aliases: { Scalar: 'f32' } });

export interface WindowArguments<T> {
  x: T;
  out: T;
  /** Rows of both x and out; their elements divide evenly. */
  rows: number;
  /** First element of a row of out that is copied to. */
  start: number;
  /** Elements copied in each row. */
  count: number;
  /** First element of a row of x that is copied. */
  offset: number;
}

/**
 * In each row, copies `count` elements of x from `offset` to out from `start`, and zeros the rest of out. Serves slices
 * along any axis and their gradients. Any shapes; x and out of one dtype.
 *
 * @throws Emu3Error `shape` when either range leaves its tensor.
 */
export function copyWindow<T extends Operand>(traits: KernelTraits, args: WindowArguments<T>): KernelCall<T> {
  const { x, out, rows, start, count, offset } = args;
  const length = elementCount(out.shape);
  const rowIn = elementCount(x.shape) / rows;
  const rowOut = length / rows;
  if (!Number.isInteger(rowIn) || !Number.isInteger(rowOut))
    throw shapeError('window', `x or out has not ${rows} rows`);
  if (offset + count > rowIn || start + count > rowOut) {
    throw shapeError('window', `${count} elements from ${offset} to ${start} leave x or out`);
  }
  const workgroup = traits.software ? 32 : 256;
  const type = floatType('window', 'x', x);
  return windowKernel.call({
    aliases: { Scalar: type },
    overrides: { WORKGROUP_SIZE: workgroup },
    params: { length, row_in: rowIn, row_out: rowOut, start, count, offset },
    bindings: { x, out },
    grid: linearGrid(divideRoundUp(length, workgroup)),
    bytes: (length + rows * count) * bytesPerElement[type],
    flops: 0,
  });
}

/**
 * Writes x to the indices of one axis of out from `start`; the others stay as they are. One dtype.
 *
 * @throws Emu3Error `shape` when another axis differs or the indices leave out.
 */
export function place<T extends Operand>(
  traits: KernelTraits,
  args: { x: T; out: T; axis: number; start: number },
): KernelCall<T> {
  const { x, out, axis, start } = args;
  const fits = out.shape.every((size, at) => (at === axis ? start + x.shape[at] <= size : x.shape[at] === size));
  if (!fits || x.shape.length !== out.shape.length) {
    throw shapeError('place', `[${x.shape}] at index ${start} of axis ${axis} does not fit [${out.shape}]`);
  }
  const inner = elementCount(x.shape.slice(axis + 1));
  const length = elementCount(x.shape);
  const workgroup = traits.software ? 32 : 256;
  const type = floatType('place', 'x', x);
  return placeKernel.call({
    aliases: { Scalar: type },
    overrides: { WORKGROUP_SIZE: workgroup },
    params: { length, columns: x.shape[axis] * inner, out_columns: out.shape[axis] * inner, start: start * inner },
    bindings: { x, out },
    grid: linearGrid(divideRoundUp(length, workgroup)),
    bytes: 2 * length * bytesPerElement[type],
    flops: 0,
  });
}
