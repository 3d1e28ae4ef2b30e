import { Emu3Error, throwIfAborted } from '../../kernels/core/errors.js';
import { checkCacheType, type CacheType } from '../../kernels/attention/index.js';
import type { Device } from '../device.js';
import type { Program } from '../graph/index.js';
import { transformerRotaryTable, type ModelWeights, type TransformerConfig } from '../models/transformer/index.js';
import { packAllowedRanges, type AllowedRange } from '../ops/sampling.js';
import { KeyValueCache } from './cache.js';
import { compilePrefill } from './prefill.js';
import { checkRequest, contextLength, type DecodeRequest, type DecodeSequence } from './request.js';
import { DecodeState } from './state.js';
import { JacobiStepper } from './steps/jacobi.js';
import { SequentialStepper } from './steps/sequential.js';
import { StaggeredStepper } from './steps/staggered.js';
import type { DecodedBlock, DecodeParts, IdSlice, Stepper } from './steps/stepper.js';

export interface DecoderOptions {
  /** Sequences decoded side by side. */
  readonly sequences: number;
  /** Run every sequence with a negative prompt too, and mix the two predictions. */
  readonly guided: boolean;
  /** Positions of each row: longest prompt and new tokens together. Rounded up to whole prefill chunks. */
  readonly capacity: number;
  /** Ids that can be sampled; default all. Other ids can only be forced. The head computes no others. */
  readonly slice?: IdSlice;
  /** How keys and values are kept; f16 halves their memory, q8 takes little more than a quarter. Default f32. */
  readonly cacheType?: CacheType;
  /**
   * Read so many tokens of a sequence a step, drafts all but one, and keep what one token a step would give (Jacobi
   * decoding, arXiv 2410.01699). Of several sizes, each from 1, the one that proves fastest. Default: one token a step.
   */
  readonly windows?: readonly number[];
  /**
   * Write up to so many lines of a picture at once, each a stagger behind the one above: fewer steps, but not the ids of
   * raster order (ZipAR, arXiv 2412.04062). Requests then say how long lines are. Not together with windows. Default 1.
   */
  readonly lanes?: number;
  /**
   * Read a prompt only from where it parts with the one before, in whole chunks: a conversation that goes on is not read
   * again. The results are the same to the bit as long as the weights stay as they are. Default false.
   */
  readonly keepsPrompts?: boolean;
  readonly onCompile?: (done: number, total: number) => void;
}

const softwareChunk = 32;
const hardwareChunk = 128;
const largestWindow = 64;

/**
 * Continues token sequences: prompts go into a key-value cache in chunks, then one recorded step is replayed for every
 * new token, or for several at once. Sampled ids go into the next step on the GPU; the host only reads them back in blocks.
 * One decode at a time.
 */
export class Decoder {
  readonly sequences: number;
  readonly guided: boolean;
  readonly capacity: number;
  /** Takes one chunk of all prompts into the cache. */
  readonly prefill: Program;
  private readonly config: TransformerConfig;
  private readonly slice: IdSlice;
  private readonly cache: KeyValueCache;
  private readonly state: DecodeState;
  private readonly stepper: Stepper;
  private readonly keepsPrompts: boolean;
  /** Of each row: what its cache holds of the last prompt, in whole chunks. Steps write behind it. */
  private kept: readonly ArrayLike<number>[] = [];
  private busy = false;

  private constructor(
    config: TransformerConfig,
    options: DecoderOptions,
    parts: {
      capacity: number;
      slice: IdSlice;
      cache: KeyValueCache;
      state: DecodeState;
      prefill: Program;
      stepper: Stepper;
    },
  ) {
    this.config = config;
    this.sequences = options.sequences;
    this.guided = options.guided;
    this.slice = parts.slice;
    this.cache = parts.cache;
    this.state = parts.state;
    this.capacity = parts.capacity;
    this.prefill = parts.prefill;
    this.stepper = parts.stepper;
    // A stretched table of positions follows each request's length.
    this.keepsPrompts = (options.keepsPrompts ?? false) && config.rope_scaling?.type !== 'dynamic';
  }

  /** Replayed for every step: samples one token of every sequence, or some with windows. */
  get step(): Program {
    return this.stepper.program;
  }

