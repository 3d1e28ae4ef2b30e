import { softmaxBackward, softmaxForward } from '../../kernels/softmax/index.js';
import type { Graph, Tensor } from '../graph/index.js';

/** Softmax of `scale * x` over the last axis; differentiable. */
export function softmax(graph: Graph, x: Tensor, scale = 1): Tensor {
  const out = graph.temporary(x.shape, x.dtype, 'softmax');
  graph.node({
    name: 'softmax',
    inputs: [x],
    outputs: [out],
    calls: [softmaxForward(graph.traits, { x, out, scale })],
    backward: ([outGradient]) => {
      if (outGradient === undefined) return [];
      const xGradient = graph.temporary(x.shape, 'f32', 'softmax gradient');
      graph.node({
        name: 'softmaxBackward',
        inputs: [out, outGradient],
        outputs: [xGradient],
        calls: [softmaxBackward(graph.traits, { out, outGradient, xGradient, scale })],
      });
      return [xGradient];
    },
  });
  return out;
}
