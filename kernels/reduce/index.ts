import { defineKernel, shapeError, type KernelCall } from '../core/define.js';
import {
  bytesPerElement,
  divideRoundUp,
  elementCount,
  linearGrid,
  type KernelTraits,
  type Operand,
} from '../core/types.js';
import columnSumsSource from './column-sums.wgsl';
import reduceSource from './reduce.wgsl';

const columnSumsKernel = defineKernel('column-sums', columnSumsSource, { aliases: { TypeIn: 'f32', TypeOut: 'f32' } });
const reduceKernel = defineKernel('reduce', reduceSource, { aliases: { TypeX: 'f32' } });

/** How many parts the rows are summed in; a function of the shape alone, so that results repeat. */
function columnSplits(rows: number, columns: number): number {
  const wanted = Math.max(1, Math.floor(65536 / Math.max(columns, 64)));
  return Math.max(1, Math.min(wanted, Math.floor(rows / 64)));
}

/** Elements (f32) of the scratch tensor {@link columnSums} needs for x of [rows, columns]; 0 when it needs none. */
export function columnSumsScratch(rows: number, columns: number): number {
  const splits = columnSplits(rows, columns);
  return splits > 1 ? splits * columns : 0;
}

function columnSumsStage<T extends Operand>(
  traits: KernelTraits,
  args: { x: T; out: T; rows: number; columns: number; splits: number; scale: number },
): KernelCall<T> {
  const { x, out, rows, columns, splits, scale } = args;
  const workgroupSize = traits.software ? 8 : 64;
  return columnSumsKernel.call({
    aliases: { TypeIn: x.dtype, TypeOut: out.dtype },
    overrides: { WORKGROUP_SIZE: workgroupSize },
    params: { rows, columns, splits, rowsPerSplit: divideRoundUp(rows, splits), scale },
    bindings: { x, out },
    grid: linearGrid(divideRoundUp(columns, workgroupSize) * splits),
    bytes: rows * columns * bytesPerElement[x.dtype] + splits * columns * bytesPerElement[out.dtype],
    flops: rows * columns,
  });
}

/**
 * out[c] = sum over r of x[r,c] for x [.., C] seen as [R, C] and out of C elements; bias gradients. `scratch` is f32
 * with at least {@link columnSumsScratch} elements, needed when that is above 0.
 *
 * @throws Emu3Error `shape` when x has no whole number of rows of C or scratch is missing or too small.
 */
export function columnSums<T extends Operand>(
  traits: KernelTraits,
  args: { x: T; out: T; scratch?: T | undefined },
): KernelCall<T>[] {
  const { x, out, scratch } = args;
  const columns = elementCount(out.shape);
  const rows = elementCount(x.shape) / columns;
  if (!Number.isInteger(rows) || rows < 1 || x.shape.at(-1) !== columns) {
    throw shapeError('column-sums', `x [${x.shape}] has no columns to sum into [${out.shape}]`);
  }
  const splits = columnSplits(rows, columns);
  if (splits === 1) return [columnSumsStage(traits, { x, out, rows, columns, splits, scale: 1 })];
  if (scratch === undefined || elementCount(scratch.shape) < splits * columns) {
    throw shapeError('column-sums', `[${rows}, ${columns}] needs a scratch tensor of ${splits * columns} elements`);
  }
  return [
    columnSumsStage(traits, { x, out: scratch, rows, columns, splits, scale: 1 }),
    columnSumsStage(traits, { x: scratch, out, rows: splits, columns, splits: 1, scale: 1 }),
  ];
}

/**
 * out = sum over s of x[s, ..] for x of `slabs` equal slabs, of which it reads the first `slabs` * elements(out)
 * elements: joins the parts of a computation that was split.
 */
export function sumSlabs<T extends Operand>(
  traits: KernelTraits,
  args: { x: T; out: T; slabs: number },
): KernelCall<T> {
  const columns = elementCount(args.out.shape);
  if (elementCount(args.x.shape) < args.slabs * columns) {
    throw shapeError('column-sums', `[${args.x.shape}] does not hold ${args.slabs} slabs of [${args.out.shape}]`);
  }
  return columnSumsStage(traits, { x: args.x, out: args.out, rows: args.slabs, columns, splits: 1, scale: 1 });
}

const maxChunks = 256;

function chunksOf(count: number): number {
  return Math.max(1, Math.min(maxChunks, divideRoundUp(count, 4096)));
}

/** Elements (f32) of the scratch tensor the reductions of `count` elements to one need; 0 when they need none. */
export function reduceScratch(count: number): number {
  const chunks = chunksOf(count);
  return chunks > 1 ? chunks : 0;
}

/** What {@link reduceAll} makes of all elements: their sum, the sum of their squares, or the largest magnitude. */
export type Reduction = 'sum' | 'sum-of-squares' | 'max-absolute';

const operations: Readonly<Record<Reduction, number>> = { sum: 0, 'sum-of-squares': 1, 'max-absolute': 2 };

interface Scratched<T extends Operand> {
  /** One f32 element. */
  out: T;
  /** f32, at least {@link reduceScratch} elements; needed when that is above 0. */
  scratch?: T | undefined;
}

function reductionTarget<T extends Operand>(count: number, args: Scratched<T>): T {
  const needed = reduceScratch(count);
  if (count < 1) throw shapeError('reduce', 'there is nothing to reduce');
  if (elementCount(args.out.shape) !== 1) throw shapeError('reduce', `out [${args.out.shape}] is not one element`);
  if (needed === 0) return args.out;
  if (args.scratch === undefined || elementCount(args.scratch.shape) < needed) {
    throw shapeError('reduce', `${count} elements need a scratch tensor of ${needed} elements`);
  }
  return args.scratch;
}

function reduceStage<T extends Operand>(
  traits: KernelTraits,
  args: { x: T; out: T; count: number; chunks: number; operation: number; scale: number },
): KernelCall<T> {
  const { x, out, count, chunks, operation, scale } = args;
  return reduceKernel.call({
    aliases: { TypeX: x.dtype },
    overrides: { WORKGROUP_SIZE: traits.software ? 8 : 256, OPERATION: operation },
    params: { count, perChunk: divideRoundUp(count, chunks), scale },
    bindings: { x, out },
    grid: [chunks, 1, 1],
    bytes: count * bytesPerElement[x.dtype] + chunks * 4,
    flops: count * (operation === operations['sum-of-squares'] ? 2 : 1),
  });
}

/**
 * Reduces all elements of x (f32 or f16) to out[0] (f32), in two stages of fixed order: `scale` times the sum, the sum
 * of squares, or the largest magnitude.
 *
 * @throws Emu3Error `shape` when out is not one element or scratch is missing or too small.
 */
export function reduceAll<T extends Operand>(
  traits: KernelTraits,
  args: { x: T; reduction: Reduction; scale?: number } & Scratched<T>,
): KernelCall<T>[] {
  const { x, out, scale = 1 } = args;
  const count = elementCount(x.shape);
  const operation = operations[args.reduction];
  const target = reductionTarget(count, args);
  const chunks = chunksOf(count);
  if (chunks === 1) return [reduceStage(traits, { x, out, count, chunks, operation, scale })];
  const second = operation === operations['max-absolute'] ? operation : operations.sum;
  return [
    reduceStage(traits, { x, out: target, count, chunks, operation, scale: 1 }),
    reduceStage(traits, { x: target, out, count: chunks, chunks: 1, operation: second, scale }),
  ];
}
