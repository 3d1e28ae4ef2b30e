import { Emu3Error } from '../../kernels/core/errors.js';
import type { TransformerConfig } from '../models/transformer/index.js';
import type { AllowedRange, SamplerOptions } from '../ops/sampling.js';
import type { IdSlice } from './steps/stepper.js';

/** One sequence to continue. */
export interface DecodeSequence {
  /** Token ids, at least one. */
  readonly prompt: ArrayLike<number>;
  /** What guidance steers away from; needed where the decoder is guided. */
  readonly negativePrompt?: ArrayLike<number> | undefined;
  /** Seed, temperature, top-k, top-p and guidance; the position is the decoder's to know. */
  readonly sampling: Omit<SamplerOptions, 'position'>;
  /** Ids allowed at each step, the last entry for all steps beyond; default any id that has logits. */
  readonly allowed?: readonly AllowedRange[] | undefined;
}

export interface DecodeRequest {
  /** As many as the decoder was made for. */
  readonly sequences: readonly DecodeSequence[];
  /** Tokens to sample for each sequence. */
  readonly newTokens: number;
  /** Steps between reading ids back; default 16. A picture's width + 1 gives whole rows. */
  readonly blockSteps?: number;
  /**
   * With windows: a token that nothing is known of is drafted as the one so many steps before. A picture's width + 1 gives
   * the token above. Default: as the one before it.
   */
  readonly draftPeriod?: number;
  /** With lanes: tokens of each line in raster order, `newTokens` in all. */
  readonly lines?: readonly number[];
  /** With lanes: tokens that a line is ahead of the one below, at least; from 1. Default a whole line: raster order. */
  readonly stagger?: number;
  readonly signal?: AbortSignal | undefined;
}

/** Positions a model was made for; scaling of the rotary embedding stretches them. */
export function contextLength(config: TransformerConfig): number {
  return Math.floor(config.max_position_embeddings * (config.rope_scaling?.factor ?? 1));
}

export interface DecodeLimits {
  readonly sequences: number;
  readonly guided: boolean;
  readonly capacity: number;
  readonly vocabulary: number;
  readonly slice: IdSlice;
}

/** @throws Emu3Error `argument`, `prompt` or `token` for a request that the decoder cannot run. */
export function checkRequest(request: DecodeRequest, limits: DecodeLimits): void {
  const { sequences, newTokens, blockSteps = 1, draftPeriod = 1, stagger = 1 } = request;
  const refuse = (where: string, message: string, fix: string): Emu3Error =>
    new Emu3Error(message, { code: 'argument', where, fix });
  if (sequences.length !== limits.sequences) {
    throw refuse(
      'sequences',
      `${sequences.length} sequences were given to a decoder of ${limits.sequences}.`,
      'Create a decoder for this many sequences.',
    );
  }
  for (const [where, value] of Object.entries({ newTokens, blockSteps, draftPeriod, stagger })) {
    if (!Number.isInteger(value) || value < 1)
      throw refuse(where, `${where} is ${value}.`, 'Give a whole number from 1.');
  }
  sequences.forEach(({ prompt, negativePrompt, allowed }, index) => {
    checkPrompt(prompt, newTokens, `prompt ${index}`, limits);
    if (limits.guided) checkPrompt(negativePrompt ?? [], newTokens, `negative prompt ${index}`, limits);
    for (const range of allowed ?? []) checkRange(range, index, limits);
  });
}

function checkRange([first, end]: AllowedRange, index: number, { vocabulary, slice }: DecodeLimits): void {
  const forced = end - first === 1 && first >= 0 && first < vocabulary;
  if (forced || (first >= slice.first && end <= slice.first + slice.count)) return;
  throw new Emu3Error(`The ids ${first} to ${end} are allowed, but not all of them have logits.`, {
    code: 'token',
    where: `allowed ids of sequence ${index}`,
    fix: `Allow single ids, or ids from ${slice.first} to ${slice.first + slice.count}.`,
  });
}

function checkPrompt(prompt: ArrayLike<number>, newTokens: number, where: string, limits: DecodeLimits): void {
  if (prompt.length === 0) {
    throw new Emu3Error('The prompt has no tokens.', {
      code: 'prompt',
      where,
      fix: 'Start it with the begin token at least.',
    });
  }
  const length = prompt.length + newTokens;
  // The last new token is never read again, so it needs no place.
  if (length - 1 > limits.capacity) {
    throw new Emu3Error(
      `${prompt.length} prompt tokens and ${newTokens} new ones do not fit ${limits.capacity} positions.`,
      { code: 'prompt', where, fix: `Shorten the prompt by ${length - 1 - limits.capacity} tokens, or ask for fewer.` },
    );
  }
  for (let index = 0; index < prompt.length; index++) {
    const id = prompt[index];
    if (Number.isInteger(id) && id >= 0 && id < limits.vocabulary) continue;
    throw new Emu3Error(`Id ${id} at ${index} is outside the vocabulary of ${limits.vocabulary}.`, {
      code: 'token',
      where,
      fix: 'Use the tokenizer that belongs to the model.',
    });
  }
}
