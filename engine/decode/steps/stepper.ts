import type { Device } from '../../device.js';
import type { Program } from '../../graph/index.js';
import type { ModelWeights, TransformerConfig } from '../../models/transformer/index.js';
import type { GpuTensor } from '../../tensor.js';
import type { KeyValueCache } from '../cache.js';
import type { DecodeRequest } from '../request.js';
import type { DecodeState } from '../state.js';

/** Consecutive ids that have logits. */
export interface IdSlice {
  readonly first: number;
  readonly count: number;
}

/** What the programs of a decoder are made from. */
export interface DecodeParts {
  readonly device: Device;
  readonly config: TransformerConfig;
  readonly weights: ModelWeights;
  readonly cache: KeyValueCache;
  readonly state: DecodeState;
  readonly slice: IdSlice;
  readonly onCompile?: ((done: number, total: number) => void) | undefined;
}

/** What one stretch of steps sampled. */
export interface DecodedBlock {
  /** Index of the block's first step, from 0. */
  readonly firstStep: number;
  /** Ids of the block's steps, one array for each sequence. */
  readonly ids: readonly Uint32Array[];
}

/** Continues sequences whose prompts, but for their last tokens, are in the cache. */
export interface Stepper {
  /** Replayed for every step. */
  readonly program: Program;
  /** Bytes on the GPU of what changes from step to step. */
  readonly bytes: number;
  /** Bytes on the GPU of activations. */
  readonly activationBytes: number;
  /** f32 [rows, ids of the head]: logits of the last step, where a step is one token of every row. */
  readonly lastLogits?: GpuTensor;
  /**
   * Writes the state before the first step, all or nothing.
   *
   * @param prompts of all rows: the sequences, then their negative prompts.
   * @throws Emu3Error `argument` for settings outside their ranges.
   */
  begin(request: DecodeRequest, prompts: readonly ArrayLike<number>[]): void;
  /** Yields blocks until every sequence has its tokens; every token once, in order. */
  run(request: DecodeRequest): AsyncGenerator<DecodedBlock, void, undefined>;
  /** Waits until nothing is under way. */
  settle(): Promise<void>;
  destroy(): void;
}

export const defaultBlockSteps = 16;
