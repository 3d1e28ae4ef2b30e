import { expectShape, floatType } from '../core/checks.js';
import {
  bytesPerElement,
  defineKernel,
  divideRoundUp,
  elementCount,
  linearGrid,
  maxGridDimension,
  shapeError,
  type DType,
  type Kernel,
  type KernelCall,
  type KernelTraits,
  type Operand,
} from '../core/index.js';
import { fewRowsPrelude, fusedCall, type Fusion } from '../matmul/few-rows.js';
import broadcastSource from '../matmul/broadcast.wgsl';
import fewRowsSource from '../matmul/few-rows.wgsl';
import { quantizedSizes, type QuantizedOperands } from '../quantize/format.js';
import gradientSoftwareSource from './gradient-software.wgsl';
import gradientTileSource from './gradient-tile.wgsl';
import rowsSource from './rows.wgsl';
import rowsSubgroupSource from './rows-subgroup.wgsl';
import softwareRowsSource from './software-rows.wgsl';
import softwareRowsBroadcastSource from './software-rows-broadcast.wgsl';
import tileSource from './tile.wgsl';

const aliases = { TypeX: 'f32', TypeOut: 'f32' } as const;
const rowsPrelude = {
  aliases: { ...aliases, ...fewRowsPrelude.aliases },
  constants: { BITS: 4, ROWS: 1, ...fewRowsPrelude.constants },
};
const subgroupPrelude = { ...rowsPrelude, enable: ['subgroups'] };
const tilePrelude = { aliases, constants: { BITS: 4 } };
const rowsKernel = defineKernel('quantized-matmul-rows', fewRowsSource + rowsSource, rowsPrelude);
const rowsSubgroupKernel = defineKernel(
  'quantized-matmul-rows-subgroup',
  fewRowsSource + rowsSubgroupSource,
  subgroupPrelude,
);
const tileKernel = defineKernel('quantized-matmul-tile', tileSource, tilePrelude);
const softwareRowsKernel = defineKernel(
  'quantized-matmul-software-rows',
  fewRowsSource + softwareRowsSource,
  rowsPrelude,
);
const softwareRowsBroadcastKernel = defineKernel(
  'quantized-matmul-software-rows-broadcast',
  fewRowsSource + broadcastSource + softwareRowsBroadcastSource,
  subgroupPrelude,
);
const gradientTileKernel = defineKernel('quantized-matmul-gradient-tile', gradientTileSource, tilePrelude);
const gradientSoftwareKernel = defineKernel('quantized-matmul-gradient-software', gradientSoftwareSource, {
  aliases,
  constants: { BITS: 4, ROWS: 1 },
});

/** Products of at most this many rows read the weight once: decoding one or a few tokens. */
const maxRows = 8;
const softwareLanes = 8;

type Sizes = ReturnType<typeof quantizedSizes> & { m: number };

/** Sizes of a product by the operand that has its rows, whose columns must be the weight's outputs (n) or inputs (k). */
function sizesOf(kernel: string, weight: QuantizedOperands<Operand>, rows: Operand, name: string, columns: 'n' | 'k') {
  const sizes = quantizedSizes(kernel, weight);
  const [m = 0] = rows.shape;
  if (rows.shape.length !== 2 || m < 1) throw shapeError(kernel, `${name} [${rows.shape}] is not a matrix`);
  expectShape(kernel, name, rows, [m, sizes[columns]]);
  return { ...sizes, m };
}

function typesOf(kernel: string, given: Operand, made: Operand): Record<string, DType> {
  return { TypeX: floatType(kernel, 'the input', given), TypeOut: floatType(kernel, 'the result', made) };
}

function cost({ m, n, k, bytes }: Sizes, given: Operand, made: Operand): { bytes: number; flops: number } {
  const moved = [given, made].reduce((sum, { shape, dtype }) => sum + elementCount(shape) * bytesPerElement[dtype], 0);
  return { bytes: bytes + moved, flops: 2 * m * n * k };
}

/**
 * Rows a thread works on at a time, and how many times that makes m: of a few sizes, so that few pipelines are compiled,
 * the one that leaves the fewest rows over.
 */
function rowBlocks(kernel: string, m: number): { rows: number; blocks: number } {
  const small = m <= 2 ? m : 4;
  const rows = divideRoundUp(m, maxRows) * maxRows <= divideRoundUp(m, small) * small ? maxRows : small;
  const blocks = divideRoundUp(m, rows);
  if (blocks > maxGridDimension) {
    throw shapeError(kernel, `${m} rows are above the ${maxRows * maxGridDimension} of one product`);
  }
  return { rows, blocks };
}

/** Whether {@link quantizedMatmul} can be gated, normed and added to for so many rows. */
export function offersFusedQuantizedMatmul(traits: KernelTraits, rows: number): boolean {
  return traits.software || rows <= maxRows;
}

/**
 * Whether {@link quantizedMatmul} should apply a norm itself. On software adapters reading the gains costs about what reading
 * another row of x does (docs/architecture.md has the times), so there only the two rows of a guided step do.
 */
