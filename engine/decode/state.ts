import type { Device } from '../device.js';
import { headDimension, type TransformerConfig } from '../models/transformer/index.js';
import { GpuTensor } from '../tensor.js';

export interface DecodeStateShape {
  /** Sequences that are sampled. */
  readonly sequences: number;
  /** Rows the transformer runs: the sequences, and with guidance once more as many with the negative prompts. */
  readonly rows: number;
  /** Positions of each row. */
  readonly capacity: number;
  /** Tokens of a prompt that one prefill takes in. */
  readonly chunk: number;
}

/**
 * What prompts and grammar leave in GPU memory, whatever steps follow. Every row starts at slot 0 of its cache and its slots are its
 * rotary positions, so rows of different length need no padding: each stands at a position of its own.
 */
export class DecodeState implements DecodeStateShape {
  readonly sequences: number;
  readonly rows: number;
  readonly capacity: number;
  readonly chunk: number;
  /** u32 [rows]: first cached position a row may see; always 0. */
  readonly start: GpuTensor;
  /** u32 [sequences, capacity, 2]: the ids allowed at each step. */
  readonly ranges: GpuTensor;
  /** f32 [capacity, head dimension]. */
  readonly rotaryTable: GpuTensor;
  /** u32 [rows * chunk]: a chunk of each row's prompt. */
  readonly chunkIds: GpuTensor;
  /** u32 [rows * chunk]: rotary positions of the chunk. */
  readonly chunkPositions: GpuTensor;
  /** u32 [rows]: where the chunk starts. */
  readonly chunkPosition: GpuTensor;

  constructor(device: Device, config: TransformerConfig, shape: DecodeStateShape) {
    const { sequences, rows, capacity, chunk } = shape;
    this.sequences = sequences;
    this.rows = rows;
    this.capacity = capacity;
    this.chunk = chunk;
    const create = (size: readonly number[], label: string): GpuTensor => GpuTensor.create(device, size, 'u32', label);
    this.start = create([rows], 'first visible positions');
    this.ranges = create([sequences, capacity, 2], 'allowed ranges');
    this.chunkIds = create([rows * chunk], 'prompt chunk');
    this.chunkPositions = create([rows * chunk], 'prompt chunk positions');
    this.chunkPosition = create([rows], 'start of the prompt chunk');
    this.rotaryTable = GpuTensor.create(device, [capacity, headDimension(config)], 'f32', 'rotary table');
  }

  private get tensors(): GpuTensor[] {
    return [this.start, this.ranges, this.rotaryTable, this.chunkIds, this.chunkPositions, this.chunkPosition];
  }

  get bytes(): number {
    return this.tensors.reduce((sum, tensor) => sum + tensor.byteLength, 0);
  }

  destroy(): void {
    for (const tensor of this.tensors) tensor.destroy();
  }
}
