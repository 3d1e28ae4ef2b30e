import { expectShape, floatType } from '../core/checks.js';
import {
  defineKernel,
  divideRoundUp,
  linearGrid,
  shapeError,
  type Kernel,
  type KernelCall,
  type KernelTraits,
  type Operand,
} from '../core/index.js';
import backwardKeyValueSoftwareSource from './backward-key-value-software.wgsl';
import backwardKeyValueSource from './backward-key-value.wgsl';
import backwardQuerySoftwareSource from './backward-query-software.wgsl';
import backwardQuerySource from './backward-query.wgsl';
import backwardStatisticsSource from './backward-statistics.wgsl';
import forwardSoftwareSource from './forward-software.wgsl';
import forwardSource from './forward.wgsl';
import { cacheSizes, cacheWidth, defineCacheKernels, type CacheOperands } from './cache-type.js';
import { checkAttentionShape, dropoutArguments, type AttentionDropout, type AttentionShape } from './shape.js';

export * from './cache.js';
export {
  cacheElement,
  cacheTypes,
  cacheWidth,
  checkCacheType,
  type CacheOperands,
  type CacheType,
} from './cache-type.js';
export type { AttentionDropout, AttentionShape } from './shape.js';

const prelude = { aliases: { Scalar: 'f32' }, constants: { HEAD_DIMENSION: 64 } } as const;
const forwardSoftware = defineCacheKernels('attention forward-software', forwardSoftwareSource, prelude);
const forward = defineCacheKernels('attention forward', forwardSource, prelude);
const backwardStatistics = defineKernel('attention backward-statistics', backwardStatisticsSource, {
  aliases: { Scalar: 'f32' },
});
const backwardQuerySoftware = defineKernel('attention backward-query-software', backwardQuerySoftwareSource, prelude);
const backwardQuery = defineKernel('attention backward-query', backwardQuerySource, prelude);
const backwardKeyValueSoftware = defineKernel(
  'attention backward-key-value-software',
  backwardKeyValueSoftwareSource,
  prelude,
);
const backwardKeyValue = defineKernel('attention backward-key-value', backwardKeyValueSource, prelude);

const softwareLanes = 8;
const softwareRowsPerLane = 4;
/** Rows of a tile of the workgroup-memory kernels. */
const tileRows = 32;

function rowsPerWorkgroup(traits: KernelTraits): number {
  return traits.software ? softwareLanes * softwareRowsPerLane : tileRows;
}

function widths(shape: AttentionShape): { tokens: number; width: number; keyValueWidth: number } {
  const { batch, length, heads, keyValueHeads, headDimension } = shape;
  return { tokens: batch * length, width: heads * headDimension, keyValueWidth: keyValueHeads * headDimension };
}

/** Multiply-adds of one product of queries and visible keys, at most. */
function causalProducts(shape: AttentionShape): number {
  const { batch, length, heads, headDimension } = shape;
  return (batch * heads * headDimension * length * (length + 1)) / 2;
}

/**
 * Causal grouped-query attention of sequences with themselves: `out = softmax(q k^T / sqrt(headDimension)) v` over keys
 * `start[b, t] <= j <= t`, without the matrix of scores.
 *
 * @param args.q `[batch * length, heads * headDimension]`, f32 or f16.
 * @param args.k,v `[batch * length, keyValueHeads * headDimension]`, type of q.
 * @param args.start u32 `[batch * length]`: the first visible key of each query, an index within its row. Left padding,
 *   packed documents and plain causal attention (0) differ in it alone. A query with `start > t` gives zeros.
 * @param args.out Like q.
 * @param args.logsumexp `[batch * length, heads]` f32, kept for the backward pass.
 */
