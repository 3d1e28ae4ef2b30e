import type { Tensor } from '../../engine/graph/index.js';
import type { Workbench } from '../workbench.js';

/** One thing an op is asked to do, with the sizes of a model. */
export interface KernelCase {
  /** What is computed, e.g. `attention`. */
  readonly op: string;
  /** Where it comes from and how large it is, e.g. `nano training, 8 x 200`. */
  readonly sizes: string;
  /**
   * Emits what is measured.
   *
   * @returns the tensors that are wanted; what they do not depend on is not run. None where the graph changes
   *   persistent tensors.
   * @throws Emu3Error `limit` where the adapter's bindings are too small for it.
   */
  readonly build: (bench: Workbench) => readonly Tensor[];
}

/** Sizes of the transformers whose kernels are measured. */
export interface LanguageSizes {
  readonly name: string;
  readonly hidden: number;
  readonly intermediate: number;
  readonly heads: number;
  readonly keyValueHeads: number;
  readonly headDimension: number;
  readonly vocabulary: number;
  /** Ids of vision tokens: all that a picture's steps choose from. */
  readonly visionIds: number;
}

/** Emu3's own sizes (arXiv 2409.18869, table 1). */
export const largeSizes: LanguageSizes = {
  name: '8B',
  hidden: 4096,
  intermediate: 14336,
  heads: 32,
  keyValueHeads: 8,
  headDimension: 128,
  vocabulary: 184622,
  visionIds: 32768,
};
