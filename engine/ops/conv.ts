import { elementCount } from '../../kernels/core/types.js';
import {
  clipSize,
  convDataGradient,
  convForward,
  convOutputShape,
  convPackWeights,
  convWeightGradient,
  convWeightPartialShape,
  packedWeightShape,
  type ConvGeometry,
} from '../../kernels/conv/index.js';
import { columnSums, columnSumsScratch } from '../../kernels/reduce/index.js';
import type { Graph, Tensor } from '../graph/index.js';

export type { ConvGeometry } from '../../kernels/conv/index.js';

/** A weight in the order that {@link conv} reads, for several convolutions by the same. No gradient flows through it. */
export function packConvWeight(graph: Graph, weight: Tensor): Tensor {
  const packed = graph.temporary(packedWeightShape(weight.shape, false), weight.dtype, `${weight.label} packed`);
  graph.node({
    name: 'convPackWeights',
    inputs: [weight],
    outputs: [packed],
    calls: [convPackWeights(graph.traits, { weight, packed, transposed: false })],
  });
  return packed;
}

/**
 * Convolution of clips (images have T = 1), channels last, with weights in hub layout; differentiable with respect to
 * x, weight and bias.
 *
 * @param x `[B, T, H, W, Ci]`.
 * @param weight `[Co, Ci, kt, kh, kw]`, or `[Co, Ci, kh, kw]` for a kernel of 1 in time.
 * @param bias `[Co]`, or undefined for none.
 * @param packed the weight from {@link packConvWeight}, where it is at hand.
 * @returns `[B, T', H', W', Co]`.
 * @throws Emu3Error `shape` when channels, kernel or sizes do not fit together.
 */
export function conv(
  graph: Graph,
  x: Tensor,
  weight: Tensor,
  bias: Tensor | undefined,
  geometry: ConvGeometry,
  packed = packConvWeight(graph, weight),
): Tensor {
  const { traits } = graph;
  const out = graph.temporary(
    convOutputShape('conv', clipSize('conv', 'x', x), weight.shape[0], geometry),
    x.dtype,
    'conv',
  );

  const xGradientOf = (outGradient: Tensor): Tensor => {
    const xGradient = graph.temporary(x.shape, 'f32', 'conv data gradient');
    const packed = graph.temporary(packedWeightShape(weight.shape, true), weight.dtype, `${weight.label} packed`);
    graph.node({
      name: 'convDataGradient',
      inputs: [outGradient, weight],
      outputs: [xGradient, packed],
      calls: [
        convPackWeights(traits, { weight, packed, transposed: true }),
        convDataGradient(traits, { outGradient, weight: packed, xGradient, geometry }),
      ],
    });
    return xGradient;
  };
  const weightGradientOf = (outGradient: Tensor): Tensor => {
    const weightGradient = graph.temporary(weight.shape, 'f32', `gradient of ${weight.label}`);
    const partialShape = convWeightPartialShape(traits, { x, outGradient, weightShape: weight.shape });
    const partial = graph.temporary(partialShape, 'f32', 'conv weight partial');
    graph.node({
      name: 'convWeightGradient',
      inputs: [x, outGradient],
      outputs: [weightGradient, partial],
      calls: convWeightGradient(traits, { x, outGradient, partial, weightGradient, geometry }),
    });
    return weightGradient;
  };
  const biasGradientOf = (outGradient: Tensor): Tensor | undefined => {
    if (bias === undefined) return undefined;
    const biasGradient = graph.temporary(bias.shape, 'f32', `gradient of ${bias.label}`);
    const columns = elementCount(bias.shape);
    const elements = columnSumsScratch(elementCount(outGradient.shape) / columns, columns);
    const scratch = elements > 0 ? graph.temporary([elements], 'f32', 'conv bias scratch') : undefined;
    graph.node({
      name: 'convBiasGradient',
      inputs: [outGradient],
      outputs: scratch ? [biasGradient, scratch] : [biasGradient],
      calls: columnSums(traits, { x: outGradient, out: biasGradient, scratch }),
    });
    return biasGradient;
  };
  graph.node({
    name: 'conv',
    inputs: bias ? [x, weight, bias] : [x, weight],
    outputs: [out],
    calls: [convForward(traits, { x, weight: packed, bias, out, geometry })],
    backward: ([outGradient]) =>
      outGradient ? [xGradientOf(outGradient), weightGradientOf(outGradient), biasGradientOf(outGradient)] : [],
  });
  return out;
}