export function attentionForward<T extends Operand>(
  traits: KernelTraits,
  args: {
    q: T;
    k: T;
    v: T;
    start: T;
    out: T;
    logsumexp: T;
    shape: AttentionShape;
    dropout?: AttentionDropout<T> | undefined;
  },
): KernelCall<T> {
  const { q, k, v, start, out, logsumexp, shape } = args;
  const kernel = (traits.software ? forwardSoftware : forward).f32;
  checkAttentionShape(kernel.name, shape);
  const { batch, length, heads, keyValueHeads, headDimension } = shape;
  const { tokens, width, keyValueWidth } = widths(shape);
  expectShape(kernel.name, 'q', q, [tokens, width]);
  expectShape(kernel.name, 'k', k, [tokens, keyValueWidth]);
  expectShape(kernel.name, 'v', v, [tokens, keyValueWidth]);
  expectShape(kernel.name, 'start', start, [tokens]);
  expectShape(kernel.name, 'out', out, [tokens, width]);
  expectShape(kernel.name, 'logsumexp', logsumexp, [tokens, heads]);
  const dropout = dropoutArguments(kernel.name, args.dropout, start);
  const groupSize = heads / keyValueHeads;
  return kernel.call({
    aliases: { Scalar: floatType(kernel.name, 'q', q), KeyValue: floatType(kernel.name, 'k', k) },
    constants: { HEAD_DIMENSION: headDimension },
    overrides: { DROPOUT: dropout.enabled },
    params: {
      vectors: headDimension / 4,
      queries: length,
      heads,
      group_size: groupSize,
      scale: 1 / Math.sqrt(headDimension),
      batch_stride: length * keyValueHeads,
      position_stride: keyValueHeads,
      head_stride: 1,
      start_batch_stride: length,
      start_query_stride: 1,
      cached: 0,
      ...dropout.params,
    },
    bindings: { q, k, v, start, position: start, state: dropout.state, out, logsumexp },
    grid: [divideRoundUp(length * groupSize, rowsPerWorkgroup(traits)), keyValueHeads, batch],
    bytes: 4 * tokens * (2 * width + 2 * keyValueWidth + heads + 1),
    flops: 4 * causalProducts(shape),
  });
}

/**
 * Attention of a chunk of new tokens against a cache that already holds them and what came before (chunked prefill):
 * query i of row b stands at position `position[b] + i` and sees cached keys `start[b] <= j <= position[b] + i`.
 *
 * @param args.q `[batch * length, heads * headDimension]`, f32 or f16.
 * @param args.start,position u32 `[batch]`.
 */
export function attentionCached<T extends Operand>(
  traits: KernelTraits,
  args: {
    q: T;
    cache: CacheOperands<T>;
    start: T;
    position: T;
    out: T;
    logsumexp: T;
    shape: AttentionShape;
  },
): KernelCall<T> {
  const { q, cache, start, position, out, logsumexp, shape } = args;
  const kernel = (traits.software ? forwardSoftware : forward)[cache.type];
  checkAttentionShape(kernel.name, shape);
  const { batch, length, heads, keyValueHeads, headDimension } = shape;
  const { tokens, width } = widths(shape);
  const { capacity, ...sizes } = cacheSizes(kernel.name, cache);
  if (sizes.batch !== batch || sizes.keyValueHeads !== keyValueHeads || sizes.headDimension !== headDimension) {
    throw shapeError(kernel.name, `the cache has ${JSON.stringify(sizes)} where ${JSON.stringify(shape)} is needed`);
  }
  expectShape(kernel.name, 'q', q, [tokens, width]);
  expectShape(kernel.name, 'start', start, [batch]);
  expectShape(kernel.name, 'position', position, [batch]);
  expectShape(kernel.name, 'out', out, [tokens, width]);
  expectShape(kernel.name, 'logsumexp', logsumexp, [tokens, heads]);
  const dropout = dropoutArguments(kernel.name, undefined, start);
  const groupSize = heads / keyValueHeads;
  return kernel.call({
    aliases: { Scalar: floatType(kernel.name, 'q', q) },
    constants: { HEAD_DIMENSION: headDimension },
    params: {
      vectors: headDimension / 4,
      queries: length,
      heads,
      group_size: groupSize,
      scale: 1 / Math.sqrt(headDimension),
      batch_stride: keyValueHeads * capacity,
      position_stride: 1,
      head_stride: capacity,
      start_batch_stride: 1,
      start_query_stride: 0,
      cached: 1,
      ...dropout.params,
    },
    bindings: { q, k: cache.keys, v: cache.values, start, position, state: dropout.state, out, logsumexp },
    grid: [divideRoundUp(length * groupSize, rowsPerWorkgroup(traits)), keyValueHeads, batch],
    bytes: 8 * tokens * width + 8 * batch * keyValueHeads * length * cacheWidth(cache.type, headDimension),
    flops: 4 * causalProducts(shape),
  });
}

/**
 * Prepares {@link attentionBackwardQuery} and {@link attentionBackwardKeyValue}: per (query, head) the log-sum-exp, the
 * dot product of output and output gradient, and the first visible key.
 *
 * @param args.statistics `[batch * length, heads, 4]` f32.
 */
