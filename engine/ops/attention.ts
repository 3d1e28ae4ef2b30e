import {
  attentionBackwardKeyValue,
  attentionBackwardQuery,
  attentionBackwardStatistics,
  attentionCached,
  attentionDecode,
  attentionDecodePartials,
  attentionDecodes,
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
  /** u32 `[batch]`: first visible key of each row. */
  readonly start: Tensor;
}

/**
 * Appends the keys and values of new tokens to a persistent cache, keys turned by their rotary positions, and attends with
 * their turned queries to all of it: token i of row b sees keys `start[b] <= j <= position[b] + i`. The cache may have heads
 * filled up with zeros, which change no product. One or two tokens of a row take the decoding kernels, more are turned
 * by a dispatch of its own for the prefill kernel. Not differentiable.
 *
 * @param projected `[batch * length, (heads + 2 * keyValueHeads) * headDimension]`: queries, keys and values side by side.
 * @returns `[batch * length, heads * cached head dimension]`
 */
export function attentionWithCache(
  graph: Graph,
  projected: Tensor,
  cache: KeyValueCache,
  places: TokenPlaces,
  heads: number,
): Tensor {
  const length = projected.shape[0] / cache.keys.shape[0];
  const few = attentionDecodes(length, places.rotaryTable.shape[1]);
  return few ? decode(graph, projected, cache, places, heads) : prefill(graph, projected, cache, places, heads);
}

function decode(graph: Graph, projected: Tensor, cache: KeyValueCache, places: TokenPlaces, heads: number): Tensor {
  const { rotaryPositions, rotaryTable: table, position, start } = places;
  const { headDimension } = cache;
  const [tokens] = projected.shape;
  const out = graph.temporary([tokens, heads * headDimension], projected.dtype, 'attention');
  const partialsShape = attentionDecodePartials(graph.traits, { tokens, heads, headDimension });
  const partials = partialsShape && graph.temporary(partialsShape, 'f32', 'attention partial sums');
  const operands = { projected, rotaryPositions, table, position, start, cache, out, heads, partials };
  graph.node({
    name: 'attention decode',
    inputs: [projected, rotaryPositions, table, position, start, cache.keys, cache.values],
    outputs: [out, cache.keys, cache.values, ...(partials ? [partials] : [])],
    calls: attentionDecode(graph.traits, operands),
  });
  return out;
}

function prefill(graph: Graph, projected: Tensor, cache: KeyValueCache, places: TokenPlaces, heads: number): Tensor {
  const { rotaryPositions, rotaryTable: table, position, start } = places;
  const { traits } = graph;
  const { headDimension } = cache;
  const [batch, keyValueHeads] = cache.keys.shape;
  const [tokens] = projected.shape;
  const query = graph.temporary([tokens, heads * headDimension], projected.dtype, 'turned queries');
  // The larger dimension's scale is made up for.
  const queryScale = Math.sqrt(headDimension / table.shape[1]);
  graph.node({
    name: 'attention turn-and-cache',
    inputs: [projected, rotaryPositions, table, position],
    outputs: [query, cache.keys, cache.values],
    calls: [
      attentionTurnAndCache(traits, { projected, rotaryPositions, table, position, query, cache, heads, queryScale }),
    ],
  });
  const out = graph.temporary(query.shape, query.dtype, 'attention');
  const logsumexp = graph.temporary([tokens, heads], 'f32', 'attention log-sum-exp');
  const shape = { batch, length: tokens / batch, heads, keyValueHeads, headDimension };
  graph.node({
    name: 'attention cached',
    inputs: [query, cache.keys, cache.values, start, position],
    outputs: [out, logsumexp],
    calls: [attentionCached(traits, { q: query, cache, start, position, out, logsumexp, shape })],
  });
  return out;
}
