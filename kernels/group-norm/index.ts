import { floatType } from '../core/checks.js';
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
import backwardAffineSource from './backward-affine.wgsl';
import backwardCombineSource from './backward-combine.wgsl';
import backwardSumsSource from './backward-sums.wgsl';
import backwardXSource from './backward-x.wgsl';
import combineSource from './combine.wgsl';
import normalizeSource from './normalize.wgsl';
import statisticsSource from './statistics.wgsl';

const aliases = { Scalar: 'f32', Weight: 'f32' } as const;
const statisticsKernel = defineKernel('group-norm statistics', statisticsSource, { aliases: { Scalar: 'f32' } });
const combineKernel = defineKernel('group-norm combine', combineSource);
const normalizeKernel = defineKernel('group-norm normalize', normalizeSource, { aliases });
const backwardSumsKernel = defineKernel('group-norm backward-sums', backwardSumsSource, { aliases });
const backwardCombineKernel = defineKernel('group-norm backward-combine', backwardCombineSource);
const backwardAffineKernel = defineKernel('group-norm backward-affine', backwardAffineSource);
const backwardXKernel = defineKernel('group-norm backward-x', backwardXSource, { aliases });

/**
 * How a tensor is normalised: `frames` independent pictures of `pixels` by `channels`, the channels of each in `groups`
 * groups with one mean and variance. BatchNorm is the case of one frame with a group for every channel.
 */
export interface GroupLayout {
  readonly frames: number;
  readonly pixels: number;
  readonly channels: number;
  readonly groups: number;
}

const pixelsPerChunk = 64;
const mostChunks = 64;

/** Chunks of pixels that are summed apart: a function of the layout alone, so that sums repeat bit for bit. */
function chunksOf(layout: GroupLayout): { chunks: number; pixelsPerChunk: number } {
  const wanted = Math.min(mostChunks, divideRoundUp(layout.pixels, pixelsPerChunk));
  const perChunk = divideRoundUp(layout.pixels, wanted);
  return { chunks: divideRoundUp(layout.pixels, perChunk), pixelsPerChunk: perChunk };
}

function checkLayout(name: string, x: Operand, layout: GroupLayout): void {
  const { frames, pixels, channels, groups } = layout;
  if (elementCount(x.shape) !== frames * pixels * channels || elementCount(x.shape) === 0) {
    throw shapeError(
      name,
      `x is [${x.shape.join(', ')}] where ${frames} x ${pixels} x ${channels} elements are needed`,
    );
  }
  if (groups < 1 || channels % groups !== 0) {
    throw shapeError(name, `${channels} channels cannot be divided into ${groups} groups`);
  }
}

function checkPartial(name: string, partial: Operand, { frames, channels }: GroupLayout, chunks: number): void {
  if (elementCount(partial.shape) !== frames * chunks * 2 * channels) {
    throw shapeError(name, `partial is [${partial.shape.join(', ')}] where ${chunks} chunks a frame are needed`);
  }
}

function checkChannels(name: string, layout: GroupLayout, operands: Readonly<Record<string, Operand>>): void {
  for (const [operand, { shape }] of Object.entries(operands)) {
    if (elementCount(shape) !== layout.channels) {
      throw shapeError(name, `${operand} is [${shape.join(', ')}] where [${layout.channels}] is needed`);
    }
  }
}

function lanesOf(traits: KernelTraits): number {
  return traits.software ? 8 : 32;
}

/** Shape of the f32 scratch tensor that {@link groupStatistics} and {@link groupNormBackward} need. */
export function groupPartialShape(layout: GroupLayout): [number, number, number, number] {
  return [layout.frames, chunksOf(layout).chunks, 2, layout.channels];
}

/** Shape of the statistics: mean, 1 / sqrt(variance + epsilon) and biased variance of every group of every frame. */
export function groupStatisticsShape(layout: GroupLayout): [number, number, number] {
  return [3, layout.frames, layout.groups];
}

/**
 * Mean and sum of squared differences of every channel over each chunk of `pixelsPerChunk` pixels, the last chunk of a
 * frame being what is left: what {@link groupCombine} makes statistics of.
 *
 * @param args.x `frames * pixels * channels` elements, channels last; f32 or f16.
 * @param args.partial f32 `[frames, chunks, 2, channels]`.
 * @throws Emu3Error `shape` when the layout does not fit x or partial.
 */
