import { dropoutApply } from '../../kernels/dropout/index.js';
import type { Graph, Tensor } from '../graph/index.js';

export interface DropoutOptions {
  /** Probability of dropping an element, in [0, 1). At 0 the input itself is returned. */
  readonly rate: number;
  /** u32 that tells this dropout from the others of the model; the same site draws the same mask within a step. */
  readonly site: number;
  /** u32 `[2]`: seed and training step. */
  readonly state: Tensor;
}

/** Inverted dropout (Srivastava et al. 2014): elements are dropped at `rate`, kept ones divided by `1 - rate`. */
export function dropout(graph: Graph, x: Tensor, { rate, site, state }: DropoutOptions): Tensor {
  if (rate === 0) return x;
  const out = graph.temporary(x.shape, x.dtype, `dropout of ${x.label}`);
  graph.node({
    name: 'dropout',
    inputs: [x, state],
    outputs: [out],
    calls: [dropoutApply(graph.traits, { x, state, out, rate, site })],
    backward: ([outGradient]) => {
      if (outGradient === undefined) return [undefined, undefined];
      const xGradient = graph.temporary(x.shape, 'f32', `gradient of ${x.label}`);
      graph.node({
        name: 'dropout backward',
        inputs: [outGradient, state],
        outputs: [xGradient],
        calls: [dropoutApply(graph.traits, { x: outGradient, state, out: xGradient, rate, site })],
      });
      return [xGradient, undefined];
    },
  });
  return out;
}
