import type { Graph, Tensor } from '../graph/index.js';
import { matmul } from './matmul.js';
import { softmax } from './softmax.js';

/**
 * Attention with one head among the positions of each frame: `softmax(q kT / sqrt(channels)) v`; differentiable. The
 * scores are held whole: `frames * tokens^2` elements.
 *
 * @param q, k, v `frames * tokens * channels` elements each, channels last.
 * @returns `[frames, tokens, channels]`.
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
  const [queries, keys, values] = [q, k, v].map((x) => graph.reshape(x, [frames, tokens, channels]));
  const scores = matmul(graph, queries, keys, { transposeB: true });
  return matmul(graph, softmax(graph, scores, 1 / Math.sqrt(channels)), values);
}
