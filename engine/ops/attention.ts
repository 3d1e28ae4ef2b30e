import {
  attentionBackwardKeyValue,
  attentionBackwardQuery,
  attentionBackwardStatistics,
  attentionForward,
  type AttentionDropout,
  type AttentionShape,
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
