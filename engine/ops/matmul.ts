import { columnSums, columnSumsScratch } from '../../kernels/reduce/index.js';
import { addBias as addBiasCall } from '../../kernels/elementwise/index.js';
import { matmul as matmulCalls, matmulScratch } from '../../kernels/matmul/index.js';
import type { DType } from '../../kernels/core/types.js';
import type { Graph, Tensor } from '../graph/index.js';

export interface MatmulOptions {
  transposeA?: boolean;
  transposeB?: boolean;
  /** Element type of the product; default a's. */
  dtype?: DType;
}

/**
 * A B, where A and B are a and b or their transposes: [m, depth] and [depth, n] give [m, n], or a batch of each (an
 * axis in front, of the same size in both). Differentiable with respect to both.
 *
 * @throws Emu3Error `shape` when the operands do not fit each other.
 */
export function matmul(graph: Graph, a: Tensor, b: Tensor, options: MatmulOptions = {}): Tensor {
  const { transposeA = false, transposeB = false, dtype = a.dtype } = options;
  const elements = matmulScratch(graph.traits, { a, b, transposeA, transposeB });
  const scratch = elements > 0 ? graph.temporary([elements], 'f32', 'matmul scratch') : undefined;
  const m = a.shape.at(transposeA ? -1 : -2) ?? 0;
  const n = b.shape.at(transposeB ? -2 : -1) ?? 0;
  const out = graph.temporary([...a.shape.slice(0, -2), m, n], dtype, 'product');
  graph.node({
    name: 'matmul',
    inputs: [a, b],
    outputs: scratch ? [out, scratch] : [out],
    calls: matmulCalls(graph.traits, { a, b, out, transposeA, transposeB, scratch }),
    backward: ([gradient]) => {
      if (gradient === undefined) return [undefined, undefined];
      const f32 = { dtype: 'f32' } as const;
      // C = A B gives dA = dC Bt and dB = At dC; a stored transposed wants dAt = B dCt, b likewise dBt = dCt A.
      return [
        transposeA
          ? matmul(graph, b, gradient, { ...f32, transposeA: transposeB, transposeB: true })
          : matmul(graph, gradient, b, { ...f32, transposeB: !transposeB }),
        transposeB
          ? matmul(graph, gradient, a, { ...f32, transposeA: true, transposeB: transposeA })
          : matmul(graph, a, gradient, { ...f32, transposeA: !transposeA }),
      ];
    },
  });
  return out;
}

/**
 * x Wt: x [.., in] and weight [out, in] (the hub's layout of a linear layer) give [.., out].
 *
 * @throws Emu3Error `shape` when x does not end in weight's columns.
 */
export function linear(graph: Graph, x: Tensor, weight: Tensor, options: { dtype?: DType } = {}): Tensor {
  const features = x.shape.at(-1) ?? 1;
  const rows = x.shape.slice(0, -1).reduce((product, size) => product * size, 1);
  const flat = x.shape.length === 2 ? x : graph.reshape(x, [rows, features]);
  const out = matmul(graph, flat, weight, { ...options, transposeB: true });
  return x.shape.length === 2 ? out : graph.reshape(out, [...x.shape.slice(0, -1), weight.shape[0] ?? 0]);
}

/** Sums of the columns of x [.., columns] in f32, shaped like `shape` (of `columns` elements). */
function columnSum(graph: Graph, x: Tensor, shape: readonly number[]): Tensor {
  const columns = x.shape.at(-1) ?? 1;
  const elements = columnSumsScratch(
    x.shape.slice(0, -1).reduce((product, size) => product * size, 1),
    columns,
  );
  const scratch = elements > 0 ? graph.temporary([elements], 'f32', 'column sums scratch') : undefined;
  const out = graph.temporary(shape, 'f32', 'column sums');
  graph.node({
    name: 'columnSum',
    inputs: [x],
    outputs: scratch ? [out, scratch] : [out],
    calls: columnSums(graph.traits, { x, out, scratch }),
  });
  return out;
}

/**
 * x + bias along the last axis: x [.., columns], bias [columns].
 *
 * @throws Emu3Error `shape` when bias does not have as many elements as x has columns.
 */
export function addBias(graph: Graph, x: Tensor, bias: Tensor): Tensor {
  const out = graph.temporary(x.shape, x.dtype, 'biased');
  graph.node({
    name: 'addBias',
    inputs: [x, bias],
    outputs: [out],
    calls: [addBiasCall(graph.traits, { x, bias, out })],
    backward: ([gradient]) => [gradient, gradient && columnSum(graph, gradient, bias.shape)],
  });
  return out;
}