  /**
   * Allocates cache and state and records both programs.
   *
   * @throws Emu3Error `argument` for a slice outside the vocabulary or an unknown type of the cache, `prompt` for a
   *   capacity above the model's context, `limit` for a cache above the adapter's limits.
   */
  static async create(
    device: Device,
    config: TransformerConfig,
    weights: ModelWeights,
    options: DecoderOptions,
  ): Promise<Decoder> {
    const { sequences, guided, windows = [], lanes = 1, onCompile } = options;
    const slice = options.slice ?? { first: 0, count: config.vocab_size };
    checkOptions(config, options, slice);
    const chunk = device.traits.software ? softwareChunk : hardwareChunk;
    // A window's drafts, and lanes without a place, may lie behind the last token.
    const beyond = Math.max(1, lanes, ...windows) - 1;
    const capacity = Math.ceil((options.capacity + beyond) / chunk) * chunk;
    const rows = guided ? 2 * sequences : sequences;
    const cache = new KeyValueCache(device, config, { rows, capacity, type: options.cacheType ?? 'f32' });
    const state = new DecodeState(device, config, { sequences, rows, capacity, chunk });
    let prefill: Program | undefined;
    try {
      if (config.rope_scaling?.type !== 'dynamic') state.rotaryTable.write(transformerRotaryTable(config, capacity));
      const parts = { device, config, weights, cache, state, slice, onCompile };
      prefill = await compilePrefill(parts);
      const stepper = await createStepper(parts, windows, lanes);
      return new Decoder(config, options, { capacity: capacity - beyond, slice, cache, state, prefill, stepper });
    } catch (error) {
      prefill?.destroy();
      cache.destroy();
      state.destroy();
      throw error;
    }
  }

  /** Bytes on the GPU besides the weights: cache, state and activations. */
  get bytes(): { cache: number; state: number; activations: number } {
    const activations = this.prefill.memory.arenaBytes + this.stepper.activationBytes;
    return { cache: this.cache.bytes, state: this.state.bytes + this.stepper.bytes, activations };
  }

  /**
   * Samples `newTokens` tokens of every sequence and yields them in blocks as they come back. Stop iterating to end early.
   *
   * The same request gives the same ids on the same adapter.
   *
   * @throws Emu3Error `argument` for settings outside their ranges (a NaN among them) and for a decoder in use, `prompt`
   *   for an empty prompt or one that does not fit, `token` for an id outside the vocabulary, `aborted`, `device-lost`.
   */
  async *decode(request: DecodeRequest): AsyncGenerator<DecodedBlock, void, undefined> {
    throwIfAborted(request.signal, 'decode');
    this.checkIdle();
    checkRequest(request, {
      sequences: this.sequences,
      guided: this.guided,
      capacity: this.capacity,
      vocabulary: this.config.vocab_size,
      slice: this.slice,
    });
    this.writeState(request);
    this.busy = true;
    try {
      this.takeInPrompts(request.sequences, request.signal);
      yield* this.stepper.run(request);
    } finally {
      await this.stepper.settle();
      this.busy = false;
    }
  }

  /**
   * Logits of the last step, [rows, ids of the head] row after row: the sequences, then their negative prompts.
   *
   * @throws Emu3Error `unsupported` for a decoder with windows or lanes.
   */
  async lastLogits(): Promise<{ data: Float32Array; rows: number; count: number }> {
    const { rows } = this.state;
    const { lastLogits } = this.stepper;
    if (!lastLogits) {
      throw new Emu3Error('A decoder of several tokens a step keeps no last logits.', {
        code: 'unsupported',
        where: 'lastLogits',
        fix: 'Create the decoder without windows and lanes.',
      });
    }
    const all = await lastLogits.readFloat32();
    const count = all.length / rows;
    const offset = count - this.slice.count;
    const data = new Float32Array(rows * this.slice.count);
    for (let row = 0; row < rows; row++) {
      data.set(all.subarray(row * count + offset, (row + 1) * count), row * this.slice.count);
    }
    return { data, rows, count: this.slice.count };
  }

  private checkIdle(): void {
    if (!this.busy) return;
    throw new Emu3Error('The decoder is at work already.', {
      code: 'argument',
      where: 'decode',
      fix: 'Wait for the first decode to end, or create a second decoder.',
    });
  }

  private writeState(request: DecodeRequest): void {
    const { config, state, slice } = this;
    const { sequences, newTokens } = request;
    const { capacity } = state;
    const anyId: readonly AllowedRange[] = [[slice.first, slice.first + slice.count]];
    // Both may refuse their numbers, so they come before anything is written.
    const { data, steps } = packAllowedRanges(sequences.map(({ allowed }) => allowed ?? anyId));
    const prompts = this.rowPrompts(sequences);
    this.stepper.begin(request, prompts);
    const ranges = new Uint32Array(sequences.length * capacity * 2);
    sequences.forEach((_, row) => {
      for (let step = 0; step < capacity; step++) {
        const from = (row * steps + Math.min(step, steps - 1)) * 2;
        ranges.set(data.subarray(from, from + 2), (row * capacity + step) * 2);
      }
    });
    state.ranges.write(ranges);
    if (config.rope_scaling?.type === 'dynamic') {
      // The stretch follows the final length, so that every key of a sequence is turned alike. The last token is not read.
      const read = Math.max(...prompts.map((prompt) => prompt.length)) + newTokens - 1;
      state.rotaryTable.write(transformerRotaryTable(config, read));
    }
  }

