import {
  rmsNormAddForward,
  rmsNormBackward,
  rmsNormBackwardWeight,
  rmsNormForward,
  rmsNormWeightSlices,
} from '../../kernels/rms-norm/index.js';
import type { Graph, Tensor } from '../graph/index.js';

/**
 * `x / sqrt(mean(x^2) + epsilon) * weight` over the last axis (Zhang and Sennrich 2019, arXiv 1910.07467).
 *
 * @param x `[.., features]`, f32 or f16.
 * @param weight `[features]`, f32 or f16.
 * @param epsilon Added to the mean square, 1e-5 in Emu3.
 */
export function rmsNorm(graph: Graph, x: Tensor, weight: Tensor, epsilon: number): Tensor {
  const features = x.shape.at(-1) ?? 0;
  const rows = x.shape.slice(0, -1).reduce((product, size) => product * size, 1);
  const out = graph.temporary(x.shape, x.dtype, `rms norm of ${x.label}`);
  const inverseRms = graph.temporary([rows], 'f32', `inverse rms of ${x.label}`);
  graph.node({
    name: 'rms-norm',
    inputs: [x, weight],
    outputs: [out, inverseRms],
    calls: [rmsNormForward(graph.traits, { x, weight, out, inverseRms, epsilon })],
    backward: ([outGradient]) => {
      if (outGradient === undefined) return [undefined, undefined];
      const xGradient = graph.temporary(x.shape, 'f32', `gradient of ${x.label}`);
      graph.node({
        name: 'rms-norm backward',
        inputs: [x, weight, inverseRms, outGradient],
        outputs: [xGradient],
        calls: [rmsNormBackward(graph.traits, { x, weight, inverseRms, outGradient, xGradient })],
      });
      const partials = graph.temporary([rmsNormWeightSlices(rows), features], 'f32', 'rms norm partial sums');
      const weightGradient = graph.temporary([features], 'f32', `gradient of ${weight.label}`);
      graph.node({
        name: 'rms-norm backward-weight',
        inputs: [x, inverseRms, outGradient],
        outputs: [partials, weightGradient],
        calls: rmsNormBackwardWeight(graph.traits, { x, inverseRms, outGradient, partials, weightGradient }),
      });
      return [xGradient, weightGradient];
    },
  });
  return out;
}

/** `x + delta`, and its {@link rmsNorm}, in one dispatch. Not differentiable. */
export function addRmsNorm(
  graph: Graph,
  x: Tensor,
  delta: Tensor,
  weight: Tensor,
  epsilon: number,
): { sum: Tensor; normed: Tensor } {
  const sum = graph.temporary(x.shape, x.dtype, `${x.label} and ${delta.label}`);
  const normed = graph.temporary(x.shape, x.dtype, `rms norm of ${sum.label}`);
  graph.node({
    name: 'add and rms-norm',
    inputs: [x, delta, weight],
    outputs: [sum, normed],
    calls: [rmsNormAddForward(graph.traits, { x, delta, weight, sum, out: normed, epsilon })],
  });
  return { sum, normed };
}
