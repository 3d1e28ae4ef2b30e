import * as kernels from '../../kernels/elementwise/index.js';
import type { DType } from '../../kernels/core/types.js';
import type { Graph, Tensor } from '../graph/index.js';

function wider(a: Tensor, b: Tensor): DType {
  return a.dtype === 'f16' && b.dtype === 'f16' ? 'f16' : 'f32';
}

/** a + b, element by element, in a's shape; f32 unless both are f16. @throws Emu3Error `shape` when the sizes differ. */
export function add(graph: Graph, a: Tensor, b: Tensor): Tensor {
  const out = graph.temporary(a.shape, wider(a, b), 'sum');
  graph.node({
    name: 'add',
    inputs: [a, b],
    outputs: [out],
    calls: [kernels.add(graph.traits, { a, b, out })],
    backward: ([gradient]) => [gradient, gradient && reshaped(graph, gradient, b.shape)],
  });
  return out;
}

function reshaped(graph: Graph, x: Tensor, shape: readonly number[]): Tensor {
  const same = x.shape.length === shape.length && x.shape.every((size, axis) => size === shape[axis]);
  return same ? x : graph.reshape(x, shape);
}

function product(graph: Graph, a: Tensor, b: Tensor, shape: readonly number[], dtype: DType): Tensor {
  const out = graph.temporary(shape, dtype, 'product');
  graph.node({
    name: 'multiply',
    inputs: [a, b],
    outputs: [out],
    calls: [kernels.multiply(graph.traits, { a, b, out })],
    backward: ([gradient]) => [
      gradient && product(graph, gradient, b, a.shape, 'f32'),
      gradient && product(graph, gradient, a, b.shape, 'f32'),
    ],
  });
  return out;
}

/** a * b, element by element, in a's shape; f32 unless both are f16. @throws Emu3Error `shape` when the sizes differ. */
export function multiply(graph: Graph, a: Tensor, b: Tensor): Tensor {
  return product(graph, a, b, a.shape, wider(a, b));
}

/** factor * x with a factor that never changes; see {@link scaleByState} for one that does. */
export function scale(graph: Graph, x: Tensor, factor: number): Tensor {
  const out = graph.temporary(x.shape, x.dtype, 'scaled');
  graph.node({
    name: 'scale',
    inputs: [x],
    outputs: [out],
    calls: [kernels.scale(graph.traits, { x, out, factor })],
    backward: ([gradient]) => [gradient && scale(graph, gradient, factor)],
  });
  return out;
}

/** factor[0] * x with a factor in GPU memory (f32), read at every replay; not differentiable with respect to it. */
export function scaleByState(graph: Graph, x: Tensor, factor: Tensor): Tensor {
  const out = graph.temporary(x.shape, x.dtype, 'scaled');
  graph.node({
    name: 'scaleByState',
    inputs: [x, factor],
    outputs: [out],
    calls: [kernels.scaleByState(graph.traits, { x, factor, out })],
    backward: ([gradient]) => [gradient && scaleByState(graph, gradient, factor), undefined],
  });
  return out;
}

/** x as f32 or f16; x itself when it is that already. Gradients stay f32. */
export function cast(graph: Graph, x: Tensor, dtype: DType): Tensor {
  if (x.dtype === dtype) return x;
  const out = graph.temporary(x.shape, dtype, x.label);
  graph.node({
    name: 'cast',
    inputs: [x],
    outputs: [out],
    calls: [kernels.cast(graph.traits, { x, out })],
    backward: ([gradient]) => [gradient],
  });
  return out;
}

/** x * sigmoid(x). */
export function silu(graph: Graph, x: Tensor): Tensor {
  const out = graph.temporary(x.shape, x.dtype, 'silu');
  graph.node({
    name: 'silu',
    inputs: [x],
    outputs: [out],
    calls: [kernels.silu(graph.traits, { x, out })],
    backward: ([gradient]) => {
      if (gradient === undefined) return [undefined];
      const inputGradient = graph.temporary(x.shape, 'f32', 'silu gradient');
      graph.node({
        name: 'siluBackward',
        inputs: [x, gradient],
        outputs: [inputGradient],
        calls: [kernels.siluBackward(graph.traits, { x, gradient, out: inputGradient })],
      });
      return [inputGradient];
    },
  });
  return out;
}

/** A tensor of one value everywhere. */
export function fill(graph: Graph, shape: readonly number[], value: number, dtype: DType = 'f32'): Tensor {
  const out = graph.temporary(shape, dtype, 'constant');
  graph.node({ name: 'fill', inputs: [], outputs: [out], calls: [kernels.fill(graph.traits, { out, value })] });
  return out;
}

/** target += x, a side effect on a persistent tensor; runs at its place in the order of nodes. */
export function accumulate(graph: Graph, target: Tensor, x: Tensor): void {
  graph.node({
    name: 'accumulate',
    inputs: [x, target],
    outputs: [target],
    calls: [kernels.addInto(graph.traits, { x, into: target })],
  });
}