  /** Prompts of all rows of the transformer: of the sequences, then the negative ones. */
  private rowPrompts(sequences: readonly DecodeSequence[]): ArrayLike<number>[] {
    const prompts = sequences.map(({ prompt }) => prompt);
    return this.guided ? [...prompts, ...sequences.map(({ negativePrompt }) => negativePrompt ?? [])] : prompts;
  }

  /**
   * Shorter prompts go on with token 0 to the end of the last chunk. What that leaves in the cache lies behind the row's
   * position, where no query looks, and the steps write over it.
   */
  private takeInPrompts(sequences: readonly DecodeSequence[], signal: AbortSignal | undefined): void {
    const { state } = this;
    const { chunk, rows } = state;
    const prompts = this.rowPrompts(sequences);
    const cached = Math.max(...prompts.map((prompt) => prompt.length)) - 1;
    const known = this.kept.length > 0 ? Math.min(...prompts.map((prompt, row) => shared(prompt, this.kept[row]))) : 0;
    // Nothing is known any more if this is left in the middle.
    this.kept = [];
    for (let begin = known - (known % chunk); begin < cached; begin += chunk) {
      throwIfAborted(signal, 'decode');
      const ids = new Uint32Array(rows * chunk);
      const positions = new Uint32Array(rows * chunk);
      prompts.forEach((prompt, row) => {
        for (let index = 0; index < chunk; index++) {
          positions[row * chunk + index] = begin + index;
          if (begin + index < prompt.length) ids[row * chunk + index] = prompt[begin + index];
        }
      });
      state.chunkIds.write(ids);
      state.chunkPositions.write(positions);
      state.chunkPosition.write(new Uint32Array(rows).fill(begin));
      this.prefill.run();
    }
    if (!this.keepsPrompts) return;
    // The last token is read by the first step, which may round otherwise than a chunk does.
    this.kept = prompts.map((prompt) => Array.from(prompt).slice(0, prompt.length - 1 - ((prompt.length - 1) % chunk)));
  }

  destroy(): void {
    this.prefill.destroy();
    this.stepper.destroy();
    this.cache.destroy();
    this.state.destroy();
  }
}

/** Tokens that both begin with. */
function shared(one: ArrayLike<number>, other: ArrayLike<number>): number {
  let length = 0;
  while (length < one.length && length < other.length && one[length] === other[length]) length += 1;
  return length;
}

function checkOptions(config: TransformerConfig, options: DecoderOptions, slice: IdSlice): void {
  const fail = (where: string, message: string, fix: string): never => {
    throw new Emu3Error(message, { code: 'argument', where, fix });
  };
  const { sequences, capacity } = options;
  for (const [where, value] of Object.entries({ sequences, capacity })) {
    if (!Number.isInteger(value) || value < 1) fail(where, `${where} is ${value}.`, 'Give a whole number from 1.');
  }
  checkWindows(options.windows ?? []);
  const { lanes = 1 } = options;
  if (!Number.isInteger(lanes) || lanes < 1 || lanes > largestWindow || (lanes > 1 && options.windows?.length)) {
    fail('lanes', `${lanes} lanes were asked for.`, `Give a whole number from 1 to ${largestWindow}, without windows.`);
  }
  const { first, count } = slice;
  const whole = Number.isInteger(first) && Number.isInteger(count);
  if (!whole || first < 0 || count < 1 || first + count > config.vocab_size) {
    fail(
      'slice',
      `Ids ${first} to ${first + count} are not in the vocabulary of ${config.vocab_size}.`,
      'Give a range of ids.',
    );
  }
  checkCacheType(options.cacheType ?? 'f32');
  const context = contextLength(config);
  if (capacity > context) {
    throw new Emu3Error(`${capacity} positions are more than the model's ${context}.`, {
      code: 'prompt',
      where: 'capacity',
      fix: 'Shorten the prompt, or ask for fewer tokens.',
    });
  }
}

function createStepper(parts: DecodeParts, windows: readonly number[], lanes: number): Promise<Stepper> {
  if (lanes > 1) return StaggeredStepper.create(parts, lanes);
  return windows.length > 0 ? JacobiStepper.create(parts, windows) : SequentialStepper.create(parts);
}

/** @throws Emu3Error `argument` for sizes of windows that are no whole numbers from 1 to 64. */
export function checkWindows(windows: readonly number[]): void {
  const wrong = windows.find((window) => !Number.isInteger(window) || window < 1 || window > largestWindow);
  if (wrong === undefined) return;
  throw new Emu3Error(`A window is ${wrong} tokens.`, {
    code: 'argument',
    where: 'windows',
    fix: `Give whole numbers from 1 to ${largestWindow}.`,
  });
}
