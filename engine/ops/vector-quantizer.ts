import { elementCount } from '../../kernels/core/index.js';
import { squaredErrorForward, squaredErrorPartials } from '../../kernels/losses/index.js';
import {
  clearCodeCounts,
  codebookBackward,
  codebookLookup,
  countCodes as countCodesCall,
  quantizeForward,
  quantizeSplits,
  reviveCodes as reviveCodesCall,
  straightThroughForward,
} from '../../kernels/vector-quantizer/index.js';
import type { Graph, Tensor } from '../graph/index.js';
import { meanSquaredError } from './losses.js';

/**
 * Nearest codebook row of each latent by squared distance, the first index on ties. Not differentiable: gradients go
 * through {@link straightThrough}, {@link commitmentLoss} and {@link codebookLoss}.
 *
 * @param latents [.., d], f32 or f16, P latents in all. @param codebook [K, d] f32, d <= 32.
 * @returns codes [P] u32 and quantized [.., d] f32, the codebook rows.
 * @throws Emu3Error `shape`.
 */
export function quantize(graph: Graph, latents: Tensor, codebook: Tensor): { codes: Tensor; quantized: Tensor } {
  const { traits } = graph;
  const count = elementCount(latents.shape.slice(0, -1));
  const splits = quantizeSplits(traits, count, codebook.shape[0]);
  const splitDistance = graph.temporary([splits * count], 'f32', 'nearest distance by split');
  const splitCode = graph.temporary([splits * count], 'u32', 'nearest code by split');
  const codes = graph.temporary([count], 'u32', 'codes');
  const quantized = graph.temporary(latents.shape, 'f32', 'quantized latents');
  graph.node({
    name: 'quantize',
    inputs: [latents, codebook],
    outputs: [codes, quantized],
    calls: quantizeForward(traits, { latents, codebook, splitDistance, splitCode, codes, quantized }),
  });
  return { codes, quantized };
}

/**
 * `codebook[codes]` in the given shape [.., d]; zeros for codes beyond the codebook. Not differentiable.
 *
 * @param codes [P] u32. @throws Emu3Error `shape`.
 */
export function lookUpCodes(
  graph: Graph,
  codes: Tensor,
  codebook: Tensor,
  shape: readonly number[],
  dtype: 'f32' | 'f16' = 'f32',
): Tensor {
  const quantized = graph.temporary(shape, dtype, 'looked-up latents');
  graph.node({
    name: 'codebook-lookup',
    inputs: [codes, codebook],
    outputs: [quantized],
    calls: [codebookLookup(graph.traits, { codes, codebook, quantized })],
  });
  return quantized;
}

/**
 * Straight-through estimator (van den Oord et al. 2017, section 3.2): the value of `quantized` with the gradient passed
 * unchanged to `latents`.
 */
export function straightThrough(graph: Graph, latents: Tensor, quantized: Tensor): Tensor {
  const out = graph.temporary(latents.shape, 'f32', 'straight-through latents');
  graph.node({
    name: 'straight-through',
    inputs: [latents, quantized],
    outputs: [out],
    calls: [straightThroughForward(graph.traits, { quantized, out })],
    backward: ([gradient]) => [gradient, undefined],
  });
  return out;
}

/** `beta * mean((latents - stopgrad(quantized))^2)` as [1]: draws the encoder to its codes. */
export function commitmentLoss(graph: Graph, latents: Tensor, quantized: Tensor, beta: number): Tensor {
  return meanSquaredError(graph, latents, graph.detach(quantized), beta);
}

/**
 * `mean((stopgrad(latents) - codebook[codes])^2)` as [1]: draws the codes to the latents. Differentiable by the codebook
 * only, with a fixed order of summation.
 *
 * @param quantized `codebook[codes]` in the shape of the latents, as {@link quantize} returns it.
 * @throws Emu3Error `shape`.
 */
export function codebookLoss(
  graph: Graph,
  latents: Tensor,
  codebook: Tensor,
  { codes, quantized }: { codes: Tensor; quantized: Tensor },
): Tensor {
  const { traits } = graph;
  const loss = graph.temporary([1], 'f32', 'codebook loss');
  const partial = graph.temporary([squaredErrorPartials(traits)], 'f32', 'squared error partials');
  graph.node({
    name: 'codebook-loss',
    inputs: [codebook, latents, codes, quantized],
    outputs: [loss],
    calls: squaredErrorForward(traits, { a: quantized, b: latents, partial, loss, scale: 1 }),
    backward: ([lossGradient]) => {
      if (lossGradient === undefined) return [];
      const counts = graph.temporary(codebook.shape.slice(0, 1), 'u32', 'code counts of the batch');
      const codebookGradient = graph.temporary(codebook.shape, 'f32', `gradient of ${codebook.label}`);
      graph.node({
        name: 'codebook-loss-backward',
        inputs: [latents, codebook, codes, lossGradient],
        outputs: [codebookGradient],
        calls: [
          clearCodeCounts(traits, { counts }),
          countCodesCall(traits, { codes, counts }),
          codebookBackward(traits, { latents, codebook, codes, counts, lossGradient, codebookGradient }),
        ],
      });
      return [codebookGradient];
    },
  });
  return loss;
}

/** Adds the batch's codes to the usage counts [K] u32, a persistent tensor. */
export function countCodes(graph: Graph, codes: Tensor, counts: Tensor): void {
  graph.node({
    name: 'count-codes',
    inputs: [codes, counts],
    outputs: [counts],
    calls: [countCodesCall(graph.traits, { codes, counts })],
  });
}

/**
 * Keeps the codebook alive: replaces each code counted fewer than `minimumCount` times by a latent of this batch, marks
 * it in `revived` ([K] u32) and starts the counts from 0 again. All but the latents are persistent tensors.
 *
 * @param state [1] u32, the seed of the draw; write a new one before every run.
 * @throws Emu3Error `shape`.
 */
export function reviveCodes(
  graph: Graph,
  tensors: { latents: Tensor; state: Tensor; counts: Tensor; codebook: Tensor; revived: Tensor },
  minimumCount: number,
): void {
  const { latents, state, counts, codebook, revived } = tensors;
  graph.node({
    name: 'revive-codes',
    inputs: [latents, state, counts, codebook],
    outputs: [counts, codebook, revived],
    calls: [reviveCodesCall(graph.traits, { ...tensors, minimumCount })],
  });
}
