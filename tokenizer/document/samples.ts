/** Training samples in numbers: labels, weights, padding. Labels stand at their own place; the loss shifts by one. */
import { Emu3Error } from '../../kernels/core/errors.js';
import type { SpecialTokens } from '../special.js';
import { isVisual } from '../special.js';
import type { ConversationTurn } from './conversation.js';
import { checkConversation, turnSegments } from './conversation.js';
import { checkContext } from './prompts.js';
import type { DocumentVocabulary } from './segments.js';
import { documentIds } from './segments.js';

/** Label of a place that is not learned. */
export const ignoreIndex = -100;

/**
 * What is learned.
 * - `all`: every token but padding (pre-training)
 * - `vision`: visual tokens only (the released fine-tuning for generation; ends of rows and of the picture are not)
 * - `text`: everything but visual tokens and padding (understanding)
 * - `response`: everything from `responseStart` on but padding (instruction tuning, preference pairs)
 */
export type LabelRule = 'all' | 'vision' | 'text' | 'response';

/**
 * Labels of a sample: the ids themselves where they are learned, {@link ignoreIndex} elsewhere.
 *
 * @param responseStart index of the first learned token, for `response`
 */
export function sampleLabels(
  ids: ArrayLike<number>,
  special: SpecialTokens,
  rule: LabelRule,
  responseStart = 0,
): number[] {
  return Array.from(ids, (id, index) => {
    if (id === special.pad) return ignoreIndex;
    const learned =
      rule === 'all' ||
      (rule === 'response' && index >= responseStart) ||
      (rule === 'vision' && isVisual(id, special)) ||
      (rule === 'text' && !isVisual(id, special));
    return learned ? id : ignoreIndex;
  });
}

/**
 * Weight of each label in the loss: 0 where ignored, `visionWeight` for visual tokens, else 1.
 *
 * @param visionWeight 0.5 in pre-training, so that pictures do not drown the text (Emu3, pre-training)
 */
export function labelWeights(labels: ArrayLike<number>, special: SpecialTokens, visionWeight = 0.5): Float32Array {
  return Float32Array.from(labels, (label) => {
    if (label === ignoreIndex) return 0;
    return isVisual(label, special) ? visionWeight : 1;
  });
}

export interface Sample {
  ids: readonly number[];
  labels: readonly number[];
}

/**
 * Training sample of a conversation, laid out as its prompts are: every answer ends with EOS, the end of a conversation
 * and the middle alike, and that EOS is learned with its answer.
 *
 * @param turns begin with the user and end with the assistant
 * @param learned `answers` (instruction tuning): the answers and their ends only. `text`: all but visual tokens, so
 *   questions too, but no picture or clip. `all`: pictures and clips as well
 * @throws Emu3Error `prompt` as {@link checkConversation}, `token` for a code outside the codebook
 */
export function conversationSample(
  turns: readonly ConversationTurn[],
  vocabulary: DocumentVocabulary,
  learned: 'answers' | 'text' | 'all' = 'answers',
): Sample {
  checkConversation(turns, 'assistant');
  const ids: number[] = [];
  const labels: number[] = [];
  for (const { role, segments } of turnSegments(turns)) {
    const turnIds = documentIds(segments, vocabulary);
    const ignored = learned === 'answers' && role !== 'assistant';
    const rule: LabelRule = learned === 'text' ? 'text' : 'all';
    for (const id of turnIds) ids.push(id);
    for (const label of sampleLabels(turnIds, vocabulary.special, rule)) labels.push(ignored ? ignoreIndex : label);
  }
  return { ids, labels };
}

/** Samples of one length, row after row. */
export interface SampleBatch {
  /** `[samples][length]`, padded on the right. */
  inputIds: Int32Array;
  /** `[samples][length]`, {@link ignoreIndex} on padding. */
  labels: Int32Array;
  /** `[samples][length]`, 1 on the sample, 0 on padding. */
  attentionMask: Int32Array;
  length: number;
}

/**
 * Pads samples on the right.
 *
 * @param length of every row; that of the longest sample unless told
 * @throws Emu3Error `prompt` when a sample is longer, `shape` when ids and labels differ in length
 */
export function padSamples(samples: readonly Sample[], special: SpecialTokens, length?: number): SampleBatch {
  const rowLength = length ?? Math.max(0, ...samples.map((sample) => sample.ids.length));
  const inputIds = new Int32Array(samples.length * rowLength).fill(special.pad);
  const labels = new Int32Array(samples.length * rowLength).fill(ignoreIndex);
  const attentionMask = new Int32Array(samples.length * rowLength);
  samples.forEach((sample, row) => {
    checkContext(sample.ids.length, 0, rowLength, `samples[${row}]`);
    if (sample.labels.length !== sample.ids.length) {
      throw new Emu3Error(`The sample has ${sample.ids.length} ids but ${sample.labels.length} labels.`, {
        code: 'shape',
        where: `samples[${row}]`,
        fix: 'Give one label for each id.',
      });
    }
    inputIds.set(sample.ids, row * rowLength);
    labels.set(sample.labels, row * rowLength);
    attentionMask.fill(1, row * rowLength, row * rowLength + sample.ids.length);
  });
  return { inputIds, labels, attentionMask, length: rowLength };
}
