import { Emu3Error, throwIfAborted } from '../../kernels/core/errors.js';
import type { QuantizationFormat } from '../../kernels/quantize/index.js';
import type { Device } from '../device.js';
import type { Graph, Tensor } from '../graph/index.js';
import { linear } from '../ops/matmul.js';
import { quantizedLinear } from '../ops/quantized-linear.js';
import { ParameterStore } from '../parameters.js';
import type { GpuTensor } from '../tensor.js';
import { quantizeWeight } from './quantizer.js';
import {
  destroyQuantizedWeight,
  quantizedBytes,
  quantizedTensors,
  type QuantizationError,
  type QuantizedWeight,
} from './weight.js';

/** Whether a parameter of the transformer is a linear layer's weight: those of the layers and the head. */
export function isTransformerLinear(name: string): boolean {
  return /^model\.layers\.\d+\.(self_attn\.[qkvo]|mlp\.(gate|up|down))_proj\.weight$|^lm_head\.weight$/.test(name);
}

export interface QuantizeParametersOptions {
  /** Format of a linear layer; undefined keeps it in f32. Default q4 for all. */
  format?: QuantizationFormat | ((name: string) => QuantizationFormat | undefined);
  signal?: AbortSignal;
  /** Called after each packed weight. */
  onProgress?: (done: number, total: number, name: string) => void;
}

/** A transformer's parameters for inference: linear layers packed, embeddings and norms f32. */
export class QuantizedParameters {
  /** The packed linear layers, by their hub names. */
  readonly weights: ReadonlyMap<string, QuantizedWeight>;
  /** Error of each packed weight. */
  readonly errors: ReadonlyMap<string, QuantizationError>;
  /** What stays in f32. */
  readonly full: ParameterStore;

  /** Takes ownership of its parts: {@link destroy} frees them. */
  constructor(
    weights: ReadonlyMap<string, QuantizedWeight>,
    errors: ReadonlyMap<string, QuantizationError>,
    full: ParameterStore,
  ) {
    this.weights = weights;
    this.errors = errors;
    this.full = full;
  }

  /**
   * Packs the linear layers of a transformer and copies the rest. The store stays as it is.
   *
   * @throws Emu3Error `shape` when a linear layer's inputs are not a multiple of 32, `not-finite`, `limit`, `aborted`.
   *   Nothing stays on the GPU then.
   */
  static async from(
    device: Device,
    parameters: ParameterStore,
    options: QuantizeParametersOptions = {},
  ): Promise<QuantizedParameters> {
    const { format = 'q4', signal, onProgress } = options;
    const formatOf = typeof format === 'function' ? format : (): QuantizationFormat => format;
    const packed: [string, QuantizationFormat][] = [];
    const rest = new Map<string, readonly number[]>();
    for (const [name, shape] of parameters.shapes) {
      const chosen = isTransformerLinear(name) ? formatOf(name) : undefined;
      if (chosen === undefined) rest.set(name, shape);
      else packed.push([name, chosen]);
    }
    const weights = new Map<string, QuantizedWeight>();
    const errors = new Map<string, QuantizationError>();
    const full = ParameterStore.create(device, rest);
    const result = new QuantizedParameters(weights, errors, full);
    try {
      copyParameters(device, parameters, full);
      for (const [index, [name, chosen]] of packed.entries()) {
        throwIfAborted(signal, name);
        const { weight, error } = await quantizeWeight(device, parameters.tensor(name), chosen, {
          label: name,
          signal,
        });
        weights.set(name, weight);
        errors.set(name, error);
        onProgress?.(index + 1, packed.length, name);
      }
      await device.finish();
      return result;
    } catch (error) {
      result.destroy();
      throw error;
    }
  }

  /**
   * An embedding, a norm or another parameter that stays f32.
   *
   * @throws Emu3Error `missing` for an unknown name, `unsupported` for a packed linear layer.
   */
  tensor(name: string): GpuTensor {
    if (!this.weights.has(name)) return this.full.tensor(name);
    throw new Emu3Error('The weight is packed and has no f32 tensor.', {
      code: 'unsupported',
      where: name,
      fix: 'Multiply by it with quantizedLinear, or dequantize it.',
    });
  }

  /** Bytes on the GPU. */
  get bytes(): number {
    return [...this.weights.values()].reduce((sum, weight) => sum + quantizedBytes(weight), this.full.bytes);
  }

  destroy(): void {
    for (const weight of this.weights.values()) destroyQuantizedWeight(weight);
    this.full.destroy();
  }
}

/** Copies what `to` has from the parameters of the same names in `from`, on the GPU. */
function copyParameters(device: Device, from: ParameterStore, to: ParameterStore): void {
  const encoder = device.gpu.createCommandEncoder({ label: 'copy parameters' });
  for (const name of to.shapes.keys()) {
    const [source, target] = [from.tensor(name), to.tensor(name)];
    encoder.copyBufferToBuffer(source.buffer, source.offset, target.buffer, target.offset, target.byteLength);
  }
  device.submit(encoder);
}

/**
 * Looks linear layers up by their hub names and multiplies: packed ones by the packed weight, the others (a head tied
 * to the embeddings) in f32.
 */
export function quantizedLinearLookup(
  graph: Graph,
  parameters: QuantizedParameters,
): (name: string, input: Tensor) => Tensor {
  return (name, input) => {
    const weight = parameters.weights.get(name);
    if (weight === undefined) return linear(graph, input, graph.bind(parameters.full.tensor(name)));
    return quantizedLinear(graph, input, quantizedTensors(graph, weight));
  };
}
