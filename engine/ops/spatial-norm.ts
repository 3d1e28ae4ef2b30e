import {
  spatialNormBackwardConditions,
  spatialNormBackwardNormal,
  spatialNormForward,
} from '../../kernels/spatial-norm/index.js';
import type { Graph, Tensor } from '../graph/index.js';

/**
 * Conditions a normalised clip on a smaller one: `out = normal * scale + shift`, scale and shift resized to nearest
 * (MoVQ, arXiv 2209.09002, section 3.2); differentiable with respect to all three.
 *
 * @param normal `[B, T, H, W, C]`.
 * @param scale `[B, T, h, w, C]`, like shift: 1x1 convolutions of the codebook vectors.
 * @param options.silu Apply SiLU to the result in the same pass. Default false.
 * @throws Emu3Error `shape` when batch, time or channels differ.
 */
export function spatialNorm(
  graph: Graph,
  normal: Tensor,
  scale: Tensor,
  shift: Tensor,
  options: { silu?: boolean } = {},
): Tensor {
  const { traits } = graph;
  const { silu = false } = options;
  const common = { normal, scale, shift, silu };
  const out = graph.temporary(normal.shape, normal.dtype, 'conditioned');
  graph.node({
    name: 'spatialNorm',
    inputs: [normal, scale, shift],
    outputs: [out],
    calls: [spatialNormForward(traits, { ...common, out })],
    backward: ([outGradient]) => {
      if (outGradient === undefined) return [];
      const inputs = [normal, scale, shift, outGradient];
      const normalGradient = graph.temporary(normal.shape, 'f32', 'conditioned normal gradient');
      graph.node({
        name: 'spatialNormBackwardNormal',
        inputs,
        outputs: [normalGradient],
        calls: [spatialNormBackwardNormal(traits, { ...common, outGradient, normalGradient })],
      });
      const scaleGradient = graph.temporary(scale.shape, 'f32', 'conditioned scale gradient');
      const shiftGradient = graph.temporary(shift.shape, 'f32', 'conditioned shift gradient');
      graph.node({
        name: 'spatialNormBackwardConditions',
        inputs,
        outputs: [scaleGradient, shiftGradient],
        calls: [spatialNormBackwardConditions(traits, { ...common, outGradient, scaleGradient, shiftGradient })],
      });
      return [normalGradient, scaleGradient, shiftGradient];
    },
  });
  return out;
}
