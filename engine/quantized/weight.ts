import { Emu3Error } from '../../kernels/core/errors.js';
import {
  dequantize as dequantizeCall,
  quantizedShapes,
  type QuantizationFormat,
} from '../../kernels/quantize/index.js';
import type { Device } from '../device.js';
import { Graph, Program, type Tensor } from '../graph/index.js';
import type { QuantizedTensors } from '../ops/quantized-linear.js';
import { firstBindableRow, rowView, type RowRange } from '../rows.js';
import { GpuTensor } from '../tensor.js';

/** Consecutive rows of a packed weight, no more than one storage binding holds. */
export interface QuantizedShard {
  /** Row of the weight that is the first of the shard. */
  readonly firstRow: number;
  /** [rows, K inputs]. */
  readonly shape: readonly [number, number];
  /** u32 [rows, K / 8] (q4) or [rows, K / 4] (q8). */
  readonly data: GpuTensor;
  /** u32 [rows, ceil(K / 64)], two f16 a word. */
  readonly scales: GpuTensor;
}

/** A matrix [N outputs, K inputs] in GPU memory as levels and f16 scales of groups of 32 inputs. */
export interface QuantizedWeight {
  readonly format: QuantizationFormat;
  readonly shape: readonly [number, number];
  readonly label: string;
  /** All rows in order: a single shard unless the weight is above the device's binding limit. */
  readonly shards: readonly QuantizedShard[];
}

/** Shards begin at multiples of this many rows, where the f32 rows they stand for can be bound too. */
const shardAlignment = 8;

/** Where the shards of a packed weight end, as equal as can be. */
function shardEnds(device: Device, data: readonly [number, number], label: string, shardBytes: number): number[] {
  const [outputs, words] = data;
  const limit = Math.min(device.gpu.limits.maxStorageBufferBindingSize, device.gpu.limits.maxBufferSize);
  const unitBytes = 4 * words * shardAlignment;
  const most = Math.floor(Math.min(limit, Math.max(shardBytes, unitBytes)) / unitBytes);
  if (most < 1) {
    throw new Emu3Error(`${shardAlignment} rows of ${4 * words} bytes are above the binding limit of ${limit}.`, {
      code: 'limit',
      where: label,
      fix: 'Use a smaller model, or an adapter with larger storage bindings.',
    });
  }
  const units = Math.ceil(outputs / shardAlignment);
  const shards = Math.ceil(units / most);
  return Array.from({ length: shards }, (_, index) =>
    Math.min(outputs, Math.floor((units * (index + 1)) / shards) * shardAlignment),
  );
}

/**
 * Allocates a packed weight, all zeros, in as few shards as the device's limits allow.
 *
 * @param shardBytes most bytes of a shard's levels, but for eight rows; default the device's storage binding size.
 * @throws Emu3Error `shape` unless the weight is a matrix whose inputs are a multiple of 32, `limit` when eight rows are
 *   above the device's storage binding size.
 */
export function createQuantizedWeight(
  device: Device,
  format: QuantizationFormat,
  shape: readonly number[],
  label: string,
  shardBytes = Infinity,
): QuantizedWeight {
  const { data, scales } = quantizedShapes(format, shape, label);
  const [outputs = 0, inputs = 0] = shape;
  let firstRow = 0;
  const shards = shardEnds(device, data, label, shardBytes).map((end): QuantizedShard => {
    const rows = end - firstRow;
    const shard = {
      firstRow,
      shape: [rows, inputs] as const,
      data: GpuTensor.create(device, [rows, data[1]], 'u32', label),
      scales: GpuTensor.create(device, [rows, scales[1]], 'u32', `scales of ${label}`),
    };
    firstRow = end;
    return shard;
  });
  return { format, shape: [outputs, inputs], label, shards };
}

/**
 * Allocates packed weights one behind another, so that a single product reads them all; undefined where their formats or
 * inputs differ, where a view of one could not be bound, or where no binding holds them all.
 *
 * @param parts in order, with their formats.
 * @param shardBytes as for {@link createQuantizedWeight}.
 * @returns the whole, which owns the memory, and a view of each part.
 */
export function createJoinedWeights(
  device: Device,
  parts: readonly { name: string; shape: readonly number[]; format: QuantizationFormat }[],
  shardBytes = Infinity,
): { whole: QuantizedWeight; parts: QuantizedWeight[] } | undefined {
  const [{ format, shape, name }] = parts;
  if (parts.some((part) => part.format !== format || part.shape[1] !== shape[1])) return undefined;
  const rows = parts.reduce((sum, part) => sum + part.shape[0], 0);
  const { data } = quantizedShapes(format, [rows, shape[1]], name);
  if (shardEnds(device, data, name, shardBytes).length > 1) return undefined;
  const whole = createQuantizedWeight(device, format, [rows, shape[1]], `${name} and what follows`, shardBytes);
  let first = 0;
  const views = parts.map((part) => {
    const view = quantizedRows(whole, { first, count: part.shape[0] });
    first += part.shape[0];
    return { ...view, label: part.name };
  });
  if (views.every((view, index) => view.shape[0] === parts[index].shape[0])) return { whole, parts: views };
  destroyQuantizedWeight(whole);
  return undefined;
}

/** Bytes on the GPU. */
export function quantizedBytes({ shards }: QuantizedWeight): number {
  return shards.reduce((sum, { data, scales }) => sum + data.byteLength + scales.byteLength, 0);
}

export function destroyQuantizedWeight({ shards }: QuantizedWeight): void {
  for (const { data, scales } of shards) {
    data.destroy();
    scales.destroy();
  }
}

