import { swigluBackward, swigluForward, swigluJoined } from '../../kernels/swiglu/index.js';
import type { Graph, Tensor } from '../graph/index.js';

/** `silu(gate) * up`, element by element (Shazeer 2020, arXiv 2002.05202); both of one shape and type. */
export function swiglu(graph: Graph, gate: Tensor, up: Tensor): Tensor {
  const out = graph.temporary(gate.shape, gate.dtype, `swiglu of ${gate.label}`);
  graph.node({
    name: 'swiglu',
    inputs: [gate, up],
    outputs: [out],
    calls: [swigluForward(graph.traits, { gate, up, out })],
    backward: ([outGradient]) => {
      if (outGradient === undefined) return [undefined, undefined];
      const gateGradient = graph.temporary(gate.shape, 'f32', `gradient of ${gate.label}`);
      const upGradient = graph.temporary(up.shape, 'f32', `gradient of ${up.label}`);
      graph.node({
        name: 'swiglu backward',
        inputs: [gate, up, outGradient],
        outputs: [gateGradient, upGradient],
        calls: [swigluBackward(graph.traits, { gate, up, outGradient, gateGradient, upGradient })],
      });
      return [gateGradient, upGradient];
    },
  });
  return out;
}

/** {@link swiglu} of `[rows, gate and up side by side]`: `[rows, features of a half]`. Not differentiable. */
export function swigluOfHalves(graph: Graph, halves: Tensor): Tensor {
  const [rows, width] = halves.shape;
  const out = graph.temporary([rows, width / 2], halves.dtype, `swiglu of ${halves.label}`);
  graph.node({
    name: 'swiglu of halves',
    inputs: [halves],
    outputs: [out],
    calls: [swigluJoined(graph.traits, { halves, out })],
  });
  return out;
}
