import { Emu3Error, throwIfAborted } from '../../kernels/core/errors.js';
import {
  quantizationError,
  quantizationTileElements,
  quantize,
  type QuantizationFormat,
  type QuantizationSource,
} from '../../kernels/quantize/index.js';
import type { Device } from '../device.js';
import { Graph, Program } from '../graph/index.js';
import { GpuTensor } from '../tensor.js';
import {
  createQuantizedWeight,
  destroyQuantizedWeight,
  joinStatistics,
  type QuantizationError,
  type QuantizedShard,
  type QuantizedWeight,
} from './weight.js';

const bytesPerSource: Readonly<Record<QuantizationSource, number>> = { f32: 4, bf16: 2 };

/** Bytes of a weight's source that are on the GPU at a time when it comes from the host. */
const stagingBytes = 16 << 20;

export interface WeightQuantizerOptions {
  /** What {@link WeightQuantizer.write} is given: f32, or bf16 as it lies in a safetensors file. */
  source: QuantizationSource;
  /** Most rows of a tile; default as many as 16 MiB of source hold. */
  tileRows?: number;
}

/**
 * Packs a weight on the GPU tile by tile, as its rows arrive from a file: one recorded program, whose tile's place is in
 * GPU memory. Also measures the error.
 */
export class WeightQuantizer {
  readonly weight: QuantizedWeight;
  /** Most rows of one {@link write}. */
  readonly tileRows: number;
  private readonly device: Device;
  private readonly source: GpuTensor;
  private readonly ownsSource: boolean;
  private readonly packers: readonly ShardPacker[];

  private constructor(
    device: Device,
    weight: QuantizedWeight,
    packers: readonly ShardPacker[],
    source: GpuTensor,
    ownsSource: boolean,
  ) {
    this.device = device;
    this.weight = weight;
    this.packers = packers;
    this.source = source;
    this.ownsSource = ownsSource;
    this.tileRows = source.shape[0];
  }

  /** For tiles that come from the host through {@link write}. */
  static async create(
    device: Device,
    weight: QuantizedWeight,
    options: WeightQuantizerOptions,
  ): Promise<WeightQuantizer> {
    const [outputs, inputs] = weight.shape;
    const fitting = Math.max(1, Math.floor(stagingBytes / (inputs * bytesPerSource[options.source])));
    const rows = Math.min(outputs, options.tileRows ?? fitting);
    const bf16 = options.source === 'bf16';
    const source = GpuTensor.create(
      device,
      [rows, bf16 ? inputs / 2 : inputs],
      bf16 ? 'u32' : 'f32',
      `tile of ${weight.label}`,
    );
    return WeightQuantizer.over(device, weight, source, true);
  }

  /** For rows that are in GPU memory already: f32 [rows, K], or u32 [rows, K / 2] of bf16 in pairs. */
  static async over(
    device: Device,
    weight: QuantizedWeight,
    source: GpuTensor,
    ownsSource = false,
  ): Promise<WeightQuantizer> {
    const packers: ShardPacker[] = [];
    try {
      for (const shard of weight.shards) packers.push(await shardPacker(device, weight, shard, source));
      return new WeightQuantizer(device, weight, packers, source, ownsSource);
    } catch (error) {
      for (const packer of packers) destroyPacker(packer);
      if (ownsSource) source.destroy();
      throw error;
    }
  }

  /** Packs the first `rows` rows of the source as those of the weight from `firstRow`. Does not wait. */
  run(firstRow: number, rows: number): void {
    const [outputs] = this.weight.shape;
    if (!(firstRow >= 0 && rows >= 1 && rows <= this.tileRows && firstRow + rows <= outputs)) {
      throw new Emu3Error(`Rows ${firstRow} to ${firstRow + rows} are no tile of ${outputs} rows.`, {
        code: 'argument',
        where: this.weight.label,
        fix: `Give at most ${this.tileRows} rows, all of them inside the weight.`,
      });
    }
    for (const { shard, tile, program } of this.packers) {
      if (firstRow >= shard.firstRow + shard.shape[0] || firstRow + rows <= shard.firstRow) continue;
      // Source rows before the shard come out above its last row as unsigned numbers, and are left out as those behind it.
      tile.write(Uint32Array.of(firstRow - shard.firstRow, rows));
      program.run();
    }
  }

  /**
   * Packs rows from the host: whole rows, as they lie in memory or in a file (little-endian). Does not wait.
   *
   * @throws Emu3Error `shape` when the data is no whole number of rows, `argument` when the rows are not a tile of the
   *   weight.
   */
  write(firstRow: number, data: Float32Array | Uint16Array | Uint8Array): void {
    const rowBytes = this.source.byteLength / this.tileRows;
    if (data.byteLength % rowBytes !== 0 || data.byteLength > this.source.byteLength) {
      throw new Emu3Error(
        `${data.byteLength} bytes are no whole number of rows of ${rowBytes}, at most ${this.tileRows}.`,
        { code: 'shape', where: this.weight.label, fix: 'Give whole rows of the element type agreed on.' },
      );
    }
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    this.device.gpu.queue.writeBuffer(this.source.buffer, this.source.offset, bytes as GPUAllowSharedBufferSource);
    this.run(firstRow, data.byteLength / rowBytes);
  }

