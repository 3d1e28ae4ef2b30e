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
import { GpuTensor, checkBindingSize } from '../tensor.js';

/** A linear layer's weight [N outputs, K inputs] in GPU memory as levels and f16 scales of groups of 32 inputs. */
export interface QuantizedWeight {
  readonly format: QuantizationFormat;
  readonly shape: readonly [number, number];
  /** u32 [N, K / 8] (q4) or [N, K / 4] (q8). */
  readonly data: GpuTensor;
  /** u32 [N, ceil(K / 64)], two f16 a word. */
  readonly scales: GpuTensor;
}

/**
 * Allocates a packed weight, all zeros.
 *
 * @throws Emu3Error `shape` unless the weight is a matrix whose inputs are a multiple of 32, `limit` above the device's
 *   storage binding size.
 */
export function createQuantizedWeight(
  device: Device,
  format: QuantizationFormat,
  shape: readonly number[],
  label: string,
): QuantizedWeight {
  const { data, scales } = quantizedShapes(format, shape, label);
  checkBindingSize(device, 4 * data[0] * data[1], label);
  const [outputs = 0, inputs = 0] = shape;
  return {
    format,
    shape: [outputs, inputs],
    data: GpuTensor.create(device, data, 'u32', label),
    scales: GpuTensor.create(device, scales, 'u32', `scales of ${label}`),
  };
}

/** Bytes on the GPU. */
export function quantizedBytes({ data, scales }: QuantizedWeight): number {
  return data.byteLength + scales.byteLength;
}

export function destroyQuantizedWeight({ data, scales }: QuantizedWeight): void {
  data.destroy();
  scales.destroy();
}

/** A view of rows of a packed weight: it ends with the last of them and begins with the first or, aligned, earlier. */
export function quantizedRows(weight: QuantizedWeight, { first, count }: RowRange): QuantizedWeight {
  const { format, shape, data, scales } = weight;
  const end = first + count;
  const begin = firstBindableRow([data, scales], first);
  const view = (tensor: GpuTensor): GpuTensor => rowView(tensor, begin, end);
  return { format, shape: [end - begin, shape[1]], data: view(data), scales: view(scales) };
}

/** A packed weight for `quantizedLinear`. */
export function quantizedTensors(graph: Graph, { format, shape, data, scales }: QuantizedWeight): QuantizedTensors {
  return { format, shape, data: graph.bind(data), scales: graph.bind(scales) };
}

/** The values a packed weight stands for, f32 [N, K], in a tensor the caller destroys. */
export async function dequantize(device: Device, weight: QuantizedWeight): Promise<GpuTensor> {
  const out = GpuTensor.create(device, weight.shape, 'f32', `${weight.data.label} dequantized`);
  try {
    const graph = new Graph(device.traits);
    const target: Tensor = graph.bind(out);
    const packed = quantizedTensors(graph, weight);
    graph.node({
      name: 'dequantize',
      inputs: [packed.data, packed.scales],
      outputs: [target],
      calls: [dequantizeCall(graph.traits, { weight: packed, out: target })],
    });
    const program = await Program.compile(device, graph, { label: out.label });
    program.run();
    program.destroy();
    return out;
  } catch (error) {
    out.destroy();
    throw error;
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
 * @param statistics [N, 4], see the quantization error kernel.
 * @throws Emu3Error `not-finite` with the number of values that are infinite or not a number.
 */
export function joinStatistics(statistics: Float32Array, where: string): QuantizationError {
  let [maxAbsolute, squaredError, squaredValue, notFinite] = [0, 0, 0, 0];
  for (let at = 0; at < statistics.length; at += 4) {
    maxAbsolute = Math.max(maxAbsolute, statistics[at]);
    squaredError += statistics[at + 1];
    squaredValue += statistics[at + 2];
    notFinite += statistics[at + 3];
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
