import {
  defineKernel,
  divideRoundUp,
  elementCount,
  Emu3Error,
  linearGrid,
  shapeError,
  type KernelCall,
  type KernelTraits,
  type Operand,
} from '../core/index.js';
import prepareSource from './prepare.wgsl';
import squaresSource from './squares.wgsl';
import { optimizerStateLength } from './state.js';
import updateSource from './update.wgsl';

export * from './state.js';

const squaresKernel = defineKernel('gradient-squares', squaresSource);
const prepareKernel = defineKernel('optimizer-prepare', prepareSource);
const updateKernel = defineKernel('adamw', updateSource);

/** Parameters start at multiples of this many elements, so that one decay factor serves each run of as many. */
export const elementsPerDecay = 64;

/** Decay rates and constants of AdamW. Fixed for a run; what changes from step to step is in the state. */
export interface AdamwHyper {
  /** Default 0.9. */
  beta1?: number;
  /** Default 0.95, as in Emu3's released training script. */
  beta2?: number;
  /** Default 1e-6. */
  epsilon?: number;
  /** Default 0.1, where the decay mask is 1. */
  weightDecay?: number;
}

function complete(hyper: AdamwHyper): Required<AdamwHyper> {
  const { beta1 = 0.9, beta2 = 0.95, epsilon = 1e-6, weightDecay = 0.1 } = hyper;
  for (const [name, value, top] of [
    ['beta1', beta1, 1],
    ['beta2', beta2, 1],
    ['epsilon', epsilon, Infinity],
    ['weightDecay', weightDecay, Infinity],
  ] as const) {
    if (!(value >= 0 && value < top)) {
      const range = top === 1 ? '0 up to, but below, 1' : 'a finite number, 0 or above';
      throw new Emu3Error(`AdamW's ${name} is ${value}.`, { code: 'argument', where: name, fix: `Give ${range}.` });
    }
  }
  return { beta1, beta2, epsilon, weightDecay };
}

function decays({ beta1, beta2 }: { beta1: number; beta2: number }): Record<string, number> {
  return { firstDecay: beta1, firstGain: 1 - beta1, secondDecay: beta2, secondGain: 1 - beta2 };
}

/** How many partial sums each block contributes to the gradient norm. */
export function gradientNormPartials(traits: KernelTraits): number {
  return traits.software ? 4096 : 16384;
}

/**
 * First stage of the global gradient norm: partial sums of squares of block number `block`.
 *
 * @param args.gradients f32, a multiple of 4 elements. @param args.partial f32 [blocks * {@link gradientNormPartials}], part of it written.
 * @throws Emu3Error `shape`.
 */
export function gradientSquares<T extends Operand>(
  traits: KernelTraits,
  args: { gradients: T; partial: T; block: number },
): KernelCall<T> {
  const count = elementCount(args.gradients.shape);
  const partials = gradientNormPartials(traits);
  if (elementCount(args.partial.shape) < (args.block + 1) * partials) {
    throw shapeError(
      squaresKernel.name,
      `partial [${args.partial.shape.join(', ')}] has no room for block ${args.block}`,
    );
  }
  if (count < 1 || count % 4 !== 0) throw shapeError(squaresKernel.name, `${count} gradients are not a multiple of 4`);
  const workgroupSize = 64;
  return squaresKernel.call({
    overrides: { WORKGROUP_SIZE: workgroupSize },
    params: { vectors: count / 4, partialOffset: args.block * partials },
    bindings: { gradients: args.gradients, partial: args.partial },
    grid: [partials / workgroupSize, 1, 1],
    bytes: count * 4 + partials * 4,
    flops: count * 2,
  });
}

/**
 * Joins the partial sums to the gradient norm and advances the state by one step: learning rate, bias corrections, clip
 * scale. A norm that is not finite advances nothing and makes the update kernels skip.
 *
 * @param args.state f32 [{@link optimizerStateLength}], changed in place.
 * @throws Emu3Error `shape`, `argument`.
 */
export function optimizerPrepare<T extends Operand>(
  traits: KernelTraits,
  args: { partial: T; state: T },
  hyper: AdamwHyper = {},
): KernelCall<T> {
  const count = elementCount(args.partial.shape);
  requireState(prepareKernel.name, args.state);
  return prepareKernel.call({
    overrides: { WORKGROUP_SIZE: traits.software ? 16 : 256 },
    params: { count, ...decays(complete(hyper)) },
    bindings: { partial: args.partial, state: args.state },
    grid: [1, 1, 1],
    bytes: count * 4 + optimizerStateLength * 8,
    flops: count,
  });
}

function requireState(kernel: string, state: Operand): void {
  if (elementCount(state.shape) !== optimizerStateLength) {
    throw shapeError(kernel, `the state must be [${optimizerStateLength}], but is [${state.shape.join(', ')}]`);
  }
}

/** One block of parameters: contiguous f32 tensors of N elements, N a multiple of 64, and their decay factors [N / 64]. */
export interface AdamwBlock<T extends Operand> {
  parameters: T;
  gradients: T;
  firstMoment: T;
  secondMoment: T;
  /** f32 [N / 64]: 1 where weight decay applies to the 64 elements, 0 where not. */
  decayMask: T;
}

/**
 * One AdamW update of a block, in place, with the state {@link optimizerPrepare} left; gradients are zeroed.
 *
 * @throws Emu3Error `shape`, `argument`.
 */
export function adamwUpdate<T extends Operand>(
  traits: KernelTraits,
  block: AdamwBlock<T>,
  state: T,
  hyper: AdamwHyper = {},
): KernelCall<T> {
  const { name } = updateKernel;
  const { epsilon, weightDecay, ...betas } = complete(hyper);
  const { parameters, gradients, firstMoment, secondMoment, decayMask } = block;
  const count = elementCount(parameters.shape);
  if (count < 1 || count % elementsPerDecay !== 0) {
    throw shapeError(name, `a block of ${count} parameters is not a multiple of ${elementsPerDecay}`);
  }
  for (const [label, operand] of Object.entries({ gradients, firstMoment, secondMoment })) {
    if (elementCount(operand.shape) !== count) {
      throw shapeError(name, `${label} must hold ${count} elements, but is [${operand.shape.join(', ')}]`);
    }
  }
  if (elementCount(decayMask.shape) !== count / elementsPerDecay) {
    throw shapeError(
      name,
      `decayMask must hold ${count / elementsPerDecay} factors, but is [${decayMask.shape.join(', ')}]`,
    );
  }
  requireState(name, state);
  const workgroupSize = traits.software ? 16 : 64;
  const vectorsPerThread = traits.software ? 16 : 1;
  return updateKernel.call({
    overrides: { WORKGROUP_SIZE: workgroupSize, VECTORS_PER_THREAD: vectorsPerThread },
    params: { vectors: count / 4, ...decays(betas), epsilon, weightDecay },
    bindings: { parameters, gradients, firstMoment, secondMoment, decayMask, state },
    grid: linearGrid(divideRoundUp(count, 4 * workgroupSize * vectorsPerThread)),
    bytes: count * 32 + (count / elementsPerDecay) * 4,
    flops: count * 15,
  });
}
