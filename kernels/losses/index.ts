import {
  defineKernel,
  divideRoundUp,
  elementCount,
  linearGrid,
  shapeError,
  type KernelCall,
  type KernelTraits,
  type Operand,
} from '../core/index.js';
import combineSource from './combine.wgsl';
import preferenceBackwardSource from './preference-backward.wgsl';
import preferenceFiguresSource from './preference-figures.wgsl';
import preferenceSource from './preference.wgsl';
import segmentSumBackwardSource from './segment-sum-backward.wgsl';
import segmentSumSource from './segment-sum.wgsl';
import squaredErrorBackwardSource from './squared-error-backward.wgsl';
import squaredErrorSource from './squared-error.wgsl';
import sumPartialsSource from './sum-partials.wgsl';
import weightedMeanBackwardSource from './weighted-mean-backward.wgsl';
import weightedMeanSource from './weighted-mean.wgsl';

const weightedMeanKernel = defineKernel('weighted-mean', weightedMeanSource);
const weightedMeanBackwardKernel = defineKernel('weighted-mean-backward', weightedMeanBackwardSource);
const segmentSumKernel = defineKernel('segment-sum', segmentSumSource);
const segmentSumBackwardKernel = defineKernel('segment-sum-backward', segmentSumBackwardSource);
const preferenceKernel = defineKernel('preference', preferenceSource);
const preferenceBackwardKernel = defineKernel('preference-backward', preferenceBackwardSource);
const preferenceFiguresKernel = defineKernel('preference-figures', preferenceFiguresSource);
const combineKernel = defineKernel('combine-losses', combineSource);
const squaredErrorKernel = defineKernel('squared-error', squaredErrorSource);
const sumPartialsKernel = defineKernel('sum-partials', sumPartialsSource);
const squaredErrorBackwardKernel = defineKernel('squared-error-backward', squaredErrorBackwardSource);

/** Threads of an elementwise or a tree kernel: barriers and idle lanes are what costs a software adapter. */
function workgroupSizeOf(traits: KernelTraits): number {
  return traits.software ? 32 : 64;
}

function treeSizeOf(traits: KernelTraits): number {
  return traits.software ? 8 : 128;
}

function requireCount(kernel: string, operands: Readonly<Record<string, Operand>>, count: number): void {
  for (const [name, operand] of Object.entries(operands)) {
    if (elementCount(operand.shape) !== count) {
      throw shapeError(kernel, `${name} must hold ${count} elements, but is [${operand.shape.join(', ')}]`);
    }
  }
}

function countOf(kernel: string, name: string, operand: Operand): number {
  const count = elementCount(operand.shape);
  if (count < 1) throw shapeError(kernel, `${name} is empty`);
  return count;
}

/** What a weighted sum is divided by: the weights' sum, the number of rows with a weight other than 0, or a [1] f32 buffer. */
export type Denominator<T> = 'weight-sum' | 'count' | T;

/**
 * `mean = sum(weights * values) / denominator` ([1]; 0 where the denominator is 0), and the denominator used ([1]).
 *
 * @param args.values [R] f32. @param args.weights [R] f32.
 * @throws Emu3Error `shape`.
 */
export function weightedMeanForward<T extends Operand>(
  traits: KernelTraits,
  args: { values: T; weights: T; divideBy: Denominator<T>; mean: T; denominator: T },
): KernelCall<T> {
  const { name } = weightedMeanKernel;
  const rows = countOf(name, 'values', args.values);
  requireCount(name, { weights: args.weights }, rows);
  requireCount(name, { mean: args.mean, denominator: args.denominator }, 1);
  const { divideBy } = args;
  const given = divideBy === 'weight-sum' || divideBy === 'count' ? undefined : divideBy;
  if (given) requireCount(name, { divideBy: given }, 1);
  return weightedMeanKernel.call({
    overrides: { WORKGROUP_SIZE: treeSizeOf(traits) },
    params: { rows, mode: divideBy === 'weight-sum' ? 0 : divideBy === 'count' ? 1 : 2 },
    bindings: {
      values: args.values,
      weights: args.weights,
      given: given ?? args.weights,
      mean: args.mean,
      denominator: args.denominator,
    },
    grid: [1, 1, 1],
    bytes: rows * 8 + 8,
    flops: rows * 4,
  });
}

/** `valuesGradient[r] = meanGradient * weights[r] / denominator`, with the denominator the forward kernel wrote. */
export function weightedMeanBackward<T extends Operand>(
  traits: KernelTraits,
  args: { weights: T; denominator: T; meanGradient: T; valuesGradient: T },
): KernelCall<T> {
  const { name } = weightedMeanBackwardKernel;
  const rows = countOf(name, 'weights', args.weights);
  requireCount(name, { valuesGradient: args.valuesGradient }, rows);
  requireCount(name, { denominator: args.denominator, meanGradient: args.meanGradient }, 1);
  const workgroupSize = workgroupSizeOf(traits);
  return weightedMeanBackwardKernel.call({
    overrides: { WORKGROUP_SIZE: workgroupSize },
    params: { rows },
    bindings: {
      weights: args.weights,
      denominator: args.denominator,
      meanGradient: args.meanGradient,
      valuesGradient: args.valuesGradient,
    },
    grid: linearGrid(divideRoundUp(rows, workgroupSize)),
    bytes: rows * 8,
    flops: rows * 2,
  });
}

