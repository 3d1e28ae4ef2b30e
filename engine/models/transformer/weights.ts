import type { Graph, Tensor } from '../../graph/index.js';
import { linear } from '../../ops/matmul.js';
import { ParameterStore } from '../../parameters.js';
import { GpuTensor } from '../../tensor.js';

/** Consecutive rows of a weight. */
export interface RowRange {
  readonly first: number;
  readonly count: number;
}

/**
 * Finds the tensor of a parameter by its hub name. With `rows` a view that ends with the last of them and begins with the
 * first or earlier: where a binding can begin.
 */
export type ParameterLookup = (name: string, rows?: RowRange) => Tensor;

/**
 * Emits a linear layer: x [rows, in] times the transpose of the weight [out, in] of this hub name, [rows, out]. With
 * `rows` the product ends with the last of these rows of the weight and begins with the first or earlier, so the columns
 * asked for are its last ones.
 */
export type LinearLookup = (name: string, x: Tensor, rows?: RowRange) => Tensor;

/** What the forward pass takes from a model, whatever form its weights are kept in. Names are the hub's. */
export interface TransformerWeights {
  /** Tensors that are read as they are: the embedding table and the norms. */
  readonly parameter: ParameterLookup;
  readonly linear: LinearLookup;
  /** Tensors of a layer that training changes: what recomputed activations are differentiated by. */
  readonly trained: (layer: number) => readonly Tensor[];
}

/** Binds weights of some form into a graph. */
export type WeightBinding = (graph: Graph) => TransformerWeights;

/** The weights of a transformer: f32 under their hub names, or whatever can bind itself. */
export type ModelWeights = ParameterStore | WeightBinding;

/** The weights as a graph's forward pass takes them. */
export function bindWeights(graph: Graph, weights: ModelWeights): TransformerWeights {
  if (!(weights instanceof ParameterStore)) return weights(graph);
  return plainWeights(graph, (name, rows) => {
    const tensor = weights.tensor(name);
    return graph.bind(rows ? rowView(tensor, rows) : tensor);
  });
}

/** Linear layers as plain products with the weights that `parameter` finds. */
export function plainWeights(graph: Graph, parameter: ParameterLookup): TransformerWeights {
  return {
    parameter,
    linear: (name, x, rows) => linear(graph, x, parameter(name, rows)),
    trained: (layer) =>
      [...layerNorms, ...layerLinears].map((part) => parameter(`model.layers.${layer}.${part}.weight`)),
  };
}

const layerNorms = ['input_layernorm', 'post_attention_layernorm'] as const;

/** The linear layers of a decoder layer. */
const layerLinears = [
  'self_attn.q_proj',
  'self_attn.k_proj',
  'self_attn.v_proj',
  'self_attn.o_proj',
  'mlp.gate_proj',
  'mlp.up_proj',
  'mlp.down_proj',
] as const;

export type LayerNorm = (typeof layerNorms)[number];
export type LayerLinear = (typeof layerLinears)[number];

/** A view of rows of a weight [rows, columns]; it begins earlier where a binding cannot begin at the first of them. */
function rowView(weight: GpuTensor, { first, count }: RowRange): GpuTensor {
  const { device, buffer, shape, dtype, label } = weight;
  const rowBytes = weight.byteLength / shape[0];
  const alignment = device.gpu.limits.minStorageBufferOffsetAlignment;
  const end = first + count;
  let begin = first;
  while ((weight.offset + begin * rowBytes) % alignment !== 0) begin--;
  const view = [end - begin, ...shape.slice(1)];
  const offset = weight.offset + begin * rowBytes;
  return new GpuTensor(device, buffer, offset, view, dtype, `${label} rows ${begin} to ${end}`);
}
