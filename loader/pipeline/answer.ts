/** Answers: text that is written token by token, one or several side by side. */
import { Emu3Error, throwIfAborted } from '../../kernels/core/errors.js';
import type { DecodeSequence, IdSlice } from '../../engine/decode/index.js';
import type { SpecialTokens, TextTokenizer } from '../../tokenizer/index.js';
import type { DecoderPool } from './decoders.js';

export interface Answer {
  /** As the model wrote it; most answers begin with a space. */
  text: string;
  /** Without the end. */
  ids: number[];
  /** False when the answer was cut off at its longest. */
  finished: boolean;
}

export interface AnswerEvents {
  signal?: AbortSignal;
  /** Called with each piece of the answer as it is written; the pieces joined are the answer. */
  onText?: (piece: string) => void;
}

export interface AnswerBatchEvents {
  signal?: AbortSignal;
  /** Called with each piece of each answer as it is written. `index` counts the requests. */
  onText?: (piece: string, index: number) => void;
  /** Answers written at once, from 1; each takes a key-value cache. Default 8. */
  sideBySide?: number;
}

/** An answer's part in a batch. */
export interface AnswerPlan {
  prompt: readonly number[];
  /** Longest answer, in tokens. */
  newTokens: number;
  sampling: DecodeSequence['sampling'];
}

/** Where answers are written. */
export interface AnswerModel {
  decoders: DecoderPool;
  tokenizer: TextTokenizer;
  contextLength: number;
}

const blockSteps = 8;
const defaultSideBySide = 8;

/** Turns ids into text without ever telling half a character. */
export class TextStream {
  /** Ids so far. */
  readonly ids: number[] = [];
  /** What was told so far. */
  text = '';
  private readonly tokenizer: TextTokenizer;
  /** Ids behind the last whole character. Text before them is sure, so it need not be decoded again. */
  private pending: number[] = [];

  constructor(tokenizer: TextTokenizer) {
    this.tokenizer = tokenizer;
  }

  /** @returns the text that became sure with this id; empty while a character is not complete. */
  add(id: number): string {
    this.ids.push(id);
    this.pending.push(id);
    const fresh = this.decodePending();
    // A character cut short decodes to U+FFFD at the end of the text.
    return fresh.endsWith('\ufffd') ? '' : this.tell(fresh);
  }

  /** @returns what is left to be told. */
  end(): string {
    return this.tell(this.decodePending());
  }

  private decodePending(): string {
    return this.tokenizer.decode(this.pending, { skipSpecial: true });
  }

  private tell(fresh: string): string {
    this.pending = [];
    this.text += fresh;
    return fresh;
  }
}

/** Follows one answer to its end, which is EOS, padding, or its longest. */
class AnswerWriter {
  private readonly plan: AnswerPlan;
  private readonly special: SpecialTokens;
  private readonly stream: TextStream;
  private readonly tell: (piece: string) => void;
  private finished = false;
  private ended = false;

  constructor(plan: AnswerPlan, tokenizer: TextTokenizer, tell: (piece: string) => void) {
    this.plan = plan;
    this.special = tokenizer.special;
    this.stream = new TextStream(tokenizer);
    this.tell = (piece) => {
      if (piece !== '') tell(piece);
    };
  }

  get done(): boolean {
    return this.ended;
  }

  get answer(): Answer {
    return { text: this.stream.text, ids: this.stream.ids, finished: this.finished };
  }

  add(ids: Iterable<number>): void {
    for (const id of ids) {
      if (this.ended) return;
      this.finished = id === this.special.eos || id === this.special.pad;
      if (!this.finished) this.tell(this.stream.add(id));
      this.ended = this.finished || this.stream.ids.length === this.plan.newTokens;
      if (this.ended) this.tell(this.stream.end());
    }
  }
}

/**
 * Writes answers, several side by side. Each has the ids it would have alone.
 *
 * @throws Emu3Error `argument` for settings outside their ranges, `aborted`, `device-lost`.
 */
export async function writeAnswers(
  plans: readonly AnswerPlan[],
  { decoders, tokenizer, contextLength }: AnswerModel,
  { signal, onText, sideBySide = defaultSideBySide }: AnswerBatchEvents,
): Promise<Answer[]> {
  throwIfAborted(signal, 'answer');
  checkCount(sideBySide, 'sideBySide');
  const { special } = tokenizer;
  const groups = groupAnswers(plans, sideBySide, contextLength);
  const rows = Math.max(...groups.map(({ indices }) => indices.length));
  const writers = plans.map((plan, index) => new AnswerWriter(plan, tokenizer, (piece) => onText?.(piece, index)));
  for (const { indices, newTokens, capacity } of groups) {
    const sequences: DecodeSequence[] = indices.map((index) => plans[index]);
    // A smaller last group runs on the same decoder: recording another takes longer than its idle rows.
    while (sequences.length < rows) sequences.push({ prompt: [special.bos], sampling: { seed: 0, temperature: 0 } });
    // Visual tokens come last in every vocabulary: an answer is text.
    const slice: IdSlice = { first: 0, count: special.visualStart };
    const decoder = await decoders.take({ sequences: rows, guided: false, slice, capacity, goesOn: true });
    const group = indices.map((index) => writers[index]);
    for await (const { ids } of decoder.decode({ sequences, newTokens, blockSteps, signal })) {
      group.forEach((writer, row) => writer.add(ids[row]));
      if (group.every(({ done }) => done)) break;
    }
  }
  return writers.map(({ answer }) => answer);
}

interface AnswerGroup {
  /** Into the plans. */
  indices: number[];
  /** Steps of the longest answer. */
  newTokens: number;
  /** Positions each row takes. */
  capacity: number;
}

/** Groups that run at once: as many as asked for, and no more than fit the context with each other's steps. */
function groupAnswers(plans: readonly AnswerPlan[], sideBySide: number, contextLength: number): AnswerGroup[] {
  const groups: AnswerGroup[] = [];
  // Prompts of similar length together; the longest first, so that later groups find a decoder that is large enough.
  const order = plans.map((_, index) => index).sort((a, b) => plans[b].prompt.length - plans[a].prompt.length);
  for (const index of order) {
    const { prompt, newTokens } = plans[index];
    const group = groups.at(-1);
    const steps = Math.max(newTokens, group?.newTokens ?? 0);
    const longest = group === undefined ? prompt.length : plans[group.indices[0]].prompt.length;
    if (group !== undefined && group.indices.length < sideBySide && longest + steps <= contextLength) {
      group.indices.push(index);
      group.newTokens = steps;
      group.capacity = longest + steps;
    } else {
      groups.push({ indices: [index], newTokens, capacity: prompt.length + newTokens });
    }
  }
  return groups;
}

/** @throws Emu3Error `argument` unless the value is a whole number from 1. */
export function checkCount(value: number, where: string): void {
  if (Number.isInteger(value) && value >= 1) return;
  throw new Emu3Error(`${where} is ${value}.`, { code: 'argument', where, fix: 'Give a whole number from 1.' });
}
