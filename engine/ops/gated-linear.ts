import { gatedMatmul, offersGatedMatmul } from '../../kernels/matmul/index.js';
import { offersGatedQuantizedMatmul, quantizedMatmul } from '../../kernels/quantized-matmul/index.js';
import type { Graph, Tensor } from '../graph/index.js';
import { linear } from './matmul.js';
import { quantizedLinear, type QuantizedTensors } from './quantized-linear.js';
import { swigluOfHalves } from './swiglu.js';

/**
 * silu(x Gt) * (x Ut): x [rows, in] gives [rows, out], in one dispatch for few rows. Not differentiable.
 *
 * @param weight [2 out, in]: the rows of G, then those of U.
 * @throws Emu3Error `shape` when x does not end in weight's columns.
 */
export function gatedLinear(graph: Graph, x: Tensor, weight: Tensor): Tensor {
  const [rows, inputs] = x.shape;
  if (!offersGatedMatmul(graph.traits, rows, inputs)) return swigluOfHalves(graph, linear(graph, x, weight));
  const out = graph.temporary([rows, weight.shape[0] / 2], x.dtype, 'gated product');
  graph.node({
    name: 'gatedLinear',
    inputs: [x, weight],
    outputs: [out],
    calls: [gatedMatmul(graph.traits, { x, weight, out })],
  });
  return out;
}

/** {@link gatedLinear} of a packed weight, whose shards hold all its rows in order. */
export function gatedQuantizedLinear(graph: Graph, x: Tensor, shards: readonly QuantizedTensors[]): Tensor {
  const [rows] = x.shape;
  const [weight] = shards;
  // Gates and ups in different shards are no one product.
  if (shards.length > 1 || !offersGatedQuantizedMatmul(graph.traits, rows)) {
    return swigluOfHalves(graph, quantizedLinear(graph, x, shards));
  }
  const out = graph.temporary([rows, weight.shape[0] / 2], x.dtype, 'gated product');
  graph.node({
    name: 'gatedQuantizedLinear',
    inputs: [x, weight.data, weight.scales],
    outputs: [out],
    calls: [quantizedMatmul(graph.traits, { x, weight, out, gated: true })],
  });
  return out;
}
