import { softmaxBackward, softmaxForward } from '../../kernels/softmax/index.js';
import type { Graph, Tensor } from '../graph/index.js';

/** softmax(scale * x) over the last axis. */
export function softmax(graph: Graph, x: Tensor, scale = 1): Tensor {
  const out = graph.temporary(x.shape, x.dtype, `softmax of ${x.label}`);
  graph.node({
    name: 'softmax',
    inputs: [x],
    outputs: [out],
    calls: [softmaxForward(graph.traits, { x, out, scale })],
    backward: ([outGradient]) => {
      if (outGradient === undefined) return [undefined];
      const xGradient = graph.temporary(x.shape, 'f32', `gradient of ${x.label}`);
      graph.node({
        name: 'softmax backward',
        inputs: [out, outGradient],
        outputs: [xGradient],
        calls: [softmaxBackward(graph.traits, { y: out, outGradient, xGradient, scale })],
      });
      return [xGradient];
    },
  });
  return out;
}
