import { rotaryRotate } from '../../kernels/rotary/index.js';
import type { Graph, Tensor } from '../graph/index.js';

/**
 * Rotary position embedding, rotate-half form (Su et al. 2021, arXiv 2104.09864).
 *
 * @param x `[rows, heads * headDimension]`, f32 or f16.
 * @param positions u32, one per row, below the number of table rows.
 * @param table `[positions, headDimension]` f32 from `rotaryTable`.
 */
export function rotary(graph: Graph, x: Tensor, positions: Tensor, table: Tensor): Tensor {
  const out = graph.temporary(x.shape, x.dtype, `rotary of ${x.label}`);
  graph.node({
    name: 'rotary',
    inputs: [x, positions, table],
    outputs: [out],
    calls: [rotaryRotate(graph.traits, { x, positions, table, out })],
    backward: ([outGradient]) => {
      if (outGradient === undefined) return [undefined, undefined, undefined];
      const xGradient = graph.temporary(x.shape, 'f32', `gradient of ${x.label}`);
      graph.node({
        name: 'rotary backward',
        inputs: [outGradient, positions, table],
        outputs: [xGradient],
        calls: [rotaryRotate(graph.traits, { x: outGradient, positions, table, out: xGradient, direction: -1 })],
      });
      return [xGradient, undefined, undefined];
    },
  });
  return out;
}
