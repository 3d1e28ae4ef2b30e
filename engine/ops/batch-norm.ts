import { batchNormLayout, runningStatistics, updateRunningStatistics } from '../../kernels/batch-norm/index.js';
import { groupPartialShape, groupStatistics, groupStatisticsShape } from '../../kernels/group-norm/index.js';
import type { Graph, Tensor } from '../graph/index.js';
import { normalize } from './group-norm.js';

export interface BatchNormOptions {
  /** `[C]`. */
  weight: Tensor;
  /** `[C]`. */
  bias: Tensor;
  /** `[C]`, f32, persistent; like runningVariance (unbiased). */
  runningMean: Tensor;
  runningVariance: Tensor;
  /** Normalise by the statistics of x and move the running ones; else normalise by the running ones. */
  training: boolean;
  epsilon: number;
  /** Share of the batch in the running averages, 0..1. Default 0.1. */
  momentum?: number;
  /** Apply SiLU to the result in the same pass. Default false. */
  silu?: boolean;
}

/**
 * Batch normalisation over all axes of `[.., C]` but the last (Ioffe and Szegedy 2015); differentiable with respect to
 * x, weight and bias. In training every run of the graph moves the running statistics once for every such node, so
 * leave it out of parts that are computed again for the gradients.
 *
 * @throws Emu3Error `shape` when training on a single value per channel.
 */
export function batchNorm(graph: Graph, x: Tensor, options: BatchNormOptions): Tensor {
  const { weight, bias, runningMean, runningVariance, training, epsilon, momentum = 0.1, silu = false } = options;
  const { traits } = graph;
  const layout = batchNormLayout(x);
  const statistics = graph.temporary(groupStatisticsShape(layout), 'f32', 'batch statistics');
  if (training) {
    const partial = graph.temporary(groupPartialShape(layout), 'f32', 'batch statistics partial');
    graph.node({
      name: 'batchStatistics',
      inputs: [x],
      outputs: [statistics, partial],
      calls: groupStatistics(traits, { x, partial, statistics, layout, epsilon }),
    });
    graph.node({
      name: 'updateRunningStatistics',
      inputs: [statistics, runningMean, runningVariance],
      outputs: [runningMean, runningVariance],
      calls: [updateRunningStatistics(traits, { statistics, runningMean, runningVariance, layout, momentum })],
    });
  } else {
    graph.node({
      name: 'runningStatistics',
      inputs: [runningMean, runningVariance],
      outputs: [statistics],
      calls: [runningStatistics(traits, { runningMean, runningVariance, statistics, epsilon })],
    });
  }
  return normalize(graph, x, { statistics, weight, bias, layout, silu, fixedStatistics: !training });
}
