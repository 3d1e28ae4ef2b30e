import { addForward } from '../../kernels/elementwise/index.js';
import type { Graph, Tensor } from '../graph/graph.js';

/** a + b. */
export function add(graph: Graph, a: Tensor, b: Tensor): Tensor {
  const out = graph.temporary(a.shape, a.dtype, `${a.label} + ${b.label}`);
  graph.node({
    name: 'add',
    inputs: [a, b],
    outputs: [out],
    calls: [addForward(graph.traits, { a, b, out })],
    backward: ([gradient]) => [gradient, gradient],
  });
  return out;
}
