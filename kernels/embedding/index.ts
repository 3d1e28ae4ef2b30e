import { expectShape, floatType } from '../core/checks.js';
import {
  defineKernel,
  divideRoundUp,
  elementCount,
  linearGrid,
  shapeError,
  type KernelCall,
  type KernelTraits,
  type Operand,
} from '../core/index.js';
import { quantizedSizes, type QuantizedOperands } from '../quantize/format.js';
import gatherQuantizedSource from './gather-quantized.wgsl';
import gatherSource from './gather.wgsl';
import linkSource from './link.wgsl';
import scatterSource from './scatter.wgsl';

const gather = defineKernel('embedding gather', gatherSource, { aliases: { Scalar: 'f32', Weight: 'f32' } });
const gatherQuantized = defineKernel('embedding gather quantized', gatherQuantizedSource, {
  aliases: { Scalar: 'f32' },
  constants: { BITS: 4 },
});
const link = defineKernel('embedding link', linkSource);
const scatter = defineKernel('embedding scatter', scatterSource);

function tableSize(kernel: string, name: string, table: Operand): { vocabulary: number; features: number } {
  const [vocabulary, features] = table.shape;
  if (table.shape.length !== 2 || !vocabulary || !features) {
    throw shapeError(kernel, `${name} is [${table.shape.join(', ')}] where [vocabulary, features] is needed`);
  }
  return { vocabulary, features };
}

/**
 * `out[row] = table[ids[row]]`; zeros where an id is not below the vocabulary size.
 *
 * @param args.ids u32, any shape, `rows` elements.
 * @param args.table `[vocabulary, features]`, f32 or f16.
 * @param args.out `[rows, features]`, f32 or f16.
 */
export function embeddingGather<T extends Operand>(
  traits: KernelTraits,
  args: { ids: T; table: T; out: T },
): KernelCall<T> {
  const { ids, table, out } = args;
  const { vocabulary, features } = tableSize(gather.name, 'table', table);
  const rows = elementCount(ids.shape);
  expectShape(gather.name, 'out', out, [rows, features]);
  return gather.call({
    aliases: { Scalar: floatType(gather.name, 'out', out), Weight: floatType(gather.name, 'table', table) },
    overrides: { WORKGROUP_SIZE: traits.software ? 8 : 64 },
    params: { rows, features, vocabulary },
    bindings: { ids, table, out },
    grid: linearGrid(rows),
    bytes: 8 * rows * features + 4 * rows,
    flops: 0,
  });
}

/**
 * {@link embeddingGather} from some rows of a packed table: `out[row] = table[ids[row] - first]` where the table's rows
 * are those of ids from `first`. Rows of out whose ids lie elsewhere are zeroed with `clear`, and left alone without.
 *
 * @param args.ids u32, any shape, `rows` elements.
 * @param args.table packed `[count, features]`.
 * @param args.out `[rows, features]`, f32 or f16.
 * @throws Emu3Error `shape` for operands that do not fit each other.
 */
export function embeddingGatherQuantized<T extends Operand>(
  traits: KernelTraits,
  args: { ids: T; table: QuantizedOperands<T>; out: T; first: number; clear: boolean },
): KernelCall<T> {
  const { ids, table, out, first, clear } = args;
  const { n, k, bits, scaleWords } = quantizedSizes(gatherQuantized.name, table);
  const rows = elementCount(ids.shape);
  expectShape(gatherQuantized.name, 'out', out, [rows, k]);
  return gatherQuantized.call({
    aliases: { Scalar: floatType(gatherQuantized.name, 'out', out) },
    constants: { BITS: bits },
    overrides: { WORKGROUP_SIZE: traits.software ? 8 : 64, CLEAR: clear ? 1 : 0 },
    params: { rows, words: (k * bits) / 32, scale_words: scaleWords, first, count: n },
    bindings: { ids, data: table.data, scales: table.scales, out },
    grid: linearGrid(rows),
    bytes: rows * ((k * bits) / 8 + 4 * scaleWords + 4 * k + 4),
    flops: rows * k,
  });
}

/**
 * Gradient of the whole table, every element written exactly once and summed in row order, without atomics.
 *
 * @param args.ids u32, `rows` elements (up to about 65,000: the chains take rows^2 integer comparisons).
 * @param args.outGradient `[rows, features]` f32.
 * @param args.head Scratch, `[vocabulary]` u32; needs no clearing.
 * @param args.next Scratch, `[rows]` u32.
 * @param args.tableGradient `[vocabulary, features]` f32.
 * @param args.paddingId Id whose row gets a gradient of exactly zero; none when left out.
 */
export function embeddingGradient<T extends Operand>(
  traits: KernelTraits,
  args: { ids: T; outGradient: T; head: T; next: T; tableGradient: T; paddingId?: number | undefined },
): KernelCall<T>[] {
  const { ids, outGradient, head, next, tableGradient, paddingId } = args;
  const { vocabulary, features } = tableSize(scatter.name, 'tableGradient', tableGradient);
  const rows = elementCount(ids.shape);
  expectShape(scatter.name, 'outGradient', outGradient, [rows, features]);
  expectShape(scatter.name, 'head', head, [vocabulary]);
  expectShape(scatter.name, 'next', next, [rows]);
  const linkSize = traits.software ? 16 : 64;
  const scatterSize = 64;
  return [
    link.call({
      overrides: { WORKGROUP_SIZE: linkSize },
      params: { rows, vocabulary },
      bindings: { ids, head, next },
      grid: [divideRoundUp(rows, linkSize), 1, 1],
      bytes: 12 * rows,
      flops: 0,
    }),
    scatter.call({
      overrides: { WORKGROUP_SIZE: scatterSize },
      params: { rows, features, vocabulary, padding_id: paddingId ?? 0xffffffff },
      bindings: { ids, head, next, out_gradient: outGradient, table_gradient: tableGradient },
      grid: linearGrid(divideRoundUp(vocabulary * features, scatterSize)),
      bytes: 4 * (rows + vocabulary) * features,
      flops: rows * features,
    }),
  ];
}
