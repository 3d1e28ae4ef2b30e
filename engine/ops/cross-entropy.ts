import {
  crossEntropyBackward,
  crossEntropyForward,
  targetWeights as targetWeightsCall,
  type TargetWeighting,
} from '../../kernels/cross-entropy/index.js';
import type { Graph, Tensor } from '../graph/index.js';

/**
 * Softmax cross-entropy of every row, in nats, not weighted: `loss[r] = logsumexp(logits[r]) - logits[r, targets[r]]`,
 * 0 where the target is negative (ignored). Differentiable by the logits.
 *
 * @param logits [R, V], f32 or f16.
 * @param targets [R] i32 ids; any negative id is ignored, an id of V or more gives a loss of about 1e30.
 * @returns loss [R] f32 and logSumExp [R] f32 (not differentiable).
 * @throws Emu3Error `shape`.
 */
export function tokenCrossEntropy(graph: Graph, logits: Tensor, targets: Tensor): { loss: Tensor; logSumExp: Tensor } {
  const rows = logits.shape.slice(0, 1);
  const loss = graph.temporary(rows, 'f32', 'token cross-entropy');
  const logSumExp = graph.temporary(rows, 'f32', 'log-sum-exp');
  graph.node({
    name: 'token-cross-entropy',
    inputs: [logits, targets],
    outputs: [loss, logSumExp],
    calls: [crossEntropyForward(graph.traits, { logits, targets, loss, logSumExp })],
    backward: ([rowGradient]) => {
      if (rowGradient === undefined) return [undefined, undefined];
      const logitsGradient = graph.temporary(logits.shape, 'f32', `gradient of ${logits.label}`);
      graph.node({
        name: 'token-cross-entropy-backward',
        inputs: [logits, targets, logSumExp, rowGradient],
        outputs: [logitsGradient],
        calls: [crossEntropyBackward(graph.traits, { logits, targets, logSumExp, rowGradient, logitsGradient })],
      });
      return [logitsGradient, undefined];
    },
  });
  return { loss, logSumExp };
}

/**
 * Loss weight of each target: `vision` within the inclusive id range, `text` elsewhere, 0 where the target is negative.
 * Emu3's pre-training takes vision 0.5 and text 1 (section 3.2).
 *
 * @param targets [R] i32.
 * @returns [R] f32.
 */
export function targetWeights(graph: Graph, targets: Tensor, weighting: TargetWeighting): Tensor {
  const weights = graph.temporary(targets.shape, 'f32', 'target weights');
  graph.node({
    name: 'target-weights',
    inputs: [targets],
    outputs: [weights],
    calls: [targetWeightsCall(graph.traits, { targets, weights }, weighting)],
  });
  return weights;
}
