import { elementCount } from '../../kernels/core/types.js';
import type { Graph, Tensor } from '../graph/index.js';
import { matmul } from './matmul.js';
import { softmax } from './softmax.js';

/**
 * Attention with one head among the positions of each frame: `softmax(q kT / sqrt(channels)) v`; differentiable. The
 * scores are held whole: `frames * queries * tokens` elements.
 *
 * @param q `frames * queries * channels` elements, channels last: all positions, or some of them.
 * @param k, v `frames * tokens * channels` elements each.
 * @returns `[frames, queries, channels]`.
 * @throws Emu3Error `shape` when the operands have other numbers of elements.
 */
export function spatialAttention(
  graph: Graph,
  q: Tensor,
  k: Tensor,
  v: Tensor,
  size: { frames: number; tokens: number; channels: number },
): Tensor {
  const { frames, tokens, channels } = size;
  const [keys, values] = [k, v].map((x) => graph.reshape(x, [frames, tokens, channels]));
  const queries = graph.reshape(q, [frames, elementCount(q.shape) / (frames * channels), channels]);
  const scores = matmul(graph, queries, keys, { transposeB: true });
  return matmul(graph, softmax(graph, scores, 1 / Math.sqrt(channels)), values);
}
