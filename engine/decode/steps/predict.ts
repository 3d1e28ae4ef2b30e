import type { Graph, Tensor } from '../../graph/index.js';
import { bindWeights, inferenceHead, transformerInference } from '../../models/transformer/index.js';
import { guideLogits, sampleTokens } from '../../ops/sampling.js';
import type { DecodeParts } from './stepper.js';

/** Where a step reads its tokens and leaves what it draws. */
export interface StepPlaces {
  /** u32 [rows * tokens]: tokens of every row, the negative prompts' rows last. */
  readonly ids: Tensor;
  /** u32 [rows * tokens]: rotary positions. */
  readonly positions: Tensor;
  /** u32 [rows]: where each row's tokens begin in the cache. */
  readonly rowPositions: Tensor;
  /** u32 [sequences * tokens, 8]: the sampler's state for each draw. */
  readonly sampler: Tensor;
  /** u32 [sequences * tokens or sequences, capacity]: what was drawn at each step. */
  readonly sampled: Tensor;
  /** u32 [sequences or rows, each * tokens]: what was drawn at this step. */
  readonly drawn: Tensor;
}

/**
 * What every step does, whatever its tokens: their embeddings, the layers over the cache, the head's rows of the slice,
 * guidance, and a draw behind each token.
 *
 * @returns the head's logits, before guidance; and the ranges that the draws were allowed.
 */
export function predictTokens(
  graph: Graph,
  parts: DecodeParts,
  places: StepPlaces,
): { logits: Tensor; ranges: Tensor } {
  const { config, cache, state, slice } = parts;
  const { ids, positions, rowPositions, sampler } = places;
  const cached = { layers: cache.bind(graph), start: graph.bind(state.start), position: rowPositions };
  const weights = bindWeights(graph, parts.weights);
  const rows = { ids, positions, rotaryTable: graph.bind(state.rotaryTable) };
  const stream = transformerInference(graph, config, weights, rows, cached);
  const logits = inferenceHead(graph, config, weights, stream, slice);
  const ranges = graph.bind(state.ranges);
  const sampling = {
    logits: cache.rows === state.sequences ? logits : guideLogits(graph, logits, sampler),
    ranges,
    state: sampler,
    ids: places.sampled,
    nextInputs: places.drawn,
  };
  sampleTokens(graph, sampling, slice.first + slice.count - logits.shape[1]);
  return { logits, ranges };
}
