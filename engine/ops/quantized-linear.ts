import { Emu3Error } from '../../kernels/core/errors.js';
import type { DType } from '../../kernels/core/types.js';
import type { QuantizedOperands } from '../../kernels/quantize/format.js';
import { quantizedMatmul, quantizedMatmulInputGradient } from '../../kernels/quantized-matmul/index.js';
import type { Graph, Tensor } from '../graph/index.js';
import { concatenate } from './slice.js';

/** A shard of a packed weight as tensors of a graph; see `quantizedTensors`. */
export type QuantizedTensors = QuantizedOperands<Tensor>;

/**
 * x Wt for a packed weight W [out, in]: x [.., in] gives [.., out]. Differentiable with respect to x alone.
 *
 * @param shards of the weight, all its rows in order.
 * @throws Emu3Error `shape` when x does not end in as many features as the weight reads.
 */
export function quantizedLinear(
  graph: Graph,
  x: Tensor,
  shards: readonly QuantizedTensors[],
  options: { dtype?: DType } = {},
): Tensor {
  const parts = shards.map((shard) => shardLinear(graph, x, shard, options));
  return parts.length === 1 ? parts[0] : concatenate(graph, parts, parts[0].shape.length - 1);
}

function shardLinear(graph: Graph, x: Tensor, weight: QuantizedTensors, options: { dtype?: DType }): Tensor {
  const [outputs = 0, inputs = 0] = weight.shape;
  if (x.shape.length < 1 || x.shape.at(-1) !== inputs) {
    throw new Emu3Error(`A layer of ${inputs} inputs cannot read [${x.shape.join(', ')}].`, {
      code: 'shape',
      where: weight.data.label,
      fix: `Give a tensor whose last axis has ${inputs} elements.`,
    });
  }
  const rows = x.shape.slice(0, -1).reduce((product, size) => product * size, 1);
  const flat = x.shape.length === 2 ? x : graph.reshape(x, [rows, inputs]);
  const out = graph.temporary([rows, outputs], options.dtype ?? x.dtype, 'quantized product');
  graph.node({
    name: 'quantizedLinear',
    inputs: [flat, weight.data, weight.scales],
    outputs: [out],
    calls: [quantizedMatmul(graph.traits, { x: flat, weight, out })],
    backward: ([outGradient]) => {
      if (outGradient === undefined) return [undefined, undefined, undefined];
      const xGradient = graph.temporary([rows, inputs], 'f32', 'gradient of the input');
      graph.node({
        name: 'quantizedLinear backward',
        inputs: [outGradient, weight.data, weight.scales],
        outputs: [xGradient],
        calls: [quantizedMatmulInputGradient(graph.traits, { outGradient, weight, xGradient })],
      });
      return [xGradient, undefined, undefined];
    },
  });
  return x.shape.length === 2 ? out : graph.reshape(out, [...x.shape.slice(0, -1), outputs]);
}
