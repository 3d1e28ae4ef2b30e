import { Emu3Error } from '../../kernels/core/errors.js';
import { withAdapters } from '../models/transformer/adapters/adapted.js';
import type { LoraAdapters } from '../models/transformer/adapters/lora.js';
import type { ModelWeights } from '../models/transformer/weights.js';
import { ParameterStore } from '../parameters.js';
import type { GpuTensor } from '../tensor.js';

export interface AdapterOptions {
  /** Train these, made with gradients, and leave the model's weights as they are: those need no gradients then. */
  adapters?: LoraAdapters;
}

/**
 * What is trained, and what the forward pass reads.
 *
 * @param dropoutState of the adapters' dropout.
 * @throws Emu3Error `argument` for weights that can only be trained through adapters.
 */
export function trainedWeights(
  weights: ModelWeights,
  { adapters }: AdapterOptions,
  dropoutState: GpuTensor,
): { store: ParameterStore; read: ModelWeights } {
  if (adapters) return { store: adapters.store, read: withAdapters(weights, adapters, dropoutState) };
  if (weights instanceof ParameterStore) return { store: weights, read: weights };
  throw new Emu3Error('These weights cannot be trained themselves.', {
    code: 'argument',
    where: 'weights',
    fix: 'Give adapters to train, or the weights as a parameter store with gradients.',
  });
}
