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