/**
 * `sums[s] = scale * sum(values[s * rowsPerSegment .. (s + 1) * rowsPerSegment])`. With the losses of a token
 * cross-entropy and the scale -1 it gives the log-probability of each sequence of a padded batch.
 *
 * @param args.values [segments * rowsPerSegment] f32. @param args.sums [segments] f32.
 * @throws Emu3Error `shape`.
 */
export function segmentSumForward<T extends Operand>(
  traits: KernelTraits,
  args: { values: T; sums: T; scale: number },
): KernelCall<T> {
  const { name } = segmentSumKernel;
  const segments = countOf(name, 'sums', args.sums);
  const rows = countOf(name, 'values', args.values);
  if (rows % segments !== 0) throw shapeError(name, `${rows} values do not divide into ${segments} equal segments`);
  return segmentSumKernel.call({
    overrides: { WORKGROUP_SIZE: traits.software ? 8 : 64 },
    params: { segments, rowsPerSegment: rows / segments, scale: args.scale },
    bindings: { values: args.values, sums: args.sums },
    grid: linearGrid(segments),
    bytes: (rows + segments) * 4,
    flops: rows,
  });
}

/** `valuesGradient[r] = scale * sumsGradient[floor(r / rowsPerSegment)]`. */
export function segmentSumBackward<T extends Operand>(
  traits: KernelTraits,
  args: { sumsGradient: T; valuesGradient: T; scale: number },
): KernelCall<T> {
  const { name } = segmentSumBackwardKernel;
  const segments = countOf(name, 'sumsGradient', args.sumsGradient);
  const rows = countOf(name, 'valuesGradient', args.valuesGradient);
  if (rows % segments !== 0) throw shapeError(name, `${rows} values do not divide into ${segments} equal segments`);
  const workgroupSize = workgroupSizeOf(traits);
  return segmentSumBackwardKernel.call({
    overrides: { WORKGROUP_SIZE: workgroupSize },
    params: { rows, rowsPerSegment: rows / segments, scale: args.scale },
    bindings: { sumsGradient: args.sumsGradient, valuesGradient: args.valuesGradient },
    grid: linearGrid(divideRoundUp(rows, workgroupSize)),
    bytes: (rows + segments) * 4,
    flops: rows,
  });
}

/**
 * Direct preference optimisation (Rafailov et al. 2023, equation 7) on summed log-probabilities of n pairs:
 * `margins = beta * ((chosen - referenceChosen) - (rejected - referenceRejected))`, `loss = mean(-log sigmoid(margins))`.
 *
 * @param args.chosen [n] f32, in nats, like the other three. @param args.margins [n], written. @param args.loss [1], written.
 * @throws Emu3Error `shape`.
 */
export function preferenceForward<T extends Operand>(
  traits: KernelTraits,
  args: { chosen: T; rejected: T; referenceChosen: T; referenceRejected: T; margins: T; loss: T; beta: number },
): KernelCall<T> {
  const { name } = preferenceKernel;
  const { chosen, rejected, referenceChosen, referenceRejected, margins, loss, beta } = args;
  const pairs = countOf(name, 'chosen', chosen);
  requireCount(name, { rejected, referenceChosen, referenceRejected, margins }, pairs);
  requireCount(name, { loss }, 1);
  return preferenceKernel.call({
    overrides: { WORKGROUP_SIZE: traits.software ? 8 : 64 },
    params: { pairs, beta },
    bindings: { chosen, rejected, referenceChosen, referenceRejected, margins, loss },
    grid: [1, 1, 1],
    bytes: pairs * 20 + 4,
    flops: pairs * 10,
  });
}

/** Gradients of the preference loss by the policy's two log-probabilities; the reference model is fixed. */
export function preferenceBackward<T extends Operand>(
  traits: KernelTraits,
  args: { margins: T; lossGradient: T; chosenGradient: T; rejectedGradient: T; beta: number },
): KernelCall<T> {
  const { name } = preferenceBackwardKernel;
  const { margins, lossGradient, chosenGradient, rejectedGradient, beta } = args;
  const pairs = countOf(name, 'margins', margins);
  requireCount(name, { chosenGradient, rejectedGradient }, pairs);
  requireCount(name, { lossGradient }, 1);
  const workgroupSize = workgroupSizeOf(traits);
  return preferenceBackwardKernel.call({
    overrides: { WORKGROUP_SIZE: workgroupSize },
    params: { pairs, beta },
    bindings: { margins, lossGradient, chosenGradient, rejectedGradient },
    grid: linearGrid(divideRoundUp(pairs, workgroupSize)),
    bytes: pairs * 12,
    flops: pairs * 5,
  });
}

