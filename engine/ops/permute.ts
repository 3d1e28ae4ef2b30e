import { permute as permuteCall, permutedShape } from '../../kernels/permute/index.js';
import type { Graph, Tensor } from '../graph/index.js';

/**
 * x with its axes in another order: axis i of the result is axis `order[i]` of x.
 *
 * @throws Emu3Error `shape` unless `order` is a permutation of x's axes.
 */
export function permute(graph: Graph, x: Tensor, order: readonly number[]): Tensor {
  const out = graph.temporary(permutedShape(x.shape, order), x.dtype, x.label);
  const inverse = order.map((_, axis) => order.indexOf(axis));
  graph.node({
    name: 'permute',
    inputs: [x],
    outputs: [out],
    calls: [permuteCall(graph.traits, { x, out, order })],
    backward: ([gradient]) => [gradient && permute(graph, gradient, inverse)],
  });
  return out;
}
