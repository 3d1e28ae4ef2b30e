import { Emu3Error, type ErrorCode } from '../../kernels/core/errors.js';
import { emptyBatch, ignoredTarget, placeDocument, type PackedBatch, type TokenDocument } from './packing.js';

/** A prompt and what was generated after it: the very tokens, as they were sampled. */
export interface TokenResponse {
  readonly promptIds: ArrayLike<number>;
  readonly responseIds: ArrayLike<number>;
}

/** Two responses to the same prompt, of which the first is preferred. */
export interface PreferencePair {
  readonly chosen: TokenResponse;
  readonly rejected: TokenResponse;
}

/** A pair with the summed log-probabilities of its responses, in nats, by the frozen model the training starts from. */
export interface ReferencedPair extends PreferencePair {
  readonly reference: { readonly chosen: number; readonly rejected: number };
}

/** How pairs become sequences; the same for the reference model and for training. */
export interface PairLayout {
  /** Pairs of a micro-batch. */
  readonly pairs: number;
  /** Tokens of a sequence, prompt and response; shorter ones are padded behind. */
  readonly length: number;
  readonly padId: number;
  /** Ids lie below it. */
  readonly vocabularySize: number;
  /**
   * Which tokens of a response have a log-probability that counts: all of them, or those with ids in [first, last].
   * A grammar leaves no choice at the ends of a picture's rows, so there they say nothing about the preference.
   * Default `response`.
   */
  readonly counted?: 'response' | { readonly first: number; readonly last: number };
}

/** `pairs` pairs, padded to `length`: what one micro-batch of {@link PreferenceTrainer} reads. */
export interface PreferenceBatch {
  readonly pairs: number;
  /** [2 * pairs, length]: the chosen ones in the order of the pairs, then the rejected ones, each from the row's start. */
  readonly sequences: PackedBatch;
  /** [2 * pairs] reference log-probabilities, in the order of the sequences. */
  readonly reference: Float32Array;
}

function refuse(code: ErrorCode, where: string, message: string, fix: string): Emu3Error {
  return new Emu3Error(message, { code, where, fix });
}

/** A response as a document that learns the counted tokens. */
function responseDocument({ promptIds, responseIds }: TokenResponse, layout: PairLayout, where: string): TokenDocument {
  const [prompt, response] = [promptIds.length, responseIds.length];
  if (prompt === 0) throw refuse('argument', where, 'The prompt is empty.', 'Begin it with the token BOS at least.');
  if (response === 0) throw refuse('argument', where, 'The response is empty.', 'Drop the pair.');
  if (prompt + response > layout.length) {
    throw refuse(
      'limit',
      where,
      `${prompt} tokens of prompt and ${response} of response are more than the ${layout.length} of a sequence.`,
      'Use longer sequences or drop the pair.',
    );
  }
  const ids = [...Array.from(promptIds), ...Array.from(responseIds)];
  const foreign = ids.find((id) => !(Number.isInteger(id) && id >= 0 && id < layout.vocabularySize));
  if (foreign !== undefined) {
    const fix = `Give ids below ${layout.vocabularySize}, of the vocabulary the samples were drawn with.`;
    throw refuse('token', where, `Id ${foreign} is outside the vocabulary.`, fix);
  }
  const { counted = 'response' } = layout;
  const counts = (id: number): boolean => counted === 'response' || (id >= counted.first && id <= counted.last);
  const labels = ids.map((id, index) => (index >= prompt && counts(id) ? id : ignoredTarget));
  if (labels.every((label) => label === ignoredTarget)) {
    throw refuse(
      'argument',
      where,
      'No token of the response counts.',
      'Drop the pair, or count another range of ids.',
    );
  }
  return { ids, labels };
}

function samePrompt(a: ArrayLike<number>, b: ArrayLike<number>): boolean {
  return a.length === b.length && Array.from(a).every((id, index) => id === b[index]);
}

/**
 * Lays pairs out for the forward pass: chosen sequences first, then the rejected ones.
 *
 * @param pairs as many as the layout says. @param first the number of the first, for messages.
 * @throws Emu3Error with the pair's number: `argument` (an empty prompt or response, none of whose tokens counts, or
 *   different prompts), `limit` for one too long, `token` for an id outside the vocabulary; `shape` for another count.
 */
export function packResponses(pairs: readonly PreferencePair[], layout: PairLayout, first = 0): PackedBatch {
  if (pairs.length !== layout.pairs) {
    const fix = 'Give as many pairs as a micro-batch has.';
    throw refuse('shape', 'preference batch', `There are ${pairs.length} pairs, not ${layout.pairs}.`, fix);
  }
  const packed = emptyBatch({ batch: 2 * layout.pairs, length: layout.length }, layout.padId);
  pairs.forEach(({ chosen, rejected }, index) => {
    const where = `pair ${first + index}`;
    if (!samePrompt(chosen.promptIds, rejected.promptIds)) {
      const fix = 'Compare responses to one prompt.';
      throw refuse('argument', where, 'The chosen and the rejected response have different prompts.', fix);
    }
    placeDocument(packed, index, 0, responseDocument(chosen, layout, `${where}, chosen`));
    placeDocument(packed, layout.pairs + index, 0, responseDocument(rejected, layout, `${where}, rejected`));
  });
  return { ...packed, documents: 2 * layout.pairs };
}

/**
 * Lays pairs out for training.
 *
 * @throws Emu3Error as {@link packResponses}, and `not-finite` for a reference log-probability that is no number.
 */
export function packPairs(pairs: readonly ReferencedPair[], layout: PairLayout): PreferenceBatch {
  const sequences = packResponses(pairs, layout);
  const sides = (['chosen', 'rejected'] as const).flatMap((side) => pairs.map(({ reference }) => reference[side]));
  const bad = sides.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) {
    const where = `pair ${bad % layout.pairs}`;
    const fix = 'Score the pairs again with a model whose weights are finite.';
    throw refuse('not-finite', where, `A reference log-probability is ${sides[bad]}.`, fix);
  }
  return { pairs: layout.pairs, sequences, reference: Float32Array.from(sides) };
}
