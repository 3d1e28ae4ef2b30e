import { jacobiAccept } from '../../kernels/jacobi/index.js';
import type { Graph, Tensor } from '../graph/index.js';

export { acceptedHead } from '../../kernels/jacobi/index.js';

/** Ends a step of Jacobi decoding; see the kernel's `jacobiAccept`. All tensors are persistent. @throws Emu3Error `shape`. */
export function acceptDrafts(
  graph: Graph,
  tensors: {
    drawn: Tensor;
    ranges: Tensor;
    inputs: Tensor;
    positions: Tensor;
    rowPositions: Tensor;
    state: Tensor;
    accepted: Tensor;
  },
): void {
  const { drawn, ranges, ...changed } = tensors;
  const { inputs, positions, rowPositions, state, accepted } = changed;
  graph.node({
    name: 'jacobi accept',
    inputs: [drawn, ranges, inputs, positions, rowPositions, state, accepted],
    outputs: [inputs, positions, rowPositions, state, accepted],
    calls: [jacobiAccept(graph.traits, tensors)],
  });
}