export function groupChunkSums<T extends Operand>(
  traits: KernelTraits,
  args: { x: T; partial: T; layout: GroupLayout; pixelsPerChunk: number },
): KernelCall<T> {
  const { x, partial, layout, pixelsPerChunk } = args;
  const { name } = statisticsKernel;
  checkLayout(name, x, layout);
  const { frames, pixels, channels } = layout;
  const chunks = divideRoundUp(pixels, pixelsPerChunk);
  checkPartial(name, partial, layout, chunks);
  const lanes = lanesOf(traits);
  const elements = elementCount(x.shape);
  return statisticsKernel.call({
    aliases: { Scalar: floatType(name, 'x', x) },
    overrides: { LANES: lanes },
    params: { pixels, channels, chunks, pixelsPerChunk },
    bindings: { x, partial },
    grid: [divideRoundUp(channels, lanes), chunks, frames],
    bytes: elements * bytesPerElement[x.dtype] + 4 * elementCount(partial.shape),
    flops: 4 * elements,
  });
}

/**
 * Mean and variance of every group from {@link groupChunkSums}, by Chan's formula.
 *
 * @param args.layout That of the whole, also where the chunks of x were summed a few at a time.
 * @param args.partial f32 `[frames, chunks, 2, channels]`.
 * @param args.statistics f32, {@link groupStatisticsShape}.
 * @param args.epsilon Added to the variance before the square root.
 * @throws Emu3Error `shape` when the layout does not fit partial.
 */
export function groupCombine<T extends Operand>(
  traits: KernelTraits,
  args: { partial: T; statistics: T; layout: GroupLayout; pixelsPerChunk: number; epsilon: number },
): KernelCall<T> {
  const { partial, statistics, layout, pixelsPerChunk, epsilon } = args;
  const { frames, pixels, channels, groups } = layout;
  const chunks = divideRoundUp(pixels, pixelsPerChunk);
  checkPartial(combineKernel.name, partial, layout, chunks);
  const lanes = lanesOf(traits);
  const partials = elementCount(partial.shape);
  const count = frames * groups;
  return combineKernel.call({
    overrides: { WORKGROUP_SIZE: lanes },
    params: { pixels, channels, chunks, pixelsPerChunk, groupSize: channels / groups, count, epsilon },
    bindings: { partial, statistics },
    grid: linearGrid(divideRoundUp(count, lanes)),
    bytes: 4 * partials + 12 * count,
    flops: 3 * partials,
  });
}

/**
 * Mean and variance of every group, in two passes over each chunk and Chan's formula between chunks.
 *
 * @param args.x `frames * pixels * channels` elements, channels last; f32 or f16.
 * @param args.partial f32 scratch, {@link groupPartialShape}.
 * @param args.statistics f32, {@link groupStatisticsShape}.
 * @param args.epsilon Added to the variance before the square root.
 * @throws Emu3Error `shape` when the layout does not fit x or its channels do not divide into the groups.
 */
export function groupStatistics<T extends Operand>(
  traits: KernelTraits,
  args: { x: T; partial: T; statistics: T; layout: GroupLayout; epsilon: number },
): KernelCall<T>[] {
  const { pixelsPerChunk } = chunksOf(args.layout);
  return [groupChunkSums(traits, { ...args, pixelsPerChunk }), groupCombine(traits, { ...args, pixelsPerChunk })];
}

/**
 * `out = (x - mean) * inverseDeviation * weight + bias`, and SiLU of that when `silu` is set.
 *
 * @param args.x `frames * pixels * channels` elements, channels last; f32 or f16.
 * @param args.statistics f32, {@link groupStatisticsShape}.
 * @param args.weight `[channels]`, like bias.
 * @param args.out Like x.
 */
export function groupNormalize<T extends Operand>(
  traits: KernelTraits,
  args: { x: T; statistics: T; weight: T; bias: T; out: T; layout: GroupLayout; silu: boolean },
): KernelCall<T> {
  const { x, statistics, weight, bias, out, layout, silu } = args;
  const { name } = normalizeKernel;
  checkLayout(name, x, layout);
  checkChannels(name, layout, { weight, bias });
  if (elementCount(out.shape) !== elementCount(x.shape)) throw shapeError(name, `out is [${out.shape.join(', ')}]`);
  const { frames, pixels, channels, groups } = layout;
  const { chunks, pixelsPerChunk } = chunksOf(layout);
  const lanes = lanesOf(traits);
  const elements = elementCount(x.shape);
  return normalizeKernel.call({
    aliases: { Scalar: floatType(name, 'x', x), Weight: floatType(name, 'weight', weight) },
    overrides: { LANES: lanes },
    params: {
      pixels,
      channels,
      pixelsPerChunk,
      groupSize: channels / groups,
      count: frames * groups,
      silu: silu ? 1 : 0,
    },
    bindings: { x, statistics, weight, bias, out },
    grid: [divideRoundUp(channels, lanes), chunks, frames],
    bytes: 2 * elements * bytesPerElement[x.dtype],
    flops: (silu ? 9 : 4) * elements,
  });
}

interface BackwardArguments<T extends Operand> {
  x: T;
  outGradient: T;
  statistics: T;
  weight: T;
  bias: T;
  layout: GroupLayout;
  silu: boolean;
}

