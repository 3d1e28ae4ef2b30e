import {
  adamwUpdate,
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
      calls: [adamwUpdate(traits, block, state, hyper)],
    });
  }
}
