import {
  groupChannelSumsShape,
  groupChunkSums,
  groupCombine,
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
import { concatenate } from './slice.js';

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
  /** Statistics to normalise by, from {@link bandedStatistics}; default those of x. */
  statistics?: Tensor | undefined;
}

/**
 * Group normalisation of every frame of a clip `[B, T, H, W, C]` (Wu and He 2018); differentiable with respect to x,
 * weight and bias.
 *
 * @throws Emu3Error `shape` when the channels do not divide into the groups.
 */
export function groupNorm(graph: Graph, x: Tensor, options: GroupNormOptions): Tensor {
  const { weight, bias, groups, silu = false, statistics = groupStatisticsOf(graph, x, options) } = options;
  const layout = layoutOf(x, groups);
  return normalize(graph, x, {
    statistics,
    weight,
    bias,
    layout,
    silu,
    fixedStatistics: options.statistics !== undefined,
  });
}

function layoutOf({ shape: [batch, time, height, width, channels] }: Tensor, groups: number): GroupLayout {
  return { frames: batch * time, pixels: height * width, channels, groups };
}

function groupStatisticsOf(
  graph: Graph,
  x: Tensor,
  { groups, epsilon }: Pick<GroupNormOptions, 'groups' | 'epsilon'>,
): Tensor {
  const layout = layoutOf(x, groups);
  const statistics = graph.temporary(groupStatisticsShape(layout), 'f32', 'group statistics');
  const partial = graph.temporary(groupPartialShape(layout), 'f32', 'group statistics partial');
  graph.node({
    name: 'groupStatistics',
    inputs: [x],
    outputs: [statistics, partial],
    calls: groupStatistics(graph.traits, { x, partial, statistics, layout, epsilon }),
  });
  return statistics;
}

/**
 * Statistics of a frame that comes in bands of rows: those that {@link groupNorm} takes of the whole. Not differentiable.
 *
 * @param bands `[1, 1, rows, W, C]` each, from top to bottom; each is done with when the next is asked for.
 */
export function bandedStatistics(
  graph: Graph,
  bands: Iterable<Tensor>,
  { groups, epsilon }: Pick<GroupNormOptions, 'groups' | 'epsilon'>,
): Tensor {
  const { traits } = graph;
  const partials: Tensor[] = [];
  let whole: GroupLayout = { frames: 1, pixels: 0, channels: 0, groups };
  let pixelsPerChunk = 1;
  for (const x of bands) {
    const [, , rows, width, channels] = x.shape;
    const layout = layoutOf(x, groups);
    // Rows are the chunks, so that they are the same wherever bands begin and end.
    pixelsPerChunk = width;
    const partial = graph.temporary([rows * 2 * channels], 'f32', 'group statistics of a band');
    graph.node({
      name: 'groupChunkSums',
      inputs: [x],
      outputs: [partial],
      calls: [groupChunkSums(traits, { x, partial, layout, pixelsPerChunk })],
    });
    partials.push(partial);
    whole = { ...layout, pixels: whole.pixels + layout.pixels };
  }
  const partial = concatenate(graph, partials);
  const statistics = graph.temporary(groupStatisticsShape(whole), 'f32', 'group statistics');
  graph.node({
    name: 'groupCombine',
    inputs: [partial],
    outputs: [statistics],
    calls: [groupCombine(traits, { partial, statistics, layout: whole, pixelsPerChunk, epsilon })],
  });
  return statistics;
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
