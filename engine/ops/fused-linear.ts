import type { KernelCall } from '../../kernels/core/define.js';
import type { Fusion } from '../../kernels/matmul/few-rows.js';
import { fusedMatmul, offersFusedMatmul } from '../../kernels/matmul/index.js';
import {
  offersFusedQuantizedMatmul,
  paysNormedQuantizedMatmul,
  quantizedMatmul,
} from '../../kernels/quantized-matmul/index.js';
import type { Graph, Tensor } from '../graph/index.js';
import type { QuantizedTensors } from './quantized-linear.js';

/**
 * x Wt, gated, normed or added to, in one dispatch: x [rows, in] gives [rows, out]. Not differentiable.
 *
 * @param weight [out, in], or [2 out, in] of a gated product.
 * @returns undefined where there is no kernel for so many rows.
 * @throws Emu3Error `shape` when the operands do not fit each other.
 */
export function fusedLinear(graph: Graph, x: Tensor, weight: Tensor, fusion: Fusion<Tensor>): Tensor | undefined {
  const [rows, inputs] = x.shape;
  if (!offersFusedMatmul(rows, inputs)) return undefined;
  return fusedNode(graph, x, [weight], weight.shape[0], fusion, (out) =>
    fusedMatmul(graph.traits, { x, weight, out, ...fusion }),
  );
}

/**
 * {@link fusedLinear} of a packed weight, whose shards hold all its rows in order; undefined where there are several too, and
 * where a norm does not pay.
 */
export function fusedQuantizedLinear(
  graph: Graph,
  x: Tensor,
  shards: readonly QuantizedTensors[],
  fusion: Fusion<Tensor>,
): Tensor | undefined {
  const [weight] = shards;
  const [rows] = x.shape;
  const { traits } = graph;
  if (shards.length > 1 || !offersFusedQuantizedMatmul(traits, rows)) return undefined;
  if (fusion.norm && !paysNormedQuantizedMatmul(traits, rows)) return undefined;
  return fusedNode(graph, x, [weight.data, weight.scales], weight.shape[0], fusion, (out) =>
    quantizedMatmul(traits, { x, weight, out, ...fusion }),
  );
}

function fusedNode(
  graph: Graph,
  x: Tensor,
  weights: readonly Tensor[],
  weightRows: number,
  { gated, norm, addend }: Fusion<Tensor>,
  call: (out: Tensor) => KernelCall<Tensor>,
): Tensor {
  const out = graph.temporary([x.shape[0], gated ? weightRows / 2 : weightRows], x.dtype, 'fused product');
  const besides = [norm?.gain, addend].filter((tensor) => tensor !== undefined);
  graph.node({ name: 'fusedLinear', inputs: [x, ...weights, ...besides], outputs: [out], calls: [call(out)] });
  return out;
}
