import * as kernels from '../../kernels/reduce/index.js';
import { elementCount } from '../../kernels/core/types.js';
import type { Graph, Tensor } from '../graph/index.js';
import { fill, scaleByState } from './elementwise.js';

function scratchFor(graph: Graph, count: number): Tensor | undefined {
  const elements = kernels.reduceScratch(count);
  return elements > 0 ? graph.temporary([elements], 'f32', 'reduction scratch') : undefined;
}

/** Sum of all elements in f32, shape [1], times a constant `scale` (1 / count for a mean). */
export function sum(graph: Graph, x: Tensor, scale = 1): Tensor {
  const out = graph.temporary([1], 'f32', 'sum');
  const scratch = scratchFor(graph, elementCount(x.shape));
  graph.node({
    name: 'sum',
    inputs: [x],
    outputs: scratch ? [out, scratch] : [out],
    calls: kernels.reduceAll(graph.traits, { x, out, reduction: 'sum', scale, scratch }),
    backward: ([gradient]) => [gradient && scaleByState(graph, fill(graph, x.shape, scale), gradient)],
  });
  return out;
}

/**
 * Mean over all elements of (x - y)^2, in f32, shape [1]; differentiable with respect to both.
 *
 * @throws Emu3Error `shape` when x and y differ in their number of elements.
 */
export function meanSquaredError(graph: Graph, x: Tensor, y: Tensor): Tensor {
  const out = graph.temporary([1], 'f32', 'mean squared error');
  const scratch = scratchFor(graph, elementCount(x.shape));
  const gradientOf = (gradient: Tensor, like: Tensor, negate: boolean): Tensor => {
    const inputGradient = graph.temporary(like.shape, 'f32', 'mean squared error gradient');
    graph.node({
      name: 'meanSquaredErrorBackward',
      inputs: [x, y, gradient],
      outputs: [inputGradient],
      calls: [kernels.meanSquaredErrorBackward(graph.traits, { x, y, gradient, out: inputGradient, negate })],
    });
    return inputGradient;
  };
  graph.node({
    name: 'meanSquaredError',
    inputs: [x, y],
    outputs: scratch ? [out, scratch] : [out],
    calls: kernels.meanSquaredError(graph.traits, { x, y, out, scratch }),
    backward: ([gradient]) => [gradient && gradientOf(gradient, x, false), gradient && gradientOf(gradient, y, true)],
  });
  return out;
}