/** How many numbers {@link preferenceFigures} adds to. */
export const preferenceFigureCount = 4;

/**
 * Adds to `figures` the sum of the margins, the number of pairs whose margin is above 0, and the sums of the chosen and
 * of the rejected log-probabilities: what a training step reports of its pairs.
 *
 * @param args.margins [n] f32, like chosen and rejected. @param args.figures [{@link preferenceFigureCount}] f32, added to.
 * @throws Emu3Error `shape`.
 */
export function preferenceFigures<T extends Operand>(
  traits: KernelTraits,
  args: { margins: T; chosen: T; rejected: T; figures: T },
): KernelCall<T> {
  const { name } = preferenceFiguresKernel;
  const { margins, chosen, rejected, figures } = args;
  const pairs = countOf(name, 'margins', margins);
  requireCount(name, { chosen, rejected }, pairs);
  requireCount(name, { figures }, preferenceFigureCount);
  return preferenceFiguresKernel.call({
    overrides: { WORKGROUP_SIZE: traits.software ? 8 : 64 },
    params: { pairs },
    bindings: { margins, chosen, rejected, figures },
    grid: [1, 1, 1],
    bytes: pairs * 12 + preferenceFigureCount * 8,
    flops: pairs * 4,
  });
}

/** `out = aScale * a + bScale * b` for single numbers [1]; a and b may be the same tensor. */
export function combineLosses<T extends Operand>(args: {
  a: T;
  b: T;
  out: T;
  aScale: number;
  bScale: number;
}): KernelCall<T> {
  requireCount(combineKernel.name, { a: args.a, b: args.b, out: args.out }, 1);
  return combineKernel.call({
    params: { aScale: args.aScale, bScale: args.bScale },
    bindings: { a: args.a, b: args.b, out: args.out },
    grid: [1, 1, 1],
    bytes: 12,
    flops: 3,
  });
}

/** How many numbers {@link squaredErrorForward} wants in its scratch tensor. */
export function squaredErrorPartials(traits: KernelTraits): number {
  return traits.software ? 8 * 32 : 64 * 64;
}

/**
 * `loss = scale * mean((a - b)^2)` over all elements, in two stages with a fixed split.
 *
 * @param args.a any shape, f32; b likewise. @param args.partial scratch [{@link squaredErrorPartials}]. @param args.loss [1].
 * @throws Emu3Error `shape`.
 */
export function squaredErrorForward<T extends Operand>(
  traits: KernelTraits,
  args: { a: T; b: T; partial: T; loss: T; scale: number },
): KernelCall<T>[] {
  const { name } = squaredErrorKernel;
  const count = countOf(name, 'a', args.a);
  const partials = squaredErrorPartials(traits);
  const workgroupSize = workgroupSizeOf(traits);
  requireCount(name, { b: args.b }, count);
  requireCount(name, { partial: args.partial }, partials);
  requireCount(name, { loss: args.loss }, 1);
  return [
    squaredErrorKernel.call({
      overrides: { WORKGROUP_SIZE: workgroupSize },
      params: { count },
      bindings: { a: args.a, b: args.b, partial: args.partial },
      grid: [partials / workgroupSize, 1, 1],
      bytes: count * 8 + partials * 4,
      flops: count * 3,
    }),
    sumPartialsKernel.call({
      overrides: { WORKGROUP_SIZE: treeSizeOf(traits) },
      params: { count: partials, scale: args.scale / count },
      bindings: { partial: args.partial, total: args.loss },
      grid: [1, 1, 1],
      bytes: partials * 4 + 4,
      flops: partials,
    }),
  ];
}

/** `aGradient = lossGradient * scale * 2 / count * (a - b)`, the gradient of {@link squaredErrorForward} by a. */
export function squaredErrorBackward<T extends Operand>(
  traits: KernelTraits,
  args: { a: T; b: T; lossGradient: T; aGradient: T; scale: number },
): KernelCall<T> {
  const { name } = squaredErrorBackwardKernel;
  const count = countOf(name, 'a', args.a);
  requireCount(name, { b: args.b, aGradient: args.aGradient }, count);
  requireCount(name, { lossGradient: args.lossGradient }, 1);
  const workgroupSize = workgroupSizeOf(traits);
  return squaredErrorBackwardKernel.call({
    overrides: { WORKGROUP_SIZE: workgroupSize },
    params: { count, scale: (2 * args.scale) / count },
    bindings: { a: args.a, b: args.b, lossGradient: args.lossGradient, aGradient: args.aGradient },
    grid: linearGrid(divideRoundUp(count, workgroupSize)),
    bytes: count * 12,
    flops: count * 2,
  });
}
