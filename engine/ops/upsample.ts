import { upsampleBackward, upsampleForward } from '../../kernels/upsample/index.js';
import type { Graph, Tensor } from '../graph/index.js';

/** Nearest resize of a clip `[B, T, H, W, C]` to `[B, time, height, width, C]`; differentiable. */
export function resizeNearest(
  graph: Graph,
  x: Tensor,
  size: readonly [time: number, height: number, width: number],
): Tensor {
  const out = graph.temporary([x.shape[0], ...size, x.shape[4]], x.dtype, `${x.label} resized`);
  graph.node({
    name: 'resizeNearest',
    inputs: [x],
    outputs: [out],
    calls: [upsampleForward(graph.traits, { x, out })],
    backward: ([outGradient]) => {
      if (outGradient === undefined) return [];
      const xGradient = graph.temporary(x.shape, 'f32', `gradient of ${x.label}`);
      graph.node({
        name: 'resizeNearestBackward',
        inputs: [outGradient],
        outputs: [xGradient],
        calls: [upsampleBackward(graph.traits, { outGradient, xGradient })],
      });
      return [xGradient];
    },
  });
  return out;
}

/** Nearest x2 in height and width. */
export function upsampleSpace(graph: Graph, x: Tensor): Tensor {
  return resizeNearest(graph, x, [x.shape[1], 2 * x.shape[2], 2 * x.shape[3]]);
}

/** Every frame twice. */
export function upsampleTime(graph: Graph, x: Tensor): Tensor {
  return resizeNearest(graph, x, [2 * x.shape[1], x.shape[2], x.shape[3]]);
}
