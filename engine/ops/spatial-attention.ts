import type { Graph, Tensor } from '../graph/index.js';
import { matmul } from './matmul.js';
import { softmax } from './softmax.js';

export interface SpatialAttentionShape {
  frames: number;
  /** Positions of a frame, each attending to all. */
  tokens: number;
  channels: number;
}

/**
 * Single-head attention within each frame: softmax(q kt / sqrt(channels)) v.
 *
 * @param q, k, v `[frames * tokens * channels]` elements in any shape, channels last.
 * @returns [frames, tokens, channels].
 */
export function spatialAttention(
  graph: Graph,
  q: Tensor,
  k: Tensor,
  v: Tensor,
  { frames, tokens, channels }: SpatialAttentionShape,
): Tensor {
  const [query, key, value] = [q, k, v].map((tensor) => graph.reshape(tensor, [frames, tokens, channels]));
  const scores = matmul(graph, query, key, { transposeB: true });
  return matmul(graph, softmax(graph, scores, 1 / Math.sqrt(channels)), value);
}
