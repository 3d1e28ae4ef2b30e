import { expectShape } from '../core/checks.js';
import {
  Emu3Error,
  defineKernel,
  divideRoundUp,
  linearGrid,
  shapeError,
  type DType,
  type KernelCall,
  type KernelTraits,
  type Operand,
} from '../core/index.js';
import dequantizeSource from './dequantize.wgsl';
import errorSource from './error.wgsl';
import { quantizationGroup, quantizedSizes, type QuantizedOperands } from './format.js';
import quantizeSource from './quantize.wgsl';

export * from './format.js';

const prelude = { aliases: { Source: 'f32' }, constants: { BITS: 4 } } as const;
const quantizeKernel = defineKernel('quantize', quantizeSource, prelude);
const errorKernel = defineKernel('quantization error', errorSource, prelude);
const dequantizeKernel = defineKernel('dequantize', dequantizeSource, { constants: { BITS: 4 } });

/** Element types of a weight's source: f32, or bf16 as it lies in a safetensors file. */
export type QuantizationSource = 'f32' | 'bf16';

/** u32 elements of the tile tensor: first row of the weight, and how many rows. */
export const quantizationTileElements = 2;

interface TileArguments<T extends Operand> {
  /** [rows, K] f32, or [rows, K / 2] u32 with two bf16 values a word, the first in the low half. */
  source: T;
  weight: QuantizedOperands<T>;
  /** u32 [2]: row of the weight that the source's first row is, and how many rows of the source count. */
  tile: T;
}

function tileSizes(kernel: string, args: TileArguments<Operand>) {
  const { source, weight, tile } = args;
  const sizes = quantizedSizes(kernel, weight);
  const [rows = 0] = source.shape;
  const bf16 = source.dtype === 'u32';
  if (source.dtype !== 'f32' && !bf16) {
    throw new Emu3Error(`Kernel ${kernel}: the source is ${source.dtype}, but f32 or packed bf16 is needed.`, {
      code: 'dtype',
      where: `kernel ${kernel}`,
      fix: 'Give an f32 tensor, or bf16 values in pairs as u32.',
    });
  }
  if (rows < 1) throw shapeError(kernel, `source [${source.shape}] has no rows`);
  expectShape(kernel, 'source', source, [rows, bf16 ? sizes.k / 2 : sizes.k]);
  expectShape(kernel, 'tile', tile, [quantizationTileElements]);
  const aliases: Record<string, DType> = { Source: source.dtype };
  return { ...sizes, rows, bf16, aliases, sourceBytes: rows * sizes.k * (bf16 ? 2 : 4) };
}

/**
 * Packs a tile of a weight's rows. The tile's place is in GPU memory, so that one recorded program packs a large weight
 * tile by tile. Rows past the weight's end are left out. See quantize.wgsl for the choice of scales.
 *
 * @throws Emu3Error `shape`, `dtype` for operands that do not fit the weight's format.
 */
export function quantize<T extends Operand>(traits: KernelTraits, args: TileArguments<T>): KernelCall<T> {
  const { source, weight, tile } = args;
  const { n, k, bits, groups, scaleWords, rows, bf16, aliases, sourceBytes, bytes } = tileSizes('quantize', args);
  const workgroupSize = traits.software ? 8 : 64;
  return quantizeKernel.call({
    aliases,
    constants: { BITS: bits },
    overrides: { WORKGROUP_SIZE: workgroupSize, SOURCE_BF16: bf16 ? 1 : 0 },
    params: { n, groups, scaleWords, sourceRows: rows },
    bindings: { source, tile, data: weight.data, scales: weight.scales },
    grid: linearGrid(divideRoundUp(rows * scaleWords, workgroupSize)),
    bytes: sourceBytes + Math.round((bytes / n) * Math.min(rows, n)),
    flops: rows * k * (bits === 4 ? 45 : 3),
  });
}

/**
 * Compares a tile of a weight's source with what was packed: statistics f32 [N, 4] gets for each row the largest error,
 * the sum of squared errors, the sum of squared values, and how many values are not finite (and count as 0).
 *
 * @throws Emu3Error `shape`, `dtype` for operands that do not fit the weight's format.
 */
export function quantizationError<T extends Operand>(
  traits: KernelTraits,
  args: TileArguments<T> & { statistics: T },
): KernelCall<T> {
  const { source, weight, tile, statistics } = args;
  const kernel = 'quantization error';
  const { n, k, bits, groups, scaleWords, rows, bf16, aliases, sourceBytes, bytes } = tileSizes(kernel, args);
  expectShape(kernel, 'statistics', statistics, [n, 4]);
  return errorKernel.call({
    aliases,
    constants: { BITS: bits },
    overrides: { WORKGROUP_SIZE: traits.software ? 8 : 64, SOURCE_BF16: bf16 ? 1 : 0 },
    params: { n, groups, scaleWords, sourceRows: rows },
    bindings: { source, tile, data: weight.data, scales: weight.scales, statistics },
    grid: linearGrid(rows),
    bytes: sourceBytes + Math.round((bytes / n) * Math.min(rows, n)) + 16 * rows,
    flops: 6 * rows * k,
  });
}

/**
 * out [N, K] f32 = scale * level of every element.
 *
 * @throws Emu3Error `shape` for operands that do not fit the weight's format.
 */
export function dequantize<T extends Operand>(
  traits: KernelTraits,
  args: { weight: QuantizedOperands<T>; out: T },
): KernelCall<T> {
  const { weight, out } = args;
  const { n, k, bits, groups, scaleWords, bytes } = quantizedSizes('dequantize', weight);
  expectShape('dequantize', 'out', out, [n, k]);
  const workgroupSize = traits.software ? 8 : 64;
  const vectors = (n * groups * quantizationGroup * bits) / 128;
  return dequantizeKernel.call({
    constants: { BITS: bits },
    overrides: { WORKGROUP_SIZE: workgroupSize },
    params: { vectors, groups, scaleWords },
    bindings: { data: weight.data, scales: weight.scales, out },
    grid: linearGrid(divideRoundUp(vectors, workgroupSize)),
    bytes: bytes + 4 * n * k,
    flops: n * k,
  });
}