/** A view of rows of a packed weight: it ends with the last of them and begins with the first or, aligned, earlier. */
export function quantizedRows(weight: QuantizedWeight, { first, count }: RowRange): QuantizedWeight {
  const { format, label, shape } = weight;
  const end = first + count;
  let firstRow = 0;
  const shards: QuantizedShard[] = [];
  for (const { firstRow: start, shape: own, data, scales } of weight.shards) {
    if (start >= end || start + own[0] <= first) continue;
    const from = firstBindableRow([data, scales], Math.max(first - start, 0));
    const to = Math.min(end - start, own[0]);
    const view = (tensor: GpuTensor): GpuTensor => rowView(tensor, from, to);
    shards.push({ firstRow, shape: [to - from, own[1]], data: view(data), scales: view(scales) });
    firstRow += to - from;
  }
  return { format, shape: [firstRow, shape[1]], label, shards };
}

/** The shards of a packed weight for `quantizedLinear`. */
export function quantizedTensors(graph: Graph, { format, shards }: QuantizedWeight): QuantizedTensors[] {
  return shards.map(({ shape, data, scales }) => ({
    format,
    shape,
    data: graph.bind(data),
    scales: graph.bind(scales),
  }));
}

/**
 * The values a packed weight stands for, f32 [N, K], in a tensor the caller destroys.
 *
 * @throws Emu3Error `limit` when they are above the device's storage binding size.
 */
export async function dequantize(device: Device, weight: QuantizedWeight): Promise<GpuTensor> {
  const out = GpuTensor.create(device, weight.shape, 'f32', `${weight.label} dequantized`);
  try {
    const graph = new Graph(device.traits);
    for (const [index, packed] of quantizedTensors(graph, weight).entries()) {
      const { firstRow, shape } = weight.shards[index];
      const target: Tensor = graph.bind(rowView(out, firstRow, firstRow + shape[0]));
      graph.node({
        name: 'dequantize',
        inputs: [packed.data, packed.scales],
        outputs: [target],
        calls: [dequantizeCall(graph.traits, { weight: packed, out: target })],
      });
    }
    const program = await Program.compile(device, graph, { label: out.label });
    program.run();
    program.destroy();
    return out;
  } catch (error) {
    out.destroy();
    throw error;
  }
}

/** The arrays of a packed weight: levels, and scales. */
export type PackedPart = 'data' | 'scales';

/** One array of a packed weight, all rows in order, in pieces of so many bytes, a multiple of 4; the last may be shorter. */
export async function* readPackedWords(
  weight: QuantizedWeight,
  part: PackedPart,
  pieceBytes: number,
): AsyncGenerator<Int32Array> {
  const total = weight.shards.reduce((sum, shard) => sum + shard[part].byteLength, 0);
  for (let at = 0; at < total; at += pieceBytes) {
    const piece = new Uint8Array(Math.min(pieceBytes, total - at));
    for (const { tensor, begin, end, from } of overlaps(weight, part, at, piece.length)) {
      const { device, buffer, offset } = tensor;
      piece.set(new Uint8Array(await device.read(buffer, offset + from, end - begin)), begin - at);
    }
    yield new Int32Array(piece.buffer);
  }
}

/** Writes bytes of one array of a packed weight, `byteOffset` from its first row; both multiples of 4. Does not wait. */
export function writePackedWords(
  weight: QuantizedWeight,
  part: PackedPart,
  byteOffset: number,
  bytes: Uint8Array,
): void {
  for (const { tensor, begin, end, from } of overlaps(weight, part, byteOffset, bytes.length)) {
    const piece = bytes.subarray(begin - byteOffset, end - byteOffset);
    tensor.device.gpu.queue.writeBuffer(tensor.buffer, tensor.offset + from, piece as GPUAllowSharedBufferSource);
  }
}

/** The parts of a run of bytes that lie in each shard: from `begin` to `end` of the run, at `from` in the tensor. */
function* overlaps(weight: QuantizedWeight, part: PackedPart, at: number, length: number) {
  let start = 0;
  for (const shard of weight.shards) {
    const tensor = shard[part];
    const [begin, end] = [Math.max(at, start), Math.min(at + length, start + tensor.byteLength)];
    if (begin < end) yield { tensor, begin, end, from: begin - start };
    start += tensor.byteLength;
  }
}

/** How far a packed weight is from its source. */
export interface QuantizationError {
  /** Largest |weight - packed|. */
  readonly maxAbsolute: number;
  /** Root of sum (weight - packed)^2 / sum weight^2; 0 for a weight of zeros. */
  readonly relativeRms: number;
}

/**
 * Joins the statistics of the rows that were packed, in double precision.
 *
 * @param shards of each shard [rows, 4], see the quantization error kernel.
 * @throws Emu3Error `not-finite` with the number of values that are infinite or not a number.
 */
export function joinStatistics(shards: readonly Float32Array[], where: string): QuantizationError {
  let [maxAbsolute, squaredError, squaredValue, notFinite] = [0, 0, 0, 0];
  for (const statistics of shards) {
    for (let at = 0; at < statistics.length; at += 4) {
      maxAbsolute = Math.max(maxAbsolute, statistics[at]);
      squaredError += statistics[at + 1];
      squaredValue += statistics[at + 2];
      notFinite += statistics[at + 3];
    }
  }
  if (notFinite > 0) {
    throw new Emu3Error(`${notFinite} values of the weight are not finite.`, {
      code: 'not-finite',
      where,
      fix: 'Use weights without infinities and NaN.',
    });
  }
  return { maxAbsolute, relativeRms: squaredValue > 0 ? Math.sqrt(squaredError / squaredValue) : 0 };
}
