import { Emu3Error, throwIfAborted } from '../../kernels/core/errors.js';
import type { Device } from '../device.js';
import type { Program } from '../graph/index.js';
import { transformerRotaryTable, type ModelWeights, type TransformerConfig } from '../models/transformer/index.js';
import { packAllowedRanges, packSamplerState, type AllowedRange } from '../ops/sampling.js';
import type { GpuTensor } from '../tensor.js';
import { KeyValueCache } from './cache.js';
import { compilePrefill, compileStep, type IdSlice } from './programs.js';
import { BlockReader } from './readback.js';
import { checkRequest, contextLength, type DecodeRequest, type DecodeSequence } from './request.js';
import { DecodeState } from './state.js';

export interface DecoderOptions {
  /** Sequences decoded side by side. */
  readonly sequences: number;
  /** Run every sequence with a negative prompt too, and mix the two predictions. */
  readonly guided: boolean;
  /** Positions of each row: longest prompt and new tokens together. Rounded up to whole prefill chunks. */
  readonly capacity: number;
  /** Ids that can be sampled; default all. Other ids can only be forced. The head computes no others. */
  readonly slice?: IdSlice;
  /** Element type of the cache; f16 halves its memory. Default f32. */
  readonly cacheType?: 'f32' | 'f16';
  readonly onCompile?: (done: number, total: number) => void;
}

/** What one stretch of steps sampled. */
export interface DecodedBlock {
  /** Index of the block's first step, from 0. */
  readonly firstStep: number;
  /** Ids of the block's steps, one array for each sequence. */
  readonly ids: readonly Uint32Array[];
}

const softwareChunk = 32;
const hardwareChunk = 128;
const defaultBlockSteps = 16;

/**
 * Continues token sequences: prompts go into a key-value cache in chunks, then one recorded step is replayed for every
 * new token. Sampled ids go into the next step on the GPU; the host only reads them back in blocks, one block behind, so
 * that it is never waited for. One decode at a time.
 */
export class Decoder {
  readonly sequences: number;
  readonly guided: boolean;
  readonly capacity: number;
  /** Takes one chunk of all prompts into the cache. */
  readonly prefill: Program;
  /** Samples one token of every sequence. */
  readonly step: Program;
  private readonly config: TransformerConfig;
  private readonly slice: IdSlice;
  private readonly cache: KeyValueCache;
  private readonly state: DecodeState;
  private readonly reader: BlockReader;
  private readonly logits: GpuTensor;
  private busy = false;

  private constructor(
    device: Device,
    config: TransformerConfig,
    options: DecoderOptions,
    parts: { cache: KeyValueCache; state: DecodeState; prefill: Program; step: Program; logits: GpuTensor },
  ) {
    this.config = config;
    this.sequences = options.sequences;
    this.guided = options.guided;
    this.slice = options.slice ?? { first: 0, count: config.vocab_size };
    this.cache = parts.cache;
    this.state = parts.state;
    this.capacity = parts.state.capacity;
    this.prefill = parts.prefill;
    this.step = parts.step;
    this.logits = parts.logits;
    this.reader = new BlockReader(device, parts.state.sampled);
  }

  /**
   * Allocates cache and state and records both programs.
   *
   * @throws Emu3Error `argument` for a slice outside the vocabulary or an f16 cache on an adapter without f16, `prompt`
   *   for a capacity above the model's context, `limit` for a cache above the adapter's limits.
   */
  static async create(
    device: Device,
    config: TransformerConfig,
    weights: ModelWeights,
    options: DecoderOptions,
  ): Promise<Decoder> {
    const { sequences, guided, onCompile } = options;
    const slice = options.slice ?? { first: 0, count: config.vocab_size };
    checkOptions(device, config, options, slice);
    const chunk = device.traits.software ? softwareChunk : hardwareChunk;
    const capacity = Math.ceil(options.capacity / chunk) * chunk;
    const rows = guided ? 2 * sequences : sequences;
    const cache = new KeyValueCache(device, config, { rows, capacity, dtype: options.cacheType ?? 'f32' });
    const state = new DecodeState(device, config, { sequences, rows, capacity, chunk });
    try {
      if (config.rope_scaling?.type !== 'dynamic') state.rotaryTable.write(transformerRotaryTable(config, capacity));
      const parts = { device, config, weights, cache, state, onCompile };
      const prefill = await compilePrefill(parts);
      const { program: step, logits } = await compileStep(parts, slice);
      return new Decoder(device, config, options, { cache, state, prefill, step, logits });
    } catch (error) {
      cache.destroy();
      state.destroy();
      throw error;
    }
  }