export function attentionBackwardStatistics<T extends Operand>(
  traits: KernelTraits,
  args: { out: T; outGradient: T; logsumexp: T; start: T; statistics: T; shape: AttentionShape },
): KernelCall<T> {
  const { out, outGradient, logsumexp, start, statistics, shape } = args;
  const { name } = backwardStatistics;
  checkAttentionShape(name, shape);
  const { tokens, width } = widths(shape);
  const { heads, headDimension } = shape;
  expectShape(name, 'out', out, [tokens, width]);
  expectShape(name, 'outGradient', outGradient, [tokens, width]);
  expectShape(name, 'logsumexp', logsumexp, [tokens, heads]);
  expectShape(name, 'start', start, [tokens]);
  expectShape(name, 'statistics', statistics, [tokens, heads, 4]);
  const pairs = tokens * heads;
  const size = traits.software ? 16 : 64;
  return backwardStatistics.call({
    aliases: { Scalar: floatType(name, 'out', out) },
    overrides: { WORKGROUP_SIZE: size },
    params: { pairs, heads, vectors: headDimension / 4 },
    bindings: { out, out_gradient: outGradient, logsumexp, start, statistics },
    grid: linearGrid(divideRoundUp(pairs, size)),
    bytes: 8 * tokens * width + 20 * pairs,
    flops: 2 * tokens * width,
  });
}

interface BackwardArguments<T extends Operand> {
  q: T;
  k: T;
  v: T;
  statistics: T;
  outGradient: T;
  /** Any u32 tensor; bound in the place of dropout's state where there is none. */
  start: T;
  shape: AttentionShape;
  dropout?: AttentionDropout<T> | undefined;
}

function backwardCall<T extends Operand>(
  kernel: Kernel,
  args: BackwardArguments<T>,
  gradients: Record<string, T>,
): Parameters<typeof kernel.call<T>>[0] {
  const { q, k, v, statistics, outGradient, shape } = args;
  checkAttentionShape(kernel.name, shape);
  const { length, heads, keyValueHeads, headDimension } = shape;
  const { tokens, width, keyValueWidth } = widths(shape);
  expectShape(kernel.name, 'q', q, [tokens, width]);
  expectShape(kernel.name, 'k', k, [tokens, keyValueWidth]);
  expectShape(kernel.name, 'v', v, [tokens, keyValueWidth]);
  expectShape(kernel.name, 'statistics', statistics, [tokens, heads, 4]);
  expectShape(kernel.name, 'outGradient', outGradient, [tokens, width]);
  const dropout = dropoutArguments(kernel.name, args.dropout, args.start);
  return {
    aliases: { Scalar: floatType(kernel.name, 'q', q) },
    constants: { HEAD_DIMENSION: headDimension },
    overrides: { DROPOUT: dropout.enabled },
    params: {
      vectors: headDimension / 4,
      length,
      heads,
      group_size: heads / keyValueHeads,
      scale: 1 / Math.sqrt(headDimension),
      ...dropout.params,
    },
    bindings: { q, k, v, statistics, out_gradient: outGradient, state: dropout.state, ...gradients },
    grid: [1, 1, 1],
    bytes: 4 * tokens * (3 * width + 4 * keyValueWidth),
    flops: 0,
  };
}

/** Gradient with respect to q, `qGradient` f32 like q. */
export function attentionBackwardQuery<T extends Operand>(
  traits: KernelTraits,
  args: BackwardArguments<T> & { qGradient: T },
): KernelCall<T> {
  const kernel = traits.software ? backwardQuerySoftware : backwardQuery;
  const { shape, qGradient } = args;
  expectShape(kernel.name, 'qGradient', qGradient, args.q.shape);
  const rows = (shape.length * shape.heads) / shape.keyValueHeads;
  return kernel.call({
    ...backwardCall(kernel, args, { q_gradient: qGradient }),
    grid: [divideRoundUp(rows, rowsPerWorkgroup(traits)), shape.keyValueHeads, shape.batch],
    flops: 6 * causalProducts(shape),
  });
}

/** Gradients with respect to k and v, f32 like k and v. */
export function attentionBackwardKeyValue<T extends Operand>(
  traits: KernelTraits,
  args: BackwardArguments<T> & { kGradient: T; vGradient: T },
): KernelCall<T> {
  const kernel = traits.software ? backwardKeyValueSoftware : backwardKeyValue;
  const { shape, kGradient, vGradient } = args;
  expectShape(kernel.name, 'kGradient', kGradient, args.k.shape);
  expectShape(kernel.name, 'vGradient', vGradient, args.v.shape);
  return kernel.call({
    ...backwardCall(kernel, args, { k_gradient: kGradient, v_gradient: vGradient }),
    grid: [divideRoundUp(shape.length, rowsPerWorkgroup(traits)), shape.keyValueHeads, shape.batch],
    flops: 8 * causalProducts(shape),
  });
}