export function paysNormedQuantizedMatmul(traits: KernelTraits, rows: number): boolean {
  return traits.software ? rows === 2 : rows <= maxRows;
}

/**
 * out = x Wt for a packed weight W [N, K] with f32 accumulation: x [M, K] and out [M, N], f32 or f16. Up to 8 rows read
 * the weight once; equal calls give equal bits. Gated (out is [M, N / 2] then), normed and added to for as many rows as
 * {@link offersFusedQuantizedMatmul}.
 *
 * @throws Emu3Error `shape` when the operands do not fit each other, `dtype` when x or out is not floating point.
 */
export function quantizedMatmul<T extends Operand>(
  traits: KernelTraits,
  { x, weight, out, ...fusion }: { x: T; weight: QuantizedOperands<T>; out: T } & Fusion<T>,
): KernelCall<T> {
  const name = 'quantized-matmul';
  const sizes = sizesOf(name, weight, x, 'x', 'k');
  const { m, bits, groups, scaleWords } = sizes;
  // A thread's four products are four outputs, or two gates and two ups.
  const share = fusion.gated ? 2 : 1;
  const n = sizes.n / share;
  const isFused = fusion.gated === true || fusion.norm !== undefined || fusion.addend !== undefined;
  if (!Number.isInteger(n) || (isFused && !offersFusedQuantizedMatmul(traits, m))) {
    throw shapeError(name, `${m} rows by ${sizes.n} outputs cannot be gated, normed or added to`);
  }
  expectShape(name, 'out', out, [m, n]);
  const bindings = { x, data: weight.data, scales: weight.scales, out };
  const aliasesOf = typesOf(name, x, out);
  const work = cost(sizes, x, out);
  const fused = fusedCall(name, x, out, fusion);
  const shared = {
    aliases: { ...aliasesOf, ...fused.aliases },
    bindings: { ...bindings, ...fused.bindings },
    ...work,
  };
  if (traits.software) {
    const { rows, blocks } = rowBlocks(name, m);
    const [gridX, gridY] = linearGrid(divideRoundUp(n * share, 4 * softwareLanes));
    return (traits.subgroups ? softwareRowsBroadcastKernel : softwareRowsKernel).call({
      ...shared,
      constants: { BITS: bits, ROWS: rows, ...fused.constants },
      overrides: { LANES: softwareLanes },
      params: { m, n, groups, scaleWords, ...fused.params },
      grid: [gridX, gridY, blocks],
    });
  }
  if (m <= maxRows) {
    return (traits.subgroups ? rowsSubgroupKernel : rowsKernel).call({
      ...shared,
      constants: { BITS: bits, ROWS: m <= 2 ? m : m <= 4 ? 4 : maxRows, ...fused.constants },
      overrides: { WORKGROUP_SIZE: traits.subgroups ? 128 : 64 },
      params: { m, n, vectors: (groups * bits) / 4, scaleWords, ...fused.params },
      grid: linearGrid(divideRoundUp(n * share, traits.subgroups ? 16 : 4)),
    });
  }
  return tileKernel.call({
    aliases: aliasesOf,
    bindings,
    ...work,
    constants: { BITS: bits },
    params: { m, n, groups, scaleWords },
    grid: linearGrid(divideRoundUp(m, 64) * divideRoundUp(n, 64)),
  });
}

/**
 * xGradient = outGradient W, the gradient of {@link quantizedMatmul} by its input: outGradient [M, N] and xGradient
 * [M, K], f32 or f16, sums in f32.
 *
 * @throws Emu3Error `shape` when the operands do not fit each other, `dtype` when a gradient is not floating point.
 */
export function quantizedMatmulInputGradient<T extends Operand>(
  traits: KernelTraits,
  args: { outGradient: T; weight: QuantizedOperands<T>; xGradient: T },
): KernelCall<T> {
  const { outGradient, weight, xGradient } = args;
  const name = 'quantized-matmul-gradient';
  const sizes = sizesOf(name, weight, outGradient, 'outGradient', 'n');
  const { m, n, k, bits, groups, scaleWords } = sizes;
  expectShape(name, 'xGradient', xGradient, [m, k]);
  const { rows, blocks } = rowBlocks(name, m);
  const [softwareX, softwareY] = linearGrid(divideRoundUp(2 * groups, softwareLanes));
  const file: { kernel: Kernel; grid: readonly [number, number, number] } = traits.software
    ? { kernel: gradientSoftwareKernel, grid: [softwareX, softwareY, blocks] }
    : { kernel: gradientTileKernel, grid: linearGrid(divideRoundUp(m, 64) * divideRoundUp(groups, 2)) };
  return file.kernel.call({
    aliases: typesOf(name, outGradient, xGradient),
    constants: { BITS: bits, ...(traits.software ? { ROWS: rows } : {}) },
    overrides: traits.software ? { LANES: softwareLanes } : {},
    params: { m, n, groups, scaleWords },
    bindings: { outGradient, data: weight.data, scales: weight.scales, xGradient },
    grid: file.grid,
    ...cost(sizes, outGradient, xGradient),
  });
}
