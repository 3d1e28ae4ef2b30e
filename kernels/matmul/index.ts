import { expectShape } from '../core/checks.js';
import { defineKernel, shapeError, type KernelCall } from '../core/define.js';
import {
  bytesPerElement,
  divideRoundUp,
  elementCount,
  linearGrid,
  type DType,
  type KernelTraits,
  type Operand,
} from '../core/types.js';
import { transpose } from '../permute/index.js';
import { sumSlabs } from '../reduce/index.js';
import { fewRowsPrelude, fusedCall, type Fusion } from './few-rows.js';
import broadcastSource from './broadcast.wgsl';
import fewRowsSource from './few-rows.wgsl';
import rowsSource from './rows.wgsl';
import rowsSubgroupSource from './rows-subgroup.wgsl';
import softwareSource from './software.wgsl';
import softwareBroadcastSource from './software-broadcast.wgsl';
import softwareRowsSource from './software-rows.wgsl';
import softwareRowsBroadcastSource from './software-rows-broadcast.wgsl';
import tileSource from './tile.wgsl';

const aliases = { TypeA: 'f32', TypeB: 'f32', TypeOut: 'f32' } as const;
const rowsPrelude = {
  aliases: { ...aliases, ...fewRowsPrelude.aliases },
  constants: { ROWS: 1, ...fewRowsPrelude.constants },
};
const rowsSubgroupPrelude = { ...rowsPrelude, enable: ['subgroups'] };
const tileKernel = defineKernel('matmul-tile', tileSource, { aliases });
const softwareKernel = defineKernel('matmul-software', softwareSource, { aliases });
const softwareBroadcastKernel = defineKernel('matmul-software-broadcast', softwareBroadcastSource, {
  aliases,
  enable: ['subgroups'],
});
const softwareRowsKernel = defineKernel('matmul-software-rows', fewRowsSource + softwareRowsSource, rowsPrelude);
const softwareRowsBroadcastKernel = defineKernel(
  'matmul-software-rows-broadcast',
  fewRowsSource + broadcastSource + softwareRowsBroadcastSource,
  rowsSubgroupPrelude,
);
const rowsKernel = defineKernel('matmul-rows', fewRowsSource + rowsSource, rowsPrelude);
const rowsSubgroupKernel = defineKernel(
  'matmul-rows-subgroup',
  fewRowsSource + rowsSubgroupSource,
  rowsSubgroupPrelude,
);

/** Products of at most this many rows read B once and never tile: decoding one or a few tokens. */
const maxRows = 8;
const softwareLanes = 8;

interface MatmulArguments<T extends Operand> {
  /** [m, depth], or [depth, m] with `transposeA`; with a leading batch axis, one matrix for each. f32 or f16. */
  a: T;
  /** [depth, n], or [n, depth] with `transposeB`; with a leading batch axis, or without one to serve the whole batch. */
  b: T;
  /** [m, n], with a's batch axis. f32 or f16; sums are kept in f32. */
  out: T;
  transposeA?: boolean;
  transposeB?: boolean;
  /** f32, of at least {@link matmulScratch} elements; needed when that is above 0. */
  scratch?: T | undefined;
}

interface Sizes {
  batch: number;
  batchB: number;
  m: number;
  n: number;
  depth: number;
}

function sizesOf(args: Omit<MatmulArguments<Operand>, 'out' | 'scratch'>): Sizes {
  const { a, b, transposeA = false, transposeB = false } = args;
  const [rowsA, columnsA] = a.shape.slice(-2);
  const [rowsB, columnsB] = b.shape.slice(-2);
  const batch = a.shape.length === 3 ? (a.shape[0] ?? 1) : 1;
  const batchB = b.shape.length === 3 ? (b.shape[0] ?? 1) : 1;
  const depth = transposeA ? rowsA : columnsA;
  const m = transposeA ? columnsA : rowsA;
  const n = transposeB ? rowsB : columnsB;
  const named = `a [${a.shape}]${transposeA ? ' transposed' : ''} and b [${b.shape}]${transposeB ? ' transposed' : ''}`;
  if (a.shape.length > 3 || b.shape.length > 3 || m === undefined || n === undefined || depth === undefined) {
    throw shapeError('matmul', `${named} are not matrices or batches of matrices`);
  }
  if ((transposeB ? columnsB : rowsB) !== depth || (batchB !== batch && b.shape.length === 3)) {
    throw shapeError('matmul', `${named} do not fit each other`);
  }
  if (batch * m * n * depth === 0) throw shapeError('matmul', `${named} have an axis of size 0`);
  if (batch > 65535) throw shapeError('matmul', `batch ${batch} is above 65535`);
  return { batch, batchB, m, n, depth };
}

type File = 'software' | 'software-rows' | 'tile' | 'rows';

interface Plan {
  file: File;
  /** Parts the depth is summed in; above 1 each part has an [m, n] slab of scratch. */
  splits: number;
  /** Whether b is first transposed to [depth, n] in scratch. */
  transposeFirst: boolean;
}

