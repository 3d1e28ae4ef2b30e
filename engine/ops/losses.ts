import {
  combineLosses,
  preferenceBackward,
  preferenceFigures,
  preferenceForward,
  segmentSumBackward,
  segmentSumForward,
  squaredErrorBackward,
  squaredErrorForward,
  squaredErrorPartials,
  weightedMeanBackward,
  weightedMeanForward,
  type Denominator,
} from '../../kernels/losses/index.js';
import { elementCount, shapeError } from '../../kernels/core/index.js';
import type { Graph, Tensor } from '../graph/index.js';

/**
 * `sum(weights * values) / denominator` as [1], 0 where the denominator is 0. Differentiable by the values.
 *
 * @param values [R] f32. @param weights [R] f32; a weight of 0 leaves the row out of the count as well.
 * @param divideBy the sum of the weights, the number of weights other than 0, or a [1] f32 tensor (for a denominator that
 *   spans several micro-batches).
 * @throws Emu3Error `shape`.
 */
export function weightedMean(graph: Graph, values: Tensor, weights: Tensor, divideBy: Denominator<Tensor>): Tensor {
  const mean = graph.temporary([1], 'f32', `mean of ${values.label}`);
  const denominator = graph.temporary([1], 'f32', `denominator of ${values.label}`);
  graph.node({
    name: 'weighted-mean',
    inputs: [values, weights],
    outputs: [mean, denominator],
    calls: [weightedMeanForward(graph.traits, { values, weights, divideBy, mean, denominator })],
    backward: ([meanGradient]) => {
      if (meanGradient === undefined) return [undefined, undefined];
      const valuesGradient = graph.temporary(values.shape, 'f32', `gradient of ${values.label}`);
      graph.node({
        name: 'weighted-mean-backward',
        inputs: [weights, denominator, meanGradient],
        outputs: [valuesGradient],
        calls: [weightedMeanBackward(graph.traits, { weights, denominator, meanGradient, valuesGradient })],
      });
      return [valuesGradient, undefined];
    },
  });
  return mean;
}

/**
 * `scale * sum` over each run of `rowsPerSegment` consecutive values: [segments * rowsPerSegment] -> [segments].
 * With token losses and the scale -1 these are the log-probabilities of the sequences of a padded batch.
 *
 * @throws Emu3Error `shape` when the rows do not divide into segments.
 */
export function segmentSum(graph: Graph, values: Tensor, rowsPerSegment: number, scale = 1): Tensor {
  const rows = elementCount(values.shape);
  if (!(rowsPerSegment >= 1) || rows % rowsPerSegment !== 0) {
    throw shapeError('segment-sum', `${rows} values do not divide into segments of ${rowsPerSegment}`);
  }
  const sums = graph.temporary([rows / rowsPerSegment], 'f32', `segment sums of ${values.label}`);
  graph.node({
    name: 'segment-sum',
    inputs: [values],
    outputs: [sums],
    calls: [segmentSumForward(graph.traits, { values, sums, scale })],
    backward: ([sumsGradient]) => {
      if (sumsGradient === undefined) return [undefined];
      const valuesGradient = graph.temporary(values.shape, 'f32', `gradient of ${values.label}`);
      graph.node({
        name: 'segment-sum-backward',
        inputs: [sumsGradient],
        outputs: [valuesGradient],
        calls: [segmentSumBackward(graph.traits, { sumsGradient, valuesGradient, scale })],
      });
      return [valuesGradient];
    },
  });
  return sums;
}

/**
 * Direct preference optimisation (Rafailov et al. 2023, equation 7): the mean over n pairs of `-log sigmoid(margin)`,
 * `margin = beta * ((chosen - referenceChosen) - (rejected - referenceRejected))`. Differentiable by the first two.
 *
 * @param chosen [n] f32: the policy's summed log-probability of each preferred response, in nats; the others likewise.
 * @returns loss [1] and margins [n] (a pair counts as won where its margin is positive; not differentiable).
 * @throws Emu3Error `shape`.
 */
