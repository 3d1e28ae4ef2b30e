import type { Device } from '../../engine/device.js';
import { Graph, planMemory, type Tensor } from '../../engine/graph/index.js';
import {
  attentionHeadDimension,
  headDimension,
  inferenceHead,
  plainWeights,
  transformerInference,
  type TransformerConfig,
  type TransformerWeights,
} from '../../engine/models/transformer/index.js';
import {
  bandLimits,
  decode,
  encode,
  spatialFactor,
  type BandLimits,
  type VisionConfig,
  type VisionContext,
} from '../../engine/models/vision/index.js';
import { fusedLinear } from '../../engine/ops/fused-linear.js';
import { linear } from '../../engine/ops/matmul.js';
import { lookUpCodes, quantize } from '../../engine/ops/vector-quantizer.js';
import { parameterAlignment } from '../../engine/parameters.js';
import { chooseFormats } from '../../engine/quantized/index.js';
import { GpuTensor } from '../../engine/tensor.js';
import { cacheElement, cacheWidth, type CacheType } from '../../kernels/attention/index.js';
import { bytesPerElement, elementCount, type DType } from '../../kernels/core/types.js';
import { quantizedShapes } from '../../kernels/quantize/index.js';
import type { TensorShapes } from '../config/shapes.js';
import type { WeightFormat } from '../pipeline/weights.js';

/** Memory of one recorded program's activations. */
export interface ArenaPlan {
  /** Bytes of the arena. */
  arena: number;
  /** Bytes it would take if nothing were reused. */
  withoutReuse: number;
  /** Bytes of its largest buffer, which is one storage binding. */
  largest: number;
  dispatches: number;
}

/**
 * Tensors of any size that own no memory: they stand in for weights and caches while a graph is planned, and all name
 * one small buffer that nothing ever reads.
 */
class Placeholders {
  private readonly device: Device;
  private readonly buffer: GPUBuffer;
  private readonly byLabel = new Map<string, GpuTensor>();

  constructor(device: Device) {
    this.device = device;
    this.buffer = device.createBuffer('placeholder', 16, GPUBufferUsage.STORAGE);
  }

  /** The same tensor for the same label. */
  tensor(label: string, shape: readonly number[], dtype: DType = 'f32'): GpuTensor {
    const known = this.byLabel.get(label);
    if (known) return known;
    const tensor = new GpuTensor(this.device, this.buffer, 0, shape, dtype, label);
    this.byLabel.set(label, tensor);
    return tensor;
  }

  destroy(): void {
    this.device.destroyBuffer(this.buffer);
  }
}

function planOf(graph: Graph, outputs: readonly Tensor[]): ArenaPlan {
  const { slots, temporaryBytes, calls } = planMemory(graph, outputs);
  const arena = slots.reduce((sum, bytes) => sum + bytes, 0);
  return { arena, withoutReuse: temporaryBytes, largest: Math.max(...slots), dispatches: calls.length };
}

/** Bytes of weights on the GPU: f32, each starting at a multiple of 256 bytes, or a transformer's matrices packed. */
export function weightBytes(shapes: TensorShapes, format: WeightFormat = 'f32'): number {
  const packed = format === 'f32' ? undefined : chooseFormats(shapes, format);
  let words = 0;
  for (const [name, shape] of shapes) {
    const chosen = packed?.get(name);
    if (chosen) {
      const { data, scales } = quantizedShapes(chosen, shape, name);
      words += elementCount(data) + elementCount(scales);
    } else words += Math.ceil(elementCount(shape) / parameterAlignment) * parameterAlignment;
  }
  return words * 4;
}

/** Bytes of keys and values of every layer for `rows` sequences of `context` positions. */
export function cacheBytes(config: TransformerConfig, rows: number, context: number, type: CacheType = 'f32'): number {
  const perLayer = 2 * rows * config.num_key_value_heads * context * cacheWidth(type, attentionHeadDimension(config));
  return bytesPerElement[cacheElement(type)] * perLayer * config.num_hidden_layers;
}

/** One decoding step of `rows` sequences with logits of the whole vocabulary, which a grammar cuts down to a part. */
export function planStep(
  device: Device,
  config: TransformerConfig,
  shapes: TensorShapes,
  place: { rows: number; context: number },
): ArenaPlan {
  const placeholders = new Placeholders(device);
  try {
    return planStepOn(placeholders, device, config, shapes, place);
  } finally {
    placeholders.destroy();
  }
}

