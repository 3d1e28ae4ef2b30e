import { Emu3Error, throwIfAborted } from '../../kernels/core/errors.js';
import { quantizationGroup, quantizedShapes, type QuantizationFormat } from '../../kernels/quantize/index.js';
import type { Device } from '../device.js';
import type { Graph } from '../graph/index.js';
import {
  embeddingTable,
  joinedLinears,
  productsApart,
  storeWeights,
  type LinearLookup,
  type TransformerWeights,
  type WeightBinding,
} from '../models/transformer/weights.js';
import { quantizedEmbedding } from '../ops/embedding.js';
import { fusedQuantizedLinear } from '../ops/fused-linear.js';
import { quantizedLinear } from '../ops/quantized-linear.js';
import { ParameterStore } from '../parameters.js';
import { copyTensor, type GpuTensor } from '../tensor.js';
import { WeightQuantizer } from './quantizer.js';
import {
  createJoinedWeights,
  createQuantizedWeight,
  destroyQuantizedWeight,
  quantizedBytes,
  quantizedRows,
  quantizedTensors,
  type QuantizationError,
  type QuantizedWeight,
} from './weight.js';

/** Whether a parameter of the transformer can be packed: linear layers, the embedding table and the head; not norms. */
export function isTransformerMatrix(name: string): boolean {
  return /^model\.layers\.\d+\.(self_attn\.[qkvo]|mlp\.(gate|up|down))_proj\.weight$|^(lm_head|model\.embed_tokens)\.weight$/.test(
    name,
  );
}

/**
 * Formats of a transformer's matrices: one for all that can be cut into groups of 32 inputs, the others staying in f32,
 * or one chosen for each, where undefined keeps it in f32.
 */
export type QuantizationChoice = QuantizationFormat | ((name: string) => QuantizationFormat | undefined);

/**
 * What is to be packed: names of matrices and their formats, in the order of the parameters.
 *
 * @throws Emu3Error `shape` when a matrix chosen by name cannot be cut into groups.
 */
export function chooseFormats(
  shapes: ReadonlyMap<string, readonly number[]>,
  choice: QuantizationChoice,
): Map<string, QuantizationFormat> {
  const chosen = new Map<string, QuantizationFormat>();
  for (const [name, shape] of shapes) {
    if (!isTransformerMatrix(name)) continue;
    const whole = shape[1] % quantizationGroup === 0;
    const format = typeof choice === 'function' ? choice(name) : whole ? choice : undefined;
    if (format === undefined) continue;
    quantizedShapes(format, shape, name);
    chosen.set(name, format);
  }
  return chosen;
}

/** How parameters get their values. */
export interface FillParameters {
  /** All names in the order in which they are filled; default that of the shapes. */
  order?: readonly string[];
  write(name: string, tensor: GpuTensor): Promise<void> | void;
  pack(name: string, weight: QuantizedWeight): Promise<QuantizationError>;
}

export interface QuantizeParametersOptions {
  /** Default q4. */
  format?: QuantizationChoice;
  /** Most bytes of a shard of a weight; default the device's storage binding size. */
  shardBytes?: number;
  signal?: AbortSignal;
  /** Called after each packed weight. */
  onProgress?: (done: number, total: number, name: string) => void;
}

/** What is to be packed in order, layers whose products decoding takes side by side together. */
function joinedGroups(
  formats: ReadonlyMap<string, QuantizationFormat>,
): Iterable<{ name: string; format: QuantizationFormat }[]> {
  const groups = new Map<string, { name: string; format: QuantizationFormat }[]>();
  for (const [name, format] of formats) {
    const [, layer, part] = /^(model\.layers\.\d+)\.(.+)\.weight$/.exec(name) ?? [];
    const joined = Object.entries(joinedLinears).find(([, parts]) => parts.some((other) => other === part));
    const key = joined ? `${layer} ${joined[0]}` : name;
    groups.set(key, [...(groups.get(key) ?? []), { name, format }]);
  }
  return groups.values();
}

/**
 * A transformer's parameters with its matrices packed and its norms f32. They decode and score as they are, and train
 * through adapters beside them.
 */
export class QuantizedParameters implements WeightBinding {
  /** Of all parameters by hub name, packed or not. */
  readonly shapes: ReadonlyMap<string, readonly number[]>;
  /** The packed matrices, by their hub names. */
  readonly weights: ReadonlyMap<string, QuantizedWeight>;
  /** Error of each packed weight. */
  readonly errors: ReadonlyMap<string, QuantizationError>;
  /** What stays in f32. */
  readonly full: ParameterStore;
  /** Weights that own memory. */
  private readonly owned: readonly QuantizedWeight[];
  /** Those that hold several packed matrices, by these matrices' names in order. */
  private readonly whole: ReadonlyMap<string, QuantizedWeight>;

  private constructor(
    shapes: ReadonlyMap<string, readonly number[]>,
    owned: readonly QuantizedWeight[],
    whole: ReadonlyMap<string, QuantizedWeight>,
    weights: ReadonlyMap<string, QuantizedWeight>,
    errors: ReadonlyMap<string, QuantizationError>,
    full: ParameterStore,
  ) {
    this.shapes = shapes;
    this.owned = owned;
    this.whole = whole;
    this.weights = weights;
    this.errors = errors;
    this.full = full;
  }