export function dpoLoss(
  graph: Graph,
  chosen: Tensor,
  rejected: Tensor,
  referenceChosen: Tensor,
  referenceRejected: Tensor,
  beta: number,
): { loss: Tensor; margins: Tensor } {
  const loss = graph.temporary([1], 'f32', 'preference loss');
  const margins = graph.temporary(chosen.shape, 'f32', 'preference margins');
  const { traits } = graph;
  graph.node({
    name: 'preference',
    inputs: [chosen, rejected, referenceChosen, referenceRejected],
    outputs: [loss, margins],
    calls: [preferenceForward(traits, { chosen, rejected, referenceChosen, referenceRejected, margins, loss, beta })],
    backward: ([lossGradient]) => {
      if (lossGradient === undefined) return [];
      const chosenGradient = graph.temporary(chosen.shape, 'f32', `gradient of ${chosen.label}`);
      const rejectedGradient = graph.temporary(rejected.shape, 'f32', `gradient of ${rejected.label}`);
      graph.node({
        name: 'preference-backward',
        inputs: [margins, lossGradient],
        outputs: [chosenGradient, rejectedGradient],
        calls: [preferenceBackward(traits, { margins, lossGradient, chosenGradient, rejectedGradient, beta })],
      });
      return [chosenGradient, rejectedGradient];
    },
  });
  return { loss, margins };
}

/**
 * Adds to a persistent tensor what a training step reports of its pairs: the sum of the margins, the number of pairs with
 * a margin above 0, the sums of the chosen and of the rejected log-probabilities. Runs at its place in the order of nodes.
 *
 * @param figures [4] f32, persistent. @param pairs [n] f32 each.
 * @throws Emu3Error `shape`.
 */
export function accumulatePreferenceFigures(
  graph: Graph,
  figures: Tensor,
  pairs: { margins: Tensor; chosen: Tensor; rejected: Tensor },
): void {
  const { margins, chosen, rejected } = pairs;
  graph.node({
    name: 'preference-figures',
    inputs: [margins, chosen, rejected, figures],
    outputs: [figures],
    calls: [preferenceFigures(graph.traits, { margins, chosen, rejected, figures })],
  });
}

/**
 * `scale * mean((prediction - target)^2)` over all elements, as [1]. Differentiable by the prediction only: the target
 * is a constant.
 *
 * @throws Emu3Error `shape`.
 */
export function meanSquaredError(graph: Graph, prediction: Tensor, target: Tensor, scale = 1): Tensor {
  const loss = graph.temporary([1], 'f32', `squared error of ${prediction.label}`);
  const partial = graph.temporary([squaredErrorPartials(graph.traits)], 'f32', 'squared error partials');
  graph.node({
    name: 'squared-error',
    inputs: [prediction, target],
    outputs: [loss],
    calls: squaredErrorForward(graph.traits, { a: prediction, b: target, partial, loss, scale }),
    backward: ([lossGradient]) => {
      if (lossGradient === undefined) return [undefined, undefined];
      const aGradient = graph.temporary(prediction.shape, 'f32', `gradient of ${prediction.label}`);
      graph.node({
        name: 'squared-error-backward',
        inputs: [prediction, target, lossGradient],
        outputs: [aGradient],
        calls: [squaredErrorBackward(graph.traits, { a: prediction, b: target, lossGradient, aGradient, scale })],
      });
      return [aGradient, undefined];
    },
  });
  return loss;
}

function combine(graph: Graph, a: Tensor, aScale: number, b: Tensor, bScale: number, label: string): Tensor {
  const out = graph.temporary([1], 'f32', label);
  graph.node({
    name: 'combine-losses',
    inputs: [a, b],
    outputs: [out],
    calls: [combineLosses({ a, b, out, aScale, bScale })],
    backward: ([gradient]) =>
      gradient === undefined
        ? [undefined, undefined]
        : [
            combine(graph, gradient, aScale, gradient, 0, `gradient of ${a.label}`),
            combine(graph, gradient, bScale, gradient, 0, `gradient of ${b.label}`),
          ],
  });
  return out;
}

/**
 * `sum(coefficient * loss)` of one or more [1] losses, in the order given. Differentiable.
 *
 * @throws Emu3Error `shape` when there is no loss or one is not a single number.
 */
export function weightedLosses(graph: Graph, terms: readonly (readonly [coefficient: number, loss: Tensor])[]): Tensor {
  const [first, second, ...rest] = terms;
  if (first === undefined) throw shapeError('combine-losses', 'there is no loss to sum');
  if (second === undefined) return combine(graph, first[1], first[0], first[1], 0, 'weighted loss');
  let sum = combine(graph, first[1], first[0], second[1], second[0], 'weighted losses');
  for (const [coefficient, loss] of rest) sum = combine(graph, sum, 1, loss, coefficient, 'weighted losses');
  return sum;
}