function planStepOn(
  placeholders: Placeholders,
  device: Device,
  config: TransformerConfig,
  shapes: TensorShapes,
  { rows, context }: { rows: number; context: number },
): ArenaPlan {
  const graph = new Graph(device.traits);
  const bind = (label: string, shape: readonly number[], dtype: DType): Tensor =>
    graph.bind(placeholders.tensor(label, shape, dtype));
  const parameter = (name: string): Tensor => bind(name, shapes.get(name) ?? [], 'f32');
  const positions = bind('positions', [rows], 'u32');
  const start = bind('start', [rows], 'u32');
  // The kind of cache changes nothing about activations.
  const dimension = attentionHeadDimension(config);
  const cacheShape = [rows, config.num_key_value_heads, context, dimension];
  const layers = Array.from({ length: config.num_hidden_layers }, (_, layer) => ({
    keys: bind(`keys ${layer}`, cacheShape, 'f32'),
    values: bind(`values ${layer}`, cacheShape, 'f32'),
    type: 'f32' as const,
    headDimension: dimension,
  }));
  const inputs = {
    ids: bind('ids', [rows], 'u32'),
    positions,
    rotaryTable: bind('rotary table', [context, headDimension(config)], 'f32'),
  };
  const plain = plainWeights(graph, parameter);
  const whole = (names: readonly string[], inputs: number): Tensor => {
    const outputs = names.reduce((sum, name) => sum + (shapes.get(name)?.[0] ?? 0), 0);
    return bind(names.join(), [outputs, inputs], 'f32');
  };
  const weights: TransformerWeights = {
    ...plain,
    joined: (names, x) => linear(graph, x, whole(names, x.shape[1])),
    fused: (names, x, fusion) => fusedLinear(graph, x, whole(names, x.shape[1]), fusion),
  };
  const stream = transformerInference(graph, config, weights, inputs, { layers, start, position: positions });
  return planOf(graph, [inferenceHead(graph, config, weights, stream)]);
}

/**
 * The vision tokenizer on one picture of `size` tokens, in both directions.
 *
 * @param shapes of all its tensors, `visionTensorShapes(config)`.
 * @param limits as `VisionTokenizer` is given them; default the device's.
 */
export function planVision(
  device: Device,
  config: VisionConfig,
  shapes: TensorShapes,
  size: { height: number; width: number },
  limits: Partial<BandLimits> = {},
): { encoder: ArenaPlan; decoder: ArenaPlan } {
  const placeholders = new Placeholders(device);
  try {
    return planVisionOn(placeholders, device, config, shapes, size, bandLimits(device, limits));
  } finally {
    placeholders.destroy();
  }
}

function planVisionOn(
  placeholders: Placeholders,
  device: Device,
  config: VisionConfig,
  shapes: TensorShapes,
  { height, width }: { height: number; width: number },
  limits: BandLimits,
): { encoder: ArenaPlan; decoder: ArenaPlan } {
  const contextOf = (graph: Graph): VisionContext => {
    const lookup = (name: string): Tensor => graph.bind(placeholders.tensor(name, shapes.get(name) ?? []));
    return { graph, parameter: lookup, statistics: lookup, batchStatistics: false };
  };
  const codebook = 'quantize.embedding.weight';

  const encoding = contextOf(new Graph(device.traits));
  const factor = spatialFactor(config);
  const pixelShape = [1, 1, height * factor, width * factor, config.in_channels];
  const pixels = encoding.graph.bind(placeholders.tensor('pixels', pixelShape));
  const { latent } = encode(encoding, config, pixels, limits);
  const { codes } = quantize(encoding.graph, latent, encoding.parameter(codebook));

  const decoding = contextOf(new Graph(device.traits));
  const ids = decoding.graph.bind(placeholders.tensor('codes', [height * width], 'u32'));
  const shape = [1, 1, height, width, config.embed_dim];
  const quantized = lookUpCodes(decoding.graph, ids, decoding.parameter(codebook), shape);
  const picture = decode(decoding, config, quantized, true, limits);
  return { encoder: planOf(encoding.graph, [codes]), decoder: planOf(decoding.graph, [picture]) };
}