  /**
   * The error of all rows packed so far.
   *
   * @throws Emu3Error `not-finite` when values were infinite or not a number.
   */
  async error(): Promise<QuantizationError> {
    const statistics = await Promise.all(this.packers.map((packer) => packer.statistics.readFloat32()));
    return joinStatistics(statistics, this.weight.label);
  }

  /** Frees what packing needed; the weight stays. */
  destroy(): void {
    for (const packer of this.packers) destroyPacker(packer);
    if (this.ownsSource) this.source.destroy();
  }
}

/** What packs the rows of one shard. */
interface ShardPacker {
  readonly shard: QuantizedShard;
  readonly program: Program;
  /** u32: where the source's first row lies in the shard, and how many rows of it count. */
  readonly tile: GpuTensor;
  readonly statistics: GpuTensor;
}

async function shardPacker(
  device: Device,
  { format, label }: QuantizedWeight,
  shard: QuantizedShard,
  source: GpuTensor,
): Promise<ShardPacker> {
  const owned: GpuTensor[] = [];
  const own = (tensor: GpuTensor): GpuTensor => {
    owned.push(tensor);
    return tensor;
  };
  try {
    const tile = own(GpuTensor.create(device, [quantizationTileElements], 'u32', `place of the tile of ${label}`));
    const statistics = own(GpuTensor.create(device, [shard.shape[0], 4], 'f32', `errors of ${label}`));
    const graph = new Graph(device.traits);
    const [rows, place, errors, data, scales] = [source, tile, statistics, shard.data, shard.scales].map((tensor) =>
      graph.bind(tensor),
    );
    const args = { source: rows, tile: place, weight: { format, shape: shard.shape, data, scales } };
    graph.node({
      name: 'quantize',
      inputs: [rows, place],
      outputs: [data, scales, errors],
      calls: [quantize(graph.traits, args), quantizationError(graph.traits, { ...args, statistics: errors })],
    });
    const program = await Program.compile(device, graph, { label: `quantize ${label}` });
    return { shard, program, tile, statistics };
  } catch (error) {
    for (const tensor of owned) tensor.destroy();
    throw error;
  }
}

function destroyPacker({ program, tile, statistics }: ShardPacker): void {
  program.destroy();
  tile.destroy();
  statistics.destroy();
}

/** A weight on the host. */
export interface HostWeight {
  /** [N outputs, K inputs]. */
  readonly shape: readonly number[];
  /** N * K values, row by row. */
  readonly data: Float32Array;
}

export interface QuantizeOptions {
  label?: string;
  signal?: AbortSignal | undefined;
}

/**
 * Packs a weight, f32 in GPU memory or on the host, and measures how far it then is from its source. The source stays
 * as it is.
 *
 * @throws Emu3Error `shape` unless it is a matrix whose inputs are a multiple of 32, `dtype` unless it is f32,
 *   `not-finite` for infinities and NaN, `limit`, `aborted`. Nothing stays on the GPU then.
 */
export async function quantizeWeight(
  device: Device,
  source: GpuTensor | HostWeight,
  format: QuantizationFormat,
  options: QuantizeOptions = {},
): Promise<{ weight: QuantizedWeight; error: QuantizationError }> {
  const label = options.label ?? (source instanceof GpuTensor ? source.label : 'weight');
  const { signal } = options;
  throwIfAborted(signal, label);
  const weight = createQuantizedWeight(device, format, source.shape, label);
  let quantizer: WeightQuantizer | undefined;
  try {
    const [outputs, inputs] = weight.shape;
    if (source instanceof GpuTensor) {
      quantizer = await WeightQuantizer.over(device, weight, source);
      quantizer.run(0, outputs);
    } else {
      if (source.data.length !== outputs * inputs) {
        throw new Emu3Error(`${source.data.length} values are not a weight [${outputs}, ${inputs}].`, {
          code: 'shape',
          where: label,
          fix: 'Give as many values as the shape has.',
        });
      }
      quantizer = await WeightQuantizer.create(device, weight, { source: 'f32' });
      for (let row = 0; row < outputs; row += quantizer.tileRows) {
        throwIfAborted(signal, label);
        quantizer.write(row, source.data.subarray(row * inputs, (row + quantizer.tileRows) * inputs));
        await device.finish();
      }
    }
    return { weight, error: await quantizer.error() };
  } catch (error) {
    destroyQuantizedWeight(weight);
    throw error;
  } finally {
    quantizer?.destroy();
  }
}
