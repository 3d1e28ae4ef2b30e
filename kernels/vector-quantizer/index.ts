import {
  bytesPerElement,
  defineKernel,
  divideRoundUp,
  elementCount,
  linearGrid,
  shapeError,
  type KernelCall,
  type KernelTraits,
  type Operand,
} from '../core/index.js';
import clearCountsSource from './clear-counts.wgsl';
import codebookBackwardSource from './codebook-backward.wgsl';
import countSource from './count.wgsl';
import lookupSource from './lookup.wgsl';
import reviveSource from './revive.wgsl';
import searchSource from './search.wgsl';
import selectSource from './select.wgsl';
import straightThroughSource from './straight-through.wgsl';

const searchKernel = defineKernel('quantize-search', searchSource, {
  aliases: { Scalar: 'f32' },
  constants: { DIMENSION: 4 },
});
const selectKernel = defineKernel('quantize-select', selectSource);
const lookupKernel = defineKernel('codebook-lookup', lookupSource, { aliases: { Scalar: 'f32' } });
const straightThroughKernel = defineKernel('straight-through', straightThroughSource);
const clearCountsKernel = defineKernel('clear-counts', clearCountsSource);
const countKernel = defineKernel('count-codes', countSource);
const codebookBackwardKernel = defineKernel('codebook-backward', codebookBackwardSource, {
  constants: { DIMENSION: 4 },
});
const reviveKernel = defineKernel('revive-codes', reviveSource);

/** Latents are held in registers, so their dimension is bounded. */
const maxDimension = 32;

function workgroupSizeOf(traits: KernelTraits): number {
  return traits.software ? 32 : 64;
}

function requireCount(kernel: string, operands: Readonly<Record<string, Operand>>, count: number): void {
  for (const [name, operand] of Object.entries(operands)) {
    if (elementCount(operand.shape) !== count) {
      throw shapeError(kernel, `${name} must hold ${count} elements, but is [${operand.shape.join(', ')}]`);
    }
  }
}

/** The codebook's [K, d], and P from latents whose last dimension is d. */
function sizesOf(
  kernel: string,
  latents: Operand,
  codebook: Operand,
): { count: number; size: number; dimension: number } {
  const [size, dimension] = codebook.shape;
  if (codebook.shape.length !== 2 || size < 1 || dimension < 1 || dimension > maxDimension) {
    throw shapeError(kernel, `the codebook must be [codes, 1..${maxDimension}], but is [${codebook.shape.join(', ')}]`);
  }
  if (latents.shape.length < 2 || latents.shape.at(-1) !== dimension) {
    throw shapeError(kernel, `latents must be [.., ${dimension}], but are [${latents.shape.join(', ')}]`);
  }
  return { count: elementCount(latents.shape) / dimension, size, dimension };
}

/** Into how many parts the codebook is cut, so that few latents still fill a GPU. */
export function quantizeSplits(traits: KernelTraits, latents: number, codes: number): number {
  const wantedLatents = traits.software ? 64 : 65536;
  const smallestSplit = 64;
  return Math.max(1, Math.min(divideRoundUp(wantedLatents, latents), Math.floor(codes / smallestSplit), 64));
}

/**
 * Nearest codebook row of each latent by squared distance, the first index on ties.
 *
 * @param args.latents [.., d] with P latents, f32 or f16. @param args.codebook [K, d] f32, d <= 32.
 * @param args.splitDistance scratch f32 [splits * P], splits from {@link quantizeSplits}. @param args.splitCode u32 likewise.
 * @param args.codes [P] u32, written. @param args.quantized [.., d] f32, written: the codebook rows.
 * @throws Emu3Error `shape`.
 */
export function quantizeForward<T extends Operand>(
  traits: KernelTraits,
  args: { latents: T; codebook: T; splitDistance: T; splitCode: T; codes: T; quantized: T },
): KernelCall<T>[] {
  const { name } = searchKernel;
  const { latents, codebook, splitDistance, splitCode, codes, quantized } = args;
  const { count, size, dimension } = sizesOf(name, latents, codebook);
  const splits = quantizeSplits(traits, count, size);
  const codesPerSplit = divideRoundUp(size, splits);
  requireCount(name, { splitDistance, splitCode }, count * splits);
  requireCount(name, { codes }, count);
  requireCount(name, { quantized }, count * dimension);
  const workgroupSize = traits.software ? 8 : 64;
  const [gridX, gridY] = linearGrid(divideRoundUp(count, workgroupSize * 4));
  // Rounding codesPerSplit up may leave the last splits empty; those keep the largest distance and lose.
  return [
    searchKernel.call({
      aliases: { Scalar: latents.dtype },
      constants: { DIMENSION: dimension },
      overrides: { WORKGROUP_SIZE: workgroupSize },
      params: { latents: count, codes: size, codesPerSplit },
      bindings: { latents, codebook, splitDistance, splitCode },
      grid: [gridX, gridY, splits],
      bytes: count * dimension * bytesPerElement[latents.dtype] + size * dimension * 4 + count * splits * 8,
      flops: 3 * count * size * dimension,
    }),
    selectKernel.call({
      overrides: { WORKGROUP_SIZE: workgroupSizeOf(traits) },
      params: { latents: count, splits, dimension },
      bindings: { splitDistance, splitCode, codebook, codes, quantized },
      grid: linearGrid(divideRoundUp(count, workgroupSizeOf(traits))),
      bytes: count * (8 * splits + 4 + 8 * dimension),
      flops: 0,
    }),
  ];
}

/**
 * `quantized[p] = codebook[codes[p]]`, zeros for a code beyond the codebook.
 *
 * @param args.codes [P] u32. @param args.quantized [.., d], f32 or f16, written.
 * @throws Emu3Error `shape`.
 */
