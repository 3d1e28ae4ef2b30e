import {
  groupChannelSumsShape,
  groupNormalize,
  groupNormBackwardAffine,
  groupNormBackwardSums,
  groupNormBackwardX,
  groupPartialShape,
  groupStatistics,
  groupStatisticsShape,
  type GroupLayout,
} from '../../kernels/group-norm/index.js';
import type { Graph, Tensor } from '../graph/index.js';

export interface GroupNormOptions {
  /** `[C]`. */
  weight: Tensor;
  /** `[C]`. */
  bias: Tensor;
  /** Number of groups that the channels are divided into. */
  groups: number;
  epsilon: number;
  /** Apply SiLU to the result in the same pass. Default false. */
  silu?: boolean;
}

/**
 * Group normalisation of every frame of a clip `[B, T, H, W, C]` (Wu and He 2018); differentiable with respect to x,
 * weight and bias.
 *
 * @throws Emu3Error `shape` when the channels do not divide into the groups.
 */
export function groupNorm(graph: Graph, x: Tensor, options: GroupNormOptions): Tensor {
  const { weight, bias, groups, epsilon, silu = false } = options;
  const [batch, time, height, width, channels] = x.shape;
  const layout = { frames: batch * time, pixels: height * width, channels, groups };
  const statistics = graph.temporary(groupStatisticsShape(layout), 'f32', 'group statistics');
  const partial = graph.temporary(groupPartialShape(layout), 'f32', 'group statistics partial');
  graph.node({
    name: 'groupStatistics',
    inputs: [x],
    outputs: [statistics, partial],
    calls: groupStatistics(graph.traits, { x, partial, statistics, layout, epsilon }),
  });
  return normalize(graph, x, { statistics, weight, bias, layout, silu, fixedStatistics: false });
}

/** Normalisation by given statistics, with the gradients of group or batch normalisation. */
export function normalize(
  graph: Graph,
  x: Tensor,
  options: {
    statistics: Tensor;
    weight: Tensor;
    bias: Tensor;
    layout: GroupLayout;
    silu: boolean;
    /** The statistics do not depend on x. */
    fixedStatistics: boolean;
  },
): Tensor {
  const { traits } = graph;
  const { statistics, weight, bias, layout, silu, fixedStatistics } = options;
  const out = graph.temporary(x.shape, x.dtype, 'normalized');
  graph.node({
    name: 'normalize',
    inputs: [x, weight, bias, statistics],
    outputs: [out],
    calls: [groupNormalize(traits, { x, statistics, weight, bias, out, layout, silu })],
    backward: ([outGradient]) => {
      if (outGradient === undefined) return [];
      const channelSums = graph.temporary(groupChannelSumsShape(layout), 'f32', 'normalize channel sums');
      const partial = graph.temporary(groupPartialShape(layout), 'f32', 'normalize partial');
      const common = { x, outGradient, statistics, weight, bias, channelSums, layout, silu };
      graph.node({
        name: 'normalizeBackwardSums',
        inputs: [x, outGradient, statistics, weight, bias],
        outputs: [channelSums, partial],
        calls: groupNormBackwardSums(traits, { ...common, partial }),
      });
      const weightGradient = graph.temporary(weight.shape, 'f32', `gradient of ${weight.label}`);
      const biasGradient = graph.temporary(bias.shape, 'f32', `gradient of ${bias.label}`);
      graph.node({
        name: 'normalizeBackwardAffine',
        inputs: [channelSums],
        outputs: [weightGradient, biasGradient],
        calls: [groupNormBackwardAffine(traits, { channelSums, weightGradient, biasGradient, layout })],
      });
      const xGradient = graph.temporary(x.shape, 'f32', 'normalize x gradient');
      graph.node({
        name: 'normalizeBackwardX',
        inputs: [x, outGradient, statistics, weight, bias, channelSums],
        outputs: [xGradient],
        calls: [groupNormBackwardX(traits, { ...common, xGradient, fixedStatistics })],
      });
      return [xGradient, weightGradient, biasGradient, undefined];
    },
  });
  return out;
}
