import {
  attentionBackwardKeyValue,
  attentionBackwardQuery,
  attentionBackwardStatistics,
  attentionCached,
  attentionDecode,
  attentionDecodeSplits,
  attentionForward,
  attentionTurnAndCache,
  type AttentionDropout,
  type AttentionShape,
  type CacheOperands,
} from '../../kernels/attention/index.js';
import type { Graph, Tensor } from '../graph/index.js';

export interface AttentionOptions extends AttentionShape {
  /** Dropout of attention probabilities; none when left out or at rate 0. */
  readonly dropout?: AttentionDropout<Tensor> | undefined;
}

/**
 * Causal grouped-query attention of a batch of sequences with themselves, differentiable in q, k and v:
 * `softmax(q k^T / sqrt(headDimension)) v` over keys `start[b, t] <= j <= t` (flash attention, Dao et al. 2022,
 * arXiv 2205.14135). A query with `start > t` gives zeros and has no gradient.
 *
 * @param q `[batch * length, heads * headDimension]`
 * @param k,v `[batch * length, keyValueHeads * headDimension]`
 * @param start u32 `[batch * length]`: first visible key of each query, an index within its row.
 */
export function attention(
  graph: Graph,
  q: Tensor,
  k: Tensor,
  v: Tensor,
  start: Tensor,
  options: AttentionOptions,
): Tensor {
  const { dropout, ...shape } = options;
  const { traits } = graph;
  const tokens = shape.batch * shape.length;
  const out = graph.temporary(q.shape, q.dtype, 'attention');
  const logsumexp = graph.temporary([tokens, shape.heads], 'f32', 'attention log-sum-exp');
  const state = dropout === undefined ? [] : [dropout.state];
  graph.node({
    name: 'attention',
    inputs: [q, k, v, start, ...state],
    outputs: [out, logsumexp],
    calls: [attentionForward(traits, { q, k, v, start, out, logsumexp, shape, dropout })],
    backward: ([outGradient]) => {
      if (outGradient === undefined) return [];
      const statistics = graph.temporary([tokens, shape.heads, 4], 'f32', 'attention statistics');
      const qGradient = graph.temporary(q.shape, 'f32', `gradient of ${q.label}`);
      const kGradient = graph.temporary(k.shape, 'f32', `gradient of ${k.label}`);
      const vGradient = graph.temporary(v.shape, 'f32', `gradient of ${v.label}`);
      graph.node({
        name: 'attention backward-statistics',
        inputs: [out, outGradient, logsumexp, start],
        outputs: [statistics],
        calls: [attentionBackwardStatistics(traits, { out, outGradient, logsumexp, start, statistics, shape })],
      });
      const operands = { q, k, v, statistics, outGradient, start, shape, dropout };
      graph.node({
        name: 'attention backward-query',
        inputs: [q, k, v, statistics, outGradient, start, ...state],
        outputs: [qGradient],
        calls: [attentionBackwardQuery(traits, { ...operands, qGradient })],
      });
      graph.node({
        name: 'attention backward-key-value',
        inputs: [q, k, v, statistics, outGradient, start, ...state],
        outputs: [kGradient, vGradient],
        calls: [attentionBackwardKeyValue(traits, { ...operands, kGradient, vGradient })],
      });
      return [qGradient, kGradient, vGradient];
    },
  });
  return out;
}

/** Keys and values of earlier positions. */
export type KeyValueCache = Readonly<CacheOperands<Tensor>>;

/** Where new tokens stand. */
export interface TokenPlaces {
  /** u32 `[batch * length]`: rotary positions. */
  readonly rotaryPositions: Tensor;
  /** f32 `[positions, headDimension]` from `rotaryTable`. */
  readonly rotaryTable: Tensor;
  /** u32 `[batch]`: where the first token of each row goes in the cache. */
  readonly position: Tensor;
}

/**
 * Appends the keys and values of new tokens to a persistent cache, keys turned by their rotary positions, and returns the
 * turned queries `[batch * length, heads * cached head dimension]` for {@link attentionWithCache}. The cache may have heads
 * filled up with zeros, which change no product; the larger dimension's scale is made up for. Not differentiable.
 *
 * @param projected `[batch * length, (heads + 2 * keyValueHeads) * headDimension]`: queries, keys and values side by side.
 */
export function turnAndCache(
  graph: Graph,
  projected: Tensor,
  cache: KeyValueCache,
  places: TokenPlaces,
  heads: number,
): Tensor {
  const { rotaryPositions, rotaryTable: table, position } = places;
  const { headDimension: padded } = cache;
  const query = graph.temporary([projected.shape[0], heads * padded], projected.dtype, 'turned queries');
  const operands = { projected, rotaryPositions, table, position, query, cache };
  graph.node({
    name: 'attention turn-and-cache',
    inputs: [projected, rotaryPositions, table, position],
    outputs: [query, cache.keys, cache.values],
    calls: [
      attentionTurnAndCache(graph.traits, { ...operands, heads, queryScale: Math.sqrt(padded / table.shape[1]) }),
    ],
  });
  return query;
}

export interface CachedAttentionOptions {
  readonly heads: number;
  /** u32 `[batch]`: first visible key of each row. */
  readonly start: Tensor;
  /** u32 `[batch]`: where the first query of each row stands in the cache. */
  readonly position: Tensor;
}

/**
 * Attention of new tokens `q` `[batch * length, heads * headDimension]`, already written to the cache, against all of
 * it: query i of row b sees keys `start[b] <= j <= position[b] + i`. One token per row takes the decoding kernels, more
 * the prefill kernel. Not differentiable.
 */
export function attentionWithCache(
  graph: Graph,
  q: Tensor,
  cache: KeyValueCache,
  options: CachedAttentionOptions,
): Tensor {
  const { heads, start, position } = options;
  const { traits } = graph;
  const [batch = 0, keyValueHeads = 0] = cache.keys.shape;
  const { headDimension } = cache;
  const length = (q.shape[0] ?? 0) / batch;
  const out = graph.temporary(q.shape, q.dtype, 'attention');
  const inputs = [q, cache.keys, cache.values, start, position];
  const operands = { q, cache, start, position, out };
  if (length === 1) {
    const splits = attentionDecodeSplits(traits);
    const scratch =
      splits === 0
        ? undefined
        : {
            partials: graph.temporary([batch, heads, splits, headDimension], 'f32', 'attention partial sums'),
            statistics: graph.temporary([batch, heads, splits, 2], 'f32', 'attention partial statistics'),
          };
    graph.node({
      name: 'attention decode',
      inputs,
      outputs: scratch === undefined ? [out] : [out, scratch.partials, scratch.statistics],
      calls: attentionDecode(traits, { ...operands, heads, scratch }),
    });
    return out;
  }
  const shape = { batch, length, heads, keyValueHeads, headDimension };
  const logsumexp = graph.temporary([batch * length, heads], 'f32', 'attention log-sum-exp');
  graph.node({
    name: 'attention cached',
    inputs,
    outputs: [out, logsumexp],
    calls: [attentionCached(traits, { ...operands, logsumexp, shape })],
  });
  return out;
}