/** Shape of the channel sums that {@link groupNormBackwardSums} leaves for the other two backward calls. */
export function groupChannelSumsShape(layout: GroupLayout): [number, number, number] {
  return [layout.frames, 2, layout.channels];
}

/**
 * First stage of the gradients of {@link groupNormalize}: per frame and channel, the sums over the pixels of g and of
 * g times the normalised value, g being the gradient of the output taken back through SiLU.
 *
 * @param args.partial f32 scratch, {@link groupPartialShape}.
 * @param args.channelSums f32, {@link groupChannelSumsShape}.
 */
export function groupNormBackwardSums<T extends Operand>(
  traits: KernelTraits,
  args: BackwardArguments<T> & { partial: T; channelSums: T },
): KernelCall<T>[] {
  const { x, outGradient, statistics, weight, bias, partial, channelSums, layout, silu } = args;
  const { name } = backwardSumsKernel;
  checkLayout(name, x, layout);
  checkLayout(name, outGradient, layout);
  checkChannels(name, layout, { weight, bias });
  const { frames, pixels, channels, groups } = layout;
  const { chunks, pixelsPerChunk } = chunksOf(layout);
  const lanes = lanesOf(traits);
  const elements = elementCount(x.shape);
  const partials = elementCount(groupPartialShape(layout));
  const [y, z] = linearGrid(frames);
  return [
    backwardSumsKernel.call({
      aliases: { Scalar: floatType(name, 'x', x), Weight: floatType(name, 'weight', weight) },
      overrides: { LANES: lanes },
      params: {
        pixels,
        channels,
        chunks,
        pixelsPerChunk,
        groupSize: channels / groups,
        count: frames * groups,
        silu: silu ? 1 : 0,
      },
      bindings: { x, outGradient, statistics, weight, bias, partial },
      grid: [divideRoundUp(channels, lanes), chunks, frames],
      bytes: elements * (4 + bytesPerElement[x.dtype]) + 4 * partials,
      flops: (silu ? 14 : 5) * elements,
    }),
    backwardCombineKernel.call({
      overrides: { LANES: lanes },
      params: { frames, chunks, width: 2 * channels },
      bindings: { partial, channelSums },
      grid: [divideRoundUp(2 * channels, lanes), y, z],
      bytes: 4 * (partials + 2 * frames * channels),
      flops: partials,
    }),
  ];
}

/** Gradients of weight and bias (`[channels]`, f32) from the channel sums. */
export function groupNormBackwardAffine<T extends Operand>(
  traits: KernelTraits,
  args: { channelSums: T; weightGradient: T; biasGradient: T; layout: GroupLayout },
): KernelCall<T> {
  const { channelSums, weightGradient, biasGradient, layout } = args;
  checkChannels(backwardAffineKernel.name, layout, { weightGradient, biasGradient });
  const { frames, channels } = layout;
  const lanes = lanesOf(traits);
  return backwardAffineKernel.call({
    overrides: { LANES: lanes },
    params: { frames, channels },
    bindings: { channelSums, weightGradient, biasGradient },
    grid: [divideRoundUp(channels, lanes), 1, 1],
    bytes: 8 * channels * (frames + 1),
    flops: 2 * frames * channels,
  });
}

/**
 * Gradient with respect to x (f32, like x) from the channel sums.
 *
 * @param args.fixedStatistics The statistics did not come from x, so no gradient flows through them.
 */
export function groupNormBackwardX<T extends Operand>(
  traits: KernelTraits,
  args: BackwardArguments<T> & { channelSums: T; xGradient: T; fixedStatistics: boolean },
): KernelCall<T> {
  const { x, outGradient, statistics, weight, bias, channelSums, xGradient, layout, silu, fixedStatistics } = args;
  const { name } = backwardXKernel;
  checkLayout(name, x, layout);
  checkLayout(name, outGradient, layout);
  checkLayout(name, xGradient, layout);
  checkChannels(name, layout, { weight, bias });
  const { frames, pixels, channels, groups } = layout;
  const { chunks, pixelsPerChunk } = chunksOf(layout);
  const lanes = lanesOf(traits);
  const elements = elementCount(x.shape);
  return backwardXKernel.call({
    aliases: { Scalar: floatType(name, 'x', x), Weight: floatType(name, 'weight', weight) },
    overrides: { LANES: lanes },
    params: {
      pixels,
      channels,
      pixelsPerChunk,
      groupSize: channels / groups,
      count: frames * groups,
      silu: silu ? 1 : 0,
      fixedStatistics: fixedStatistics ? 1 : 0,
    },
    bindings: { x, outGradient, statistics, weight, bias, channelSums, xGradient },
    grid: [divideRoundUp(channels, lanes), chunks, frames],
    bytes: elements * (8 + bytesPerElement[x.dtype]),
    flops: (silu ? 16 : 7) * elements,
  });
}
