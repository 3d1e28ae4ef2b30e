import type { KernelTraits } from '../../kernels/core/index.js';
import { attentionCases } from './attention.js';
import { convolutionCases } from './convolution.js';
import { layerCases } from './layers.js';
import { matmulCases } from './matmul.js';
import { quantizedCases } from './quantized.js';
import { samplingCases } from './sampling.js';
import { trainingCases } from './training.js';
import type { KernelCase, LanguageSizes } from './types.js';

export type { KernelCase, LanguageSizes } from './types.js';

/** What the nano model's training and decoding ask of the kernels. */
export interface NanoWork {
  readonly sizes: LanguageSizes;
  readonly batch: number;
  readonly length: number;
  readonly parameters: number;
  readonly codes: number;
}

/** Every case: the nano model's, and the 8B model's and its tokenizer's where the adapter can run them in seconds. */
export function kernelCases(traits: KernelTraits, nano: NanoWork): KernelCase[] {
  const { sizes, batch, length, parameters, codes } = nano;
  const rows = batch * length;
  return [
    ...matmulCases(traits, sizes, rows),
    ...quantizedCases(traits),
    ...attentionCases(traits, sizes, batch, length),
    ...convolutionCases(traits),
    ...layerCases(traits, sizes, batch, length),
    ...trainingCases(traits, sizes, { rows, parameters, codes }),
    ...samplingCases(sizes),
  ];
}
