import { shapeError, type Operand } from '../core/index.js';
import { checkDropoutRate, dropoutThreshold } from '../dropout/index.js';
import type { AttentionShape } from './reference.js';

export type { AttentionShape } from './reference.js';

/** Dropout of attention probabilities; see `attentionDropoutFactor` in reference.ts for which ones. */
export interface AttentionDropout<T extends Operand> {
  /** Probability of dropping, in [0, 1). */
  readonly rate: number;
  /** u32 that tells this dropout from the others of the model. */
  readonly site: number;
  /** u32 `[2]`: seed, step. */
  readonly state: T;
}

const largestHeadDimension = 128;

/** @throws Emu3Error `shape` unless the head dimension is a multiple of 4 up to 128 and key-value heads divide heads. */
export function checkAttentionShape(kernel: string, shape: AttentionShape): void {
  for (const [name, size] of Object.entries(shape) as [string, number][]) {
    if (!Number.isInteger(size) || size < 1) throw shapeError(kernel, `${name} is ${size}, not a positive integer`);
  }
  const { heads, keyValueHeads, headDimension } = shape;
  if (headDimension % 4 !== 0 || headDimension > largestHeadDimension) {
    throw shapeError(
      kernel,
      `the head dimension ${headDimension} is not a multiple of 4 up to ${largestHeadDimension}`,
    );
  }
  if (heads % keyValueHeads !== 0) {
    throw shapeError(kernel, `${heads} heads cannot share ${keyValueHeads} key-value heads evenly`);
  }
}

/** The params, override and state binding of dropout; `placeholder` (u32) is bound where there is none. */
export function dropoutArguments<T extends Operand>(
  kernel: string,
  dropout: AttentionDropout<T> | undefined,
  placeholder: T,
): { params: { site: number; threshold: number; keep_scale: number }; enabled: number; state: T } {
  if (dropout === undefined || dropout.rate === 0) {
    return { params: { site: 0, threshold: 0, keep_scale: 1 }, enabled: 0, state: placeholder };
  }
  checkDropoutRate(kernel, dropout.rate);
  if (dropout.state.shape.length !== 1 || dropout.state.shape[0] !== 2) {
    throw shapeError(kernel, `the dropout state is [${dropout.state.shape.join(', ')}] where [2] is needed`);
  }
  return {
    params: { site: dropout.site, threshold: dropoutThreshold(dropout.rate), keep_scale: 1 / (1 - dropout.rate) },
    enabled: 1,
    state: dropout.state,
  };
}
