import {
  adamwUpdate,
  elementsPerDecay,
  gradientNormPartials,
  gradientSquares,
  optimizerPrepare,
  type AdamwBlock,
  type AdamwHyper,
} from '../../kernels/adamw/index.js';
import { shapeError } from '../../kernels/core/index.js';
import type { Graph, Tensor } from '../graph/index.js';

export {
  initialOptimizerState,
  learningRateAt,
  optimizerStateIndex,
  optimizerStateLength,
  readOptimizerState,
  type AdamwBlock,
  type AdamwHyper,
  type LearningRateSchedule,
  type OptimizerReport,
} from '../../kernels/adamw/index.js';

/**
 * Emits one AdamW step over all blocks: global gradient norm, schedule and clip scale in the state, update in place,
 * gradients zeroed. A norm that is not finite leaves parameters, moments and step as they are and counts a skipped step.
 * All tensors are persistent; the state starts as `initialOptimizerState` gives it.
 *
 * @param blocks parameters with gradients and moments, each block contiguous; the norm spans all of them.
 * @param state f32 [16].
 * @throws Emu3Error `shape`, `argument`.
 */
export function adamwStep(
  graph: Graph,
  blocks: readonly AdamwBlock<Tensor>[],
  state: Tensor,
  hyper: AdamwHyper = {},
): void {
  const { traits } = graph;
  if (blocks.length === 0) throw shapeError('adamw', 'there is no block of parameters');
  const gradients = blocks.map((block) => block.gradients);
  const partial = graph.temporary([blocks.length * gradientNormPartials(traits)], 'f32', 'gradient norm partials');
  graph.node({
    name: 'gradient-norm',
    inputs: gradients,
    outputs: [partial],
    calls: gradients.map((gradient, block) => gradientSquares(traits, { gradients: gradient, partial, block })),
  });
  graph.node({
    name: 'optimizer-prepare',
    inputs: [partial, state],
    outputs: [state],
    calls: [optimizerPrepare(traits, { partial, state }, hyper)],
  });
  for (const block of blocks) {
    const { parameters, gradients: gradient, firstMoment, secondMoment } = block;
    graph.node({
      name: 'adamw',
      inputs: [...Object.values<Tensor>({ ...block }), state],
      outputs: [parameters, gradient, firstMoment, secondMoment],
      calls: [adamwUpdate(block, state, hyper)],
    });
  }
}

/** Where a parameter lies in its block, and whether weight decay applies to it (by custom: to tensors of 2 or more dimensions). */
export interface DecayRange {
  /** First element in the block, a multiple of 64. */
  start: number;
  length: number;
  decay: boolean;
}

/**
 * The decay factors of a block: 1 for every 64 elements that hold a part of a decayed parameter, 0 elsewhere.
 *
 * @throws Emu3Error `shape` when a parameter does not start at a multiple of 64 or ends beyond the block.
 */
export function decayMaskOf(blockLength: number, ranges: readonly DecayRange[]): Float32Array {
  const mask = new Float32Array(blockLength / elementsPerDecay);
  for (const { start, length, decay } of ranges) {
    if (start % elementsPerDecay !== 0 || start + length > blockLength) {
      throw shapeError('adamw', `a parameter at ${start}..${start + length} does not lie in a block of ${blockLength}`);
    }
    mask.fill(decay ? 1 : 0, start / elementsPerDecay, Math.ceil((start + length) / elementsPerDecay));
  }
  return mask;
}