  /** Bytes on the GPU besides the weights: cache, state and activations. */
  get bytes(): { cache: number; state: number; activations: number } {
    const activations = this.prefill.memory.arenaBytes + this.step.memory.arenaBytes;
    return { cache: this.cache.bytes, state: this.state.bytes, activations };
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
    const { newTokens, signal } = request;
    const blockSteps = request.blockSteps ?? defaultBlockSteps;
    this.writeState(request);
    this.busy = true;
    try {
      this.takeInPrompts(request.sequences, signal);
      let submitted = this.submitSteps(0, Math.min(blockSteps, newTokens));
      let ahead = this.reader.request();
      for (let firstStep = 0; firstStep < newTokens;) {
        const current = ahead;
        const end = submitted;
        if (submitted < newTokens) {
          submitted = this.submitSteps(submitted, Math.min(submitted + blockSteps, newTokens));
          ahead = this.reader.request();
        }
        const words = await current;
        throwIfAborted(signal, 'decode');
        const begin = firstStep;
        firstStep = end;
        yield {
          firstStep: begin,
          ids: request.sequences.map((_, row) => words.slice(row * this.capacity + begin, row * this.capacity + end)),
        };
        throwIfAborted(signal, 'decode');
      }
    } finally {
      await this.reader.settle();
      this.busy = false;
    }
  }

  /** Logits of the last step, [rows, ids of the head] row after row: the sequences, then their negative prompts. */
  async lastLogits(): Promise<{ data: Float32Array; rows: number; count: number }> {
    const [rows, count] = this.logits.shape;
    const offset = count - this.slice.count;
    const all = await this.logits.readFloat32();
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

  private writeState({ sequences, newTokens }: DecodeRequest): void {
    const { config, state, slice } = this;
    const anyId: readonly AllowedRange[] = [[slice.first, slice.first + slice.count]];
    // Both may refuse their numbers, so they come before anything is written.
    const sampler = packSamplerState(
      sequences.map(({ sampling, prompt }) => ({ ...sampling, position: prompt.length })),
    );
    const { data, steps } = packAllowedRanges(sequences.map(({ allowed }) => allowed ?? anyId));
    const ranges = new Uint32Array(sequences.length * this.capacity * 2);
    sequences.forEach((_, row) => {
      for (let step = 0; step < this.capacity; step++) {
        const from = (row * steps + Math.min(step, steps - 1)) * 2;
        ranges.set(data.subarray(from, from + 2), (row * this.capacity + step) * 2);
      }
    });
    const prompts = this.rowPrompts(sequences);
    state.sampler.write(sampler);
    state.ranges.write(ranges);
    // A prompt's last token is read by the first step, which predicts from it.
    state.ids.write(Uint32Array.from(prompts, (prompt) => prompt[prompt.length - 1]));
    state.positions.write(Uint32Array.from(prompts, (prompt) => prompt.length - 1));
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
    for (let begin = 0; begin < cached; begin += chunk) {
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
  }

  private submitSteps(begin: number, end: number): number {
    for (let step = begin; step < end; step++) this.step.run();
    return end;
  }

  destroy(): void {
    this.prefill.destroy();
    this.step.destroy();
    this.reader.destroy();
    this.cache.destroy();
    this.state.destroy();
  }
}

function checkOptions(device: Device, config: TransformerConfig, options: DecoderOptions, slice: IdSlice): void {
  const fail = (where: string, message: string, fix: string): never => {
    throw new Emu3Error(message, { code: 'argument', where, fix });
  };
  const { sequences, capacity } = options;
  for (const [where, value] of Object.entries({ sequences, capacity })) {
    if (!Number.isInteger(value) || value < 1) fail(where, `${where} is ${value}.`, 'Give a whole number from 1.');
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
  if (options.cacheType === 'f16' && !device.traits.f16) {
    fail('cacheType', 'The adapter has no f16.', 'Use an f32 cache.');
  }
  const context = contextLength(config);
  if (capacity > context) {
    throw new Emu3Error(`${capacity} positions are more than the model's ${context}.`, {
      code: 'prompt',
      where: 'capacity',
      fix: 'Shorten the prompt, or ask for fewer tokens.',
    });
  }
}