  /**
   * Allocates everything, then fills it parameter by parameter.
   *
   * @throws Emu3Error `shape` as {@link chooseFormats}, `limit`, and what `fill` throws. Nothing stays on the GPU then.
   */
  static async build(
    device: Device,
    shapes: ReadonlyMap<string, readonly number[]>,
    choice: QuantizationChoice,
    fill: FillParameters,
    shardBytes?: number,
  ): Promise<QuantizedParameters> {
    const formats = chooseFormats(shapes, choice);
    const weights = new Map<string, QuantizedWeight>();
    const errors = new Map<string, QuantizationError>();
    const full = ParameterStore.create(device, new Map([...shapes].filter(([name]) => !formats.has(name))));
    const owned: QuantizedWeight[] = [];
    const whole = new Map<string, QuantizedWeight>();
    const parameters = new QuantizedParameters(shapes, owned, whole, weights, errors, full);
    try {
      for (const group of joinedGroups(formats)) {
        const parts = group.map((part) => ({ ...part, shape: shapes.get(part.name) ?? [] }));
        const joined = parts.length > 1 ? createJoinedWeights(device, parts, shardBytes) : undefined;
        if (joined) {
          owned.push(joined.whole);
          whole.set(parts.map(({ name }) => name).join(), joined.whole);
        }
        for (const [index, { name, shape, format }] of parts.entries()) {
          const weight = joined?.parts[index] ?? createQuantizedWeight(device, format, shape, name, shardBytes);
          if (!joined) owned.push(weight);
          weights.set(name, weight);
        }
      }
      const found = new Map<string, QuantizationError>();
      for (const name of fill.order ?? shapes.keys()) {
        const weight = weights.get(name);
        if (weight) found.set(name, await fill.pack(name, weight));
        else await fill.write(name, full.tensor(name));
      }
      for (const name of formats.keys()) {
        const error = found.get(name);
        if (error) errors.set(name, error);
      }
      await device.finish();
      return parameters;
    } catch (error) {
      parameters.destroy();
      throw error;
    }
  }

  /**
   * Packs the matrices of a transformer and copies the rest. The store stays as it is.
   *
   * @throws Emu3Error `shape` when a matrix chosen by name has inputs that are no multiple of 32, `not-finite`, `limit`,
   *   `aborted`. Nothing stays on the GPU then.
   */
  static async from(
    device: Device,
    parameters: ParameterStore,
    options: QuantizeParametersOptions = {},
  ): Promise<QuantizedParameters> {
    const { format = 'q4', shardBytes, signal, onProgress } = options;
    const total = chooseFormats(parameters.shapes, format).size;
    let done = 0;
    const pack = async (name: string, weight: QuantizedWeight): Promise<QuantizationError> => {
      throwIfAborted(signal, name);
      const quantizer = await WeightQuantizer.over(device, weight, parameters.tensor(name));
      try {
        quantizer.run(0, weight.shape[0]);
        const error = await quantizer.error();
        onProgress?.(++done, total, name);
        return error;
      } finally {
        quantizer.destroy();
      }
    };
    const write = (name: string, tensor: GpuTensor): void => copyTensor(parameters.tensor(name), tensor);
    return QuantizedParameters.build(device, parameters.shapes, format, { write, pack }, shardBytes);
  }

  /** What a graph reads: packed matrices as they are packed, the others in f32. */
  bind(graph: Graph): TransformerWeights {
    const plain = storeWeights(graph, this.full);
    const linear: LinearLookup = (name, x, rows) => {
      const weight = this.weights.get(name);
      if (weight === undefined) return plain.linear(name, x, rows);
      return quantizedLinear(graph, x, quantizedTensors(graph, rows ? quantizedRows(weight, rows) : weight));
    };
    const apart = productsApart(graph, linear);
    const anyPacked = (names: readonly string[]): boolean => names.some((name) => this.weights.has(name));
    return {
      parameter: plain.parameter,
      embed: (ids, paddingId) => {
        const table = this.weights.get(embeddingTable);
        if (table === undefined) return plain.embed(ids, paddingId);
        return quantizedEmbedding(graph, ids, quantizedTensors(graph, table));
      },
      linear,
      joined: (names, x) => {
        const whole = this.whole.get(names.join());
        if (whole) return quantizedLinear(graph, x, quantizedTensors(graph, whole));
        return anyPacked(names) ? apart(names, x) : plain.joined(names, x);
      },
      fused: (names, x, fusion, rows) => {
        const whole = (names.length > 1 ? this.whole : this.weights).get(names.join());
        if (whole === undefined) return anyPacked(names) ? undefined : plain.fused(names, x, fusion, rows);
        return fusedQuantizedLinear(
          graph,
          x,
          quantizedTensors(graph, rows ? quantizedRows(whole, rows) : whole),
          fusion,
        );
      },
      trained: () => [],
    };
  }

  /**
   * A norm or another parameter that stays f32.
   *
   * @throws Emu3Error `missing` for an unknown name, `unsupported` for a packed matrix.
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
    return this.owned.reduce((sum, weight) => sum + quantizedBytes(weight), this.full.bytes);
  }

  destroy(): void {
    for (const weight of this.owned) destroyQuantizedWeight(weight);
    this.full.destroy();
  }
}
