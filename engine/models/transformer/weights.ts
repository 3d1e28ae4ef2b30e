import type { Fusion } from '../../../kernels/matmul/few-rows.js';
import type { Graph, Tensor } from '../../graph/index.js';
import { embedding } from '../../ops/embedding.js';
import { fusedLinear } from '../../ops/fused-linear.js';
import { linear } from '../../ops/matmul.js';
import { concatenate } from '../../ops/slice.js';
import { ParameterStore } from '../../parameters.js';
import { firstBindableRow, joinRows, rowView, type RowRange } from '../../rows.js';
import type { GpuTensor } from '../../tensor.js';

export type { RowRange };

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

/**
 * Emits one product of linear layers with one input, side by side, that is gated, normed or added to, or gives undefined
 * where it has no kernel or the weights lie apart. `rows` as for {@link LinearLookup}, of a single layer.
 */
export type FusedLookup = (
  names: readonly string[],
  x: Tensor,
  fusion: Fusion<Tensor>,
  rows?: RowRange,
) => Tensor | undefined;

/** What the forward pass takes from a model, whatever form its weights are kept in. Names are the hub's. */
export interface TransformerWeights {
  /** Tensors that are read as they are: the norms. */
  readonly parameter: ParameterLookup;
  /** Embeddings f32 [rows, hidden_size] of ids u32 [rows]; the padding id's row learns nothing. */
  readonly embed: (ids: Tensor, paddingId: number) => Tensor;
  readonly linear: LinearLookup;
  /** The products of several linear layers with one input, side by side: [rows, sum of outs]. */
  readonly joined: (names: readonly string[], x: Tensor) => Tensor;
  readonly fused: FusedLookup;
  /** Tensors of a layer that training changes: what recomputed activations are differentiated by. */
  readonly trained: (layer: number) => readonly Tensor[];
}

/** Weights of some form that bind themselves into a graph. */
export interface WeightBinding {
  bind(graph: Graph): TransformerWeights;
}

/** The weights of a transformer: f32 under their hub names, or whatever can bind itself. */
export type ModelWeights = ParameterStore | WeightBinding;

/** The weights as a graph's forward pass takes them. */
export function bindWeights(graph: Graph, weights: ModelWeights): TransformerWeights {
  if (!(weights instanceof ParameterStore)) return weights.bind(graph);
  return storeWeights(graph, weights);
}

/** The parameters of a store; layers that lie one behind another there are joined without a copy. */
export function storeWeights(graph: Graph, store: ParameterStore): TransformerWeights {
  const plain = plainWeights(graph, storeLookup(graph, store));
  const whole = (names: readonly string[]): GpuTensor | undefined => joinRows(names.map((name) => store.tensor(name)));
  return {
    ...plain,
    joined: (names, x) => {
      const weight = whole(names);
      return weight === undefined ? plain.joined(names, x) : linear(graph, x, graph.bind(weight));
    },
    fused: (names, x, fusion, rows) => {
      const weight = names.length > 1 ? whole(names) : undefined;
      return weight ? fusedLinear(graph, x, graph.bind(weight), fusion) : plain.fused(names, x, fusion, rows);
    },
  };
}

/** Finds the parameters of a store. */
function storeLookup(graph: Graph, store: ParameterStore): ParameterLookup {
  return (name, rows) => {
    const tensor = store.tensor(name);
    if (rows === undefined) return graph.bind(tensor);
    return graph.bind(rowView(tensor, firstBindableRow([tensor], rows.first), rows.first + rows.count));
  };
}

/** Linear layers as plain products with the weights that `parameter` finds. */
export function plainWeights(graph: Graph, parameter: ParameterLookup): TransformerWeights {
  const linearOf: LinearLookup = (name, x, rows) => linear(graph, x, parameter(name, rows));
  return {
    parameter,
    embed: (ids, paddingId) => embedding(graph, ids, parameter(embeddingTable), { paddingId, dtype: 'f32' }),
    linear: linearOf,
    joined: productsApart(graph, linearOf),
    fused: ([name, ...others], x, fusion, rows) =>
      others.length > 0 ? undefined : fusedLinear(graph, x, parameter(name, rows), fusion),
    trained: (layer) =>
      [...layerNorms, ...layerLinears].map((part) => parameter(`model.layers.${layer}.${part}.weight`)),
  };
}

/** What several layers make of one input, for weights that lie apart: a product each, copied side by side. */
export function productsApart(graph: Graph, linear: LinearLookup): TransformerWeights['joined'] {
  return (names, x) => {
    const products = names.map((name) => linear(name, x));
    return concatenate(graph, products, x.shape.length - 1);
  };
}

/** Hub name of the table of token embeddings. */
export const embeddingTable = 'model.embed_tokens.weight';

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

/** Layers that read one input: decoding takes their products side by side. */
export const joinedLinears = {
  attention: ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj'],
  mlp: ['mlp.gate_proj', 'mlp.up_proj'],
} as const;

export type LayerNorm = (typeof layerNorms)[number];
export type LayerLinear = (typeof layerLinears)[number];