/** Few outputs and a long sum (gradients of weights) leave processors idle; a fixed split gives each a share of the sum. */
function splitCount(outputTiles: number, wantedTiles: number, depth: number): number {
  if (outputTiles * 2 > wantedTiles || depth < 1024) return 1;
  return Math.min(Math.ceil(wantedTiles / outputTiles), Math.floor(depth / 512), 64);
}

function planOf(traits: KernelTraits, sizes: Sizes, transposeA: boolean, transposeB: boolean): Plan {
  const { batch, m, n, depth } = sizes;
  const single = batch === 1;
  if (traits.software) {
    if (single && m <= maxRows) return { file: 'software-rows', splits: 1, transposeFirst: false };
    const tiles = divideRoundUp(m, traits.subgroups ? 16 : 8) * divideRoundUp(n, 8 * softwareLanes);
    const splits = single && !transposeB ? splitCount(tiles, 16, depth) : 1;
    return { file: 'software', splits, transposeFirst: transposeB };
  }
  if (single && !transposeA && transposeB && m <= maxRows && depth % 4 === 0) {
    return { file: 'rows', splits: 1, transposeFirst: false };
  }
  const splits = single ? splitCount(divideRoundUp(m, 64) * divideRoundUp(n, 64), 128, depth) : 1;
  return { file: 'tile', splits, transposeFirst: false };
}

function scratchOf(plan: Plan, sizes: Sizes): number {
  if (plan.transposeFirst) return sizes.batchB * sizes.depth * sizes.n;
  return plan.splits > 1 ? plan.splits * sizes.m * sizes.n : 0;
}

/** Elements (f32) of the scratch tensor that {@link matmul} needs for these operands; 0 when it needs none. */
export function matmulScratch(
  traits: KernelTraits,
  args: { a: Operand; b: Operand; transposeA?: boolean; transposeB?: boolean },
): number {
  const sizes = sizesOf(args);
  return scratchOf(planOf(traits, sizes, args.transposeA === true, args.transposeB === true), sizes);
}

/**
 * out = A B with f32 accumulation, where A and B are a and b or their transposes. Picks the file by the adapter and
 * the number of rows; the split of long sums depends on the shape alone, so equal calls give equal bits.
 *
 * @throws Emu3Error `shape` when the operands do not fit each other or scratch is missing or too small.
 */
export function matmul<T extends Operand>(traits: KernelTraits, args: MatmulArguments<T>): KernelCall<T>[] {
  const { a, b, out, transposeA = false, transposeB = false, scratch } = args;
  const sizes = sizesOf(args);
  const { batch, batchB, m, n, depth } = sizes;
  const outShape = a.shape.length === 3 ? [batch, m, n] : [m, n];
  if (out.shape.length !== outShape.length || out.shape.some((size, axis) => size !== outShape[axis])) {
    throw shapeError('matmul', `out is [${out.shape}], but a [${a.shape}] and b [${b.shape}] give [${outShape}]`);
  }
  const plan = planOf(traits, sizes, transposeA, transposeB);
  const needed = scratchOf(plan, sizes);
  if (needed > 0 && (scratch === undefined || elementCount(scratch.shape) < needed)) {
    throw shapeError('matmul', `a [${a.shape}] and b [${b.shape}] need a scratch tensor of ${needed} elements`);
  }
  if (scratch !== undefined && plan.transposeFirst) {
    return [
      transpose(traits, { x: b, out: scratch, batch: batchB, rows: n, columns: depth }),
      tiled(traits, { a, b: scratch, out, transposeA, transposeB: false }, sizes, plan),
    ];
  }
  if (scratch !== undefined && plan.splits > 1) {
    return [
      tiled(traits, { a, b, out: scratch, transposeA, transposeB }, sizes, plan),
      sumSlabs(traits, { x: scratch, out, slabs: plan.splits }),
    ];
  }
  const whole = { a, b, out, transposeA, transposeB };
  return [
    plan.file === 'tile' || plan.file === 'software'
      ? tiled(traits, whole, sizes, plan)
      : fewRows(traits, whole, sizes, plan.file),
  ];
}

/** Whether {@link fusedMatmul} has a kernel for so many rows of so many inputs. */
export function offersFusedMatmul(rows: number, inputs: number): boolean {
  return rows <= maxRows && inputs % 4 === 0;
}

/**
 * out = x Wt with f32 accumulation, gated, normed or added to, for the few rows that {@link offersFusedMatmul}.
 *
 * @param args.x [m, depth]. f32 or f16.
 * @param args.weight [n, depth], or [2 n, depth] of a gated product. f32 or f16.
 * @param args.out [m, n]. f32 or f16.
 * @throws Emu3Error `shape` when the operands do not fit each other or m is too large.
 */
