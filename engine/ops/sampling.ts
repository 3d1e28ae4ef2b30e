import { shapeError } from '../../kernels/core/index.js';
import {
  guidanceForward,
  guidanceSliceForward,
  logSumExpForward,
  sampleForward,
} from '../../kernels/sampling/index.js';
import type { Graph, Tensor } from '../graph/index.js';

export {
  packAllowedRanges,
  packSamplerState,
  samplerStateLength,
  type AllowedRange,
  type SamplerOptions,
} from '../../kernels/sampling/index.js';

function guidedRows(logits: Tensor): number {
  if (logits.shape.length !== 2 || logits.shape[0] % 2 !== 0) {
    throw shapeError('guidance', `logits must be [2 * rows, vocabulary], but are [${logits.shape.join(', ')}]`);
  }
  return logits.shape[0] / 2;
}

/**
 * Classifier-free guidance over the whole vocabulary: `u + g * (c - u)` of log-probabilities, c and u the log-softmax of
 * logits rows r and R + r, g from the row's sampler state.
 *
 * @param logits [2R, V], f32 or f16: the conditional rows, then the unconditional ones. @param state u32 [R, 8].
 * @returns [R, V] f32.
 * @throws Emu3Error `shape`.
 */
export function guideLogProbabilities(graph: Graph, logits: Tensor, state: Tensor): Tensor {
  const rows = guidedRows(logits);
  const logSumExp = graph.temporary([logits.shape[0]], 'f32', 'log-sum-exp');
  const guided = graph.temporary([rows, logits.shape[1]], 'f32', 'guided log-probabilities');
  graph.node({
    name: 'log-sum-exp',
    inputs: [logits],
    outputs: [logSumExp],
    calls: [logSumExpForward(graph.traits, { logits, logSumExp })],
  });
  graph.node({
    name: 'guidance',
    inputs: [logits, logSumExp, state],
    outputs: [guided],
    calls: [guidanceForward(graph.traits, { logits, logSumExp, state, guided })],
  });
  return guided;
}

/**
 * Guidance on a slice of the vocabulary, on raw logits: what {@link guideLogProbabilities} gives for these ids less one
 * number a row, so that samples from within the slice are the same.
 *
 * @param logits [2R, V], f32 or f16. @param state u32 [R, 8].
 * @param slice the columns of the logits to guide; default all.
 * @returns [R, slice.count] f32.
 * @throws Emu3Error `shape`.
 */
export function guideLogits(
  graph: Graph,
  logits: Tensor,
  state: Tensor,
  slice: { first: number; count: number } = { first: 0, count: logits.shape[1] },
): Tensor {
  const guided = graph.temporary([guidedRows(logits), slice.count], 'f32', 'guided logits');
  graph.node({
    name: 'guidance-slice',
    inputs: [logits, state],
    outputs: [guided],
    calls: [guidanceSliceForward(graph.traits, { logits, state, guided, first: slice.first })],
  });
  return guided;
}

/**
 * Samples one token a row under the grammar's ranges, top-k, top-p and temperature of its state, with noise keyed by (seed,
 * position, id); writes it to `ids[r, step]` and to every copy of the row in `nextInputs`, and advances position and step.
 * All tensors but the logits are persistent.
 *
 * @param tensors.logits [R, n], f32 or f16, of the ids `firstId .. firstId + n`. @param tensors.ranges u32 [R, steps, 2].
 * @param tensors.state u32 [R, 8]. @param tensors.ids u32 [R, S]. @param tensors.nextInputs u32 [copies * R].
 * @throws Emu3Error `shape`.
 */
export function sampleTokens(
  graph: Graph,
  tensors: { logits: Tensor; ranges: Tensor; state: Tensor; ids: Tensor; nextInputs: Tensor },
  firstId = 0,
): void {
  const { logits, ranges, state, ids, nextInputs } = tensors;
  graph.node({
    name: 'sample',
    inputs: [logits, ranges, state],
    outputs: [ids, nextInputs, state],
    calls: [sampleForward(graph.traits, { ...tensors, firstId })],
  });
}