export function codebookLookup<T extends Operand>(
  traits: KernelTraits,
  args: { codes: T; codebook: T; quantized: T },
): KernelCall<T> {
  const { count, size, dimension } = sizesOf(lookupKernel.name, args.quantized, args.codebook);
  requireCount(lookupKernel.name, { codes: args.codes }, count);
  const workgroupSize = workgroupSizeOf(traits);
  return lookupKernel.call({
    aliases: { Scalar: args.quantized.dtype },
    overrides: { WORKGROUP_SIZE: workgroupSize },
    params: { count: count * dimension, dimension, codes: size },
    bindings: { codes: args.codes, codebook: args.codebook, quantized: args.quantized },
    grid: linearGrid(divideRoundUp(count * dimension, workgroupSize)),
    bytes: count * (dimension * (4 + bytesPerElement[args.quantized.dtype]) + 4),
    flops: 0,
  });
}

/** `out = quantized`, the forward half of the straight-through estimator. */
export function straightThroughForward<T extends Operand>(
  traits: KernelTraits,
  args: { quantized: T; out: T },
): KernelCall<T> {
  const count = elementCount(args.quantized.shape);
  requireCount(straightThroughKernel.name, { out: args.out }, count);
  const workgroupSize = workgroupSizeOf(traits);
  return straightThroughKernel.call({
    overrides: { WORKGROUP_SIZE: workgroupSize },
    params: { count },
    bindings: args,
    grid: linearGrid(divideRoundUp(count, workgroupSize)),
    bytes: count * 8,
    flops: 0,
  });
}

/** `counts = 0`. @param args.counts [K] u32. */
export function clearCodeCounts<T extends Operand>(traits: KernelTraits, args: { counts: T }): KernelCall<T> {
  const size = elementCount(args.counts.shape);
  const workgroupSize = workgroupSizeOf(traits);
  return clearCountsKernel.call({
    overrides: { WORKGROUP_SIZE: workgroupSize },
    params: { codes: size },
    bindings: { counts: args.counts },
    grid: linearGrid(divideRoundUp(size, workgroupSize)),
    bytes: size * 4,
    flops: 0,
  });
}

/** `counts[codes[p]] += 1`. @param args.codes [P] u32. @param args.counts [K] u32, added to. */
export function countCodes<T extends Operand>(traits: KernelTraits, args: { codes: T; counts: T }): KernelCall<T> {
  const count = elementCount(args.codes.shape);
  const workgroupSize = workgroupSizeOf(traits);
  return countKernel.call({
    overrides: { WORKGROUP_SIZE: workgroupSize },
    params: { latents: count, codes: elementCount(args.counts.shape) },
    bindings: { codes: args.codes, counts: args.counts },
    grid: linearGrid(divideRoundUp(count, workgroupSize)),
    bytes: count * 8,
    flops: 0,
  });
}

/**
 * Gradient of the codebook loss `mean((latents - codebook[codes])^2)` by the codebook, in a fixed order of summation.
 *
 * @param args.counts [K] u32, how often each code occurs in `codes`. @param args.lossGradient [1].
 * @param args.codebookGradient [K, d], written.
 * @throws Emu3Error `shape`.
 */
export function codebookBackward<T extends Operand>(
  traits: KernelTraits,
  args: { latents: T; codebook: T; codes: T; counts: T; lossGradient: T; codebookGradient: T },
): KernelCall<T> {
  const { name } = codebookBackwardKernel;
  const { count, size, dimension } = sizesOf(name, args.latents, args.codebook);
  requireCount(name, { codes: args.codes }, count);
  requireCount(name, { counts: args.counts }, size);
  requireCount(name, { lossGradient: args.lossGradient }, 1);
  requireCount(name, { codebookGradient: args.codebookGradient }, size * dimension);
  const workgroupSize = traits.software ? 8 : 64;
  return codebookBackwardKernel.call({
    constants: { DIMENSION: dimension },
    overrides: { WORKGROUP_SIZE: workgroupSize },
    params: { latents: count, codes: size, scale: 2 / (count * dimension) },
    bindings: args,
    grid: linearGrid(divideRoundUp(size, workgroupSize)),
    bytes: count * (4 + 4 * dimension) + size * (4 + 8 * dimension),
    flops: 2 * count * dimension,
  });
}

/**
 * Replaces every code chosen fewer than `minimumCount` times since the last call by a latent drawn with the seed, marks
 * it in `revived`, and starts all counts from 0 again.
 *
 * @param args.latents [.., d] f32. @param args.state [1] u32: the seed, a new one for every call.
 * @param args.counts [K] u32, reset. @param args.codebook [K, d], changed in place. @param args.revived [K] u32, 0 or 1, written.
 * @throws Emu3Error `shape`.
 */
export function reviveCodes<T extends Operand>(
  traits: KernelTraits,
  args: { latents: T; state: T; counts: T; codebook: T; revived: T; minimumCount: number },
): KernelCall<T> {
  const { name } = reviveKernel;
  const { minimumCount, ...bindings } = args;
  const { count, size, dimension } = sizesOf(name, args.latents, args.codebook);
  requireCount(name, { counts: args.counts, revived: args.revived }, size);
  requireCount(name, { state: args.state }, 1);
  const workgroupSize = workgroupSizeOf(traits);
  return reviveKernel.call({
    overrides: { WORKGROUP_SIZE: workgroupSize },
    params: { latents: count, codes: size, dimension, minimumCount },
    bindings,
    grid: linearGrid(divideRoundUp(size, workgroupSize)),
    bytes: size * 8,
    flops: 0,
  });
}