export function fusedMatmul<T extends Operand>(
  traits: KernelTraits,
  { x, weight, out, ...fusion }: { x: T; weight: T; out: T } & Fusion<T>,
): KernelCall<T> {
  const whole = sizesOf({ a: x, b: weight, transposeB: true });
  const sizes = fusion.gated ? { ...whole, n: whole.n / 2 } : whole;
  const { batch, m, n, depth } = sizes;
  if (batch !== 1 || !Number.isInteger(n) || !offersFusedMatmul(m, depth)) {
    throw shapeError('matmul', `x [${x.shape}] and weight [${weight.shape}] do not make a fused product`);
  }
  expectShape('matmul', 'out', out, [m, n]);
  const operands = { a: x, b: weight, out, transposeA: false, transposeB: true };
  const call = fewRows(traits, operands, sizes, traits.software ? 'software-rows' : 'rows', fusion);
  return { ...call, ...cost(whole, operands) };
}

interface Operands<T extends Operand> {
  a: T;
  b: T;
  out: T;
  transposeA: boolean;
  transposeB: boolean;
}

function typesOf(operands: Operands<Operand>): Record<string, DType> {
  return { TypeA: operands.a.dtype, TypeB: operands.b.dtype, TypeOut: operands.out.dtype };
}

function strides({ m, n, depth }: Sizes, transposeA: boolean, transposeB: boolean): Record<string, number> {
  return {
    rowStrideA: transposeA ? 1 : depth,
    depthStrideA: transposeA ? m : 1,
    depthStrideB: transposeB ? 1 : n,
    columnStrideB: transposeB ? depth : 1,
  };
}

function cost(sizes: Sizes, { a, b, out }: Operands<Operand>, slabs = 1): { bytes: number; flops: number } {
  const { batch, batchB, m, n, depth } = sizes;
  const bytes =
    batch * m * depth * bytesPerElement[a.dtype] +
    batchB * depth * n * bytesPerElement[b.dtype] +
    batch * slabs * m * n * bytesPerElement[out.dtype];
  return { bytes, flops: 2 * batch * m * n * depth };
}

function tiled<T extends Operand>(
  traits: KernelTraits,
  operands: Operands<T>,
  sizes: Sizes,
  plan: Plan,
): KernelCall<T> {
  const { a, b, out, transposeA, transposeB } = operands;
  const { batch, batchB, m, n, depth } = sizes;
  const software = plan.file === 'software';
  const softwareTile = traits.subgroups ? softwareBroadcastKernel : softwareKernel;
  const rows = software ? (traits.subgroups ? 16 : 8) : 64;
  const columns = software ? 8 * softwareLanes : 64;
  const [gridX, gridY] = linearGrid(divideRoundUp(m, rows) * divideRoundUp(n, columns));
  // A part ends on a multiple of the tile's depth, so that only the last one has a ragged end.
  const depthPerSplit = divideRoundUp(divideRoundUp(depth, plan.splits), 16) * 16;
  return (software ? softwareTile : tileKernel).call({
    aliases: typesOf(operands),
    overrides: software
      ? { LANES: softwareLanes }
      : { TILE_DEPTH: 16, DEPTH_FASTEST_A: transposeA ? 0 : 1, DEPTH_FASTEST_B: transposeB ? 1 : 0 },
    params: {
      m,
      n,
      depth,
      ...strides(sizes, transposeA, transposeB),
      batchStrideA: m * depth,
      batchStrideB: batchB === 1 ? 0 : n * depth,
      batchStrideOut: m * n,
      splits: plan.splits,
      depthPerSplit,
    },
    bindings: { a, b, out },
    grid: [gridX, gridY, batch * plan.splits],
    ...cost(sizes, operands, plan.splits),
  });
}

function fewRows<T extends Operand>(
  traits: KernelTraits,
  operands: Operands<T>,
  sizes: Sizes,
  file: 'software-rows' | 'rows',
  fusion: Fusion<T> = {},
): KernelCall<T> {
  const { a, b, out, transposeA, transposeB } = operands;
  const { m, n, depth } = sizes;
  // A thread's four columns are four outputs, or two gates and two ups.
  const outputs = fusion.gated ? 2 : 4;
  const fused = fusedCall('matmul', a, out, fusion);
  const shared = {
    aliases: { ...typesOf(operands), ...fused.aliases },
    constants: { ROWS: m, ...fused.constants },
    bindings: { a, b, out, ...fused.bindings },
    ...cost(sizes, operands),
  };
  if (file === 'software-rows') {
    return (traits.subgroups ? softwareRowsBroadcastKernel : softwareRowsKernel).call({
      ...shared,
      overrides: { LANES: softwareLanes },
      params: { n, depth, ...strides(sizes, transposeA, transposeB), ...fused.params },
      grid: linearGrid(divideRoundUp(n, outputs * softwareLanes)),
    });
  }
  return (traits.subgroups ? rowsSubgroupKernel : rowsKernel).call({
    ...shared,
    overrides: { WORKGROUP_SIZE: 64 },
    params: { n, depthOfFours: depth / 4, ...fused.params },
    grid: linearGrid(divideRoundUp(n, outputs)),
  });
}
