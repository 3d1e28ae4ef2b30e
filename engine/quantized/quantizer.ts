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
  quantizedTensors,
  type QuantizationError,
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
  private readonly program: Program;
  private readonly source: GpuTensor;
  private readonly ownsSource: boolean;
  private readonly tile: GpuTensor;
  private readonly statistics: GpuTensor;

  private constructor(
    device: Device,
    weight: QuantizedWeight,
    program: Program,
    tensors: { source: GpuTensor; ownsSource: boolean; tile: GpuTensor; statistics: GpuTensor },
  ) {
    this.device = device;
    this.weight = weight;
    this.program = program;
    this.source = tensors.source;
    this.ownsSource = tensors.ownsSource;
    this.tile = tensors.tile;
    this.statistics = tensors.statistics;
    this.tileRows = tensors.source.shape[0];
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
      `tile of ${weight.data.label}`,
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
    const { label } = weight.data;
    const owned: GpuTensor[] = ownsSource ? [source] : [];
    const own = (tensor: GpuTensor): GpuTensor => {
      owned.push(tensor);
      return tensor;
    };
    try {
      const tile = own(GpuTensor.create(device, [quantizationTileElements], 'u32', `place of the tile of ${label}`));
      const statistics = own(GpuTensor.create(device, [weight.shape[0], 4], 'f32', `errors of ${label}`));
      const graph = new Graph(device.traits);
      const [rows, place, errors] = [source, tile, statistics].map((tensor) => graph.bind(tensor));
      const packed = quantizedTensors(graph, weight);
      const args = { source: rows, tile: place, weight: packed };
      graph.node({
        name: 'quantize',
        inputs: [rows, place],
        outputs: [packed.data, packed.scales, errors],
        calls: [quantize(graph.traits, args), quantizationError(graph.traits, { ...args, statistics: errors })],
      });
      const program = await Program.compile(device, graph, { label: `quantize ${label}` });
      return new WeightQuantizer(device, weight, program, { source, ownsSource, tile, statistics });
    } catch (error) {
      for (const tensor of owned) tensor.destroy();
      throw error;
    }
  }

  /** Packs the first `rows` rows of the source as those of the weight from `firstRow`. Does not wait. */
  run(firstRow: number, rows: number): void {
    const [outputs] = this.weight.shape;
    if (!(firstRow >= 0 && rows >= 1 && rows <= this.tileRows && firstRow + rows <= outputs)) {
      throw new Emu3Error(`Rows ${firstRow} to ${firstRow + rows} are no tile of ${outputs} rows.`, {
        code: 'argument',
        where: this.weight.data.label,
        fix: `Give at most ${this.tileRows} rows, all of them inside the weight.`,
      });
    }
    this.tile.write(Uint32Array.of(firstRow, rows));
    this.program.run();
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
        { code: 'shape', where: this.weight.data.label, fix: 'Give whole rows of the element type agreed on.' },
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
    return joinStatistics(await this.statistics.readFloat32(), this.weight.data.label);
  }

  /** Frees what packing needed; the weight stays. */
  destroy(): void {
    this.program.destroy();
    this.tile.destroy();
    this.statistics.destroy();
    if (this.ownsSource) this.source.destroy();
  }
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
