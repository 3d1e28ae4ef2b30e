import { expectShape } from '../core/checks.js';
import {
  defineKernel,
  divideRoundUp,
  elementCount,
  shapeError,
  type KernelCall,
  type KernelTraits,
  type Operand,
} from '../core/index.js';
import { groupStatisticsShape, type GroupLayout } from '../group-norm/index.js';
import fromRunningSource from './from-running.wgsl';
import updateRunningSource from './update-running.wgsl';

const fromRunning = defineKernel('batch-norm from-running', fromRunningSource);
const updateRunning = defineKernel('batch-norm update-running', updateRunningSource);

/**
 * Batch normalisation is group normalisation of one frame of all rows with a group for every channel, so its passes are
 * those of `kernels/group-norm` under this layout.
 *
 * @param x `[.., channels]`.
 */
export function batchNormLayout(x: Operand): GroupLayout {
  const channels = x.shape.at(-1) ?? 0;
  if (channels === 0 || elementCount(x.shape) === 0) throw shapeError('batch-norm', 'x is empty or has no axes');
  return { frames: 1, pixels: elementCount(x.shape) / channels, channels, groups: channels };
}

function workgroupSize(traits: KernelTraits): number {
  return traits.software ? 8 : 64;
}

/**
 * Statistics made of running averages, for evaluation.
 *
 * @param args.runningMean `[C]`, f32, like runningVariance.
 * @param args.statistics `[3, 1, C]`, f32: see `groupStatisticsShape`.
 * @param args.epsilon Added to the variance before the square root.
 */
export function runningStatistics<T extends Operand>(
  traits: KernelTraits,
  args: { runningMean: T; runningVariance: T; statistics: T; epsilon: number },
): KernelCall<T> {
  const { runningMean, runningVariance, statistics, epsilon } = args;
  const channels = elementCount(runningMean.shape);
  expectShape(fromRunning.name, 'runningVariance', runningVariance, [channels]);
  expectShape(fromRunning.name, 'statistics', statistics, [3, 1, channels]);
  return fromRunning.call({
    overrides: { WORKGROUP_SIZE: workgroupSize(traits) },
    params: { channels, epsilon },
    bindings: { runningMean, runningVariance, statistics },
    grid: [divideRoundUp(channels, workgroupSize(traits)), 1, 1],
    bytes: 20 * channels,
    flops: 3 * channels,
  });
}

/**
 * Moves the running averages towards a batch's statistics, in place: `running = (1 - momentum) * running + momentum *
 * batch`, the variance unbiased.
 *
 * @param args.statistics `[3, 1, C]`, of the batch.
 * @param args.momentum Share of the batch, 0..1.
 * @throws Emu3Error `shape` for fewer than two rows, which have no unbiased variance.
 */
export function updateRunningStatistics<T extends Operand>(
  traits: KernelTraits,
  args: { statistics: T; runningMean: T; runningVariance: T; layout: GroupLayout; momentum: number },
): KernelCall<T> {
  const { statistics, runningMean, runningVariance, layout, momentum } = args;
  const { channels, pixels: rows } = layout;
  expectShape(updateRunning.name, 'statistics', statistics, groupStatisticsShape(layout));
  expectShape(updateRunning.name, 'runningMean', runningMean, [channels]);
  expectShape(updateRunning.name, 'runningVariance', runningVariance, [channels]);
  if (rows < 2) throw shapeError(updateRunning.name, 'training needs more than one value per channel');
  return updateRunning.call({
    overrides: { WORKGROUP_SIZE: workgroupSize(traits) },
    params: { channels, rows, momentum },
    bindings: { statistics, runningMean, runningVariance },
    grid: [divideRoundUp(channels, workgroupSize(traits)), 1, 1],
    bytes: 24 * channels,
    flops: 7 * channels,
  });
}
