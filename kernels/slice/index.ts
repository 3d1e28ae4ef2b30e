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
import concatenateSource from './concatenate.wgsl';
import placeSource from './place.wgsl';
import windowSource from './window.wgsl';

const windowKernel = defineKernel('window', windowSource, { aliases: { Scalar: 'f32' } });
const placeKernel = defineKernel('place columns', placeSource, { aliases: { Scalar: 'f32' } });
const concatenateKernel = defineKernel('concatenate', concatenateSource, { aliases: { Scalar: 'f32' } });

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
 * Writes x [.., columns] into the columns of out from `start`, whose other columns stay as they are. One dtype.
 *
 * @throws Emu3Error `shape` when the rows differ or the columns leave out.
 */
export function placeColumns<T extends Operand>(
  traits: KernelTraits,
  args: { x: T; out: T; start: number },
): KernelCall<T> {
  const { x, out, start } = args;
  const [columns, outColumns] = [x.shape.at(-1) ?? 1, out.shape.at(-1) ?? 1];
  const length = elementCount(x.shape);
  if (length / columns !== elementCount(out.shape) / outColumns || start + columns > outColumns) {
    throw shapeError('place columns', `[${x.shape}] at column ${start} does not fit [${out.shape}]`);
  }
  const workgroup = traits.software ? 32 : 256;
  const type = floatType('place columns', 'x', x);
  return placeKernel.call({
    aliases: { Scalar: type },
    overrides: { WORKGROUP_SIZE: workgroup },
    params: { length, columns, out_columns: outColumns, start },
    bindings: { x, out },
    grid: linearGrid(divideRoundUp(length, workgroup)),
    bytes: 2 * length * bytesPerElement[type],
    flops: 0,
  });
}

/** out = the elements of a, then those of b: concatenation along the leading axis. One dtype. */
export function concatenateForward<T extends Operand>(
  traits: KernelTraits,
  args: { a: T; b: T; out: T },
): KernelCall<T> {
  const { a, b, out } = args;
  const first = elementCount(a.shape);
  const length = first + elementCount(b.shape);
  if (elementCount(out.shape) !== length)
    throw shapeError('concatenate', `out has not the ${length} elements of a and b`);
  const workgroup = traits.software ? 32 : 256;
  const type = floatType('concatenate', 'a', a);
  return concatenateKernel.call({
    aliases: { Scalar: type },
    overrides: { WORKGROUP_SIZE: workgroup },
    params: { length, first },
    bindings: { a, b, out },
    grid: linearGrid(divideRoundUp(length, workgroup)),
    bytes: 2 * length * bytesPerElement[type],
    flops: 0,
  });
}
