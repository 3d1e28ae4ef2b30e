import type { Graph, Tensor } from '../../graph/index.js';
import { attentionWithCache, type KeyValueCache } from '../../ops/attention.js';
import { addRmsNorm, rmsNorm } from '../../ops/rms-norm.js';
import { slice } from '../../ops/slice.js';
import { swigluOfHalves } from '../../ops/swiglu.js';
import { headDimension, type TransformerConfig } from './config.js';
import { headName, type TokenRows } from './forward.js';
import { joinedLinears, type RowRange, type TransformerWeights } from './weights.js';

/** Keys and values of every layer, and where the rows' new tokens go. Heads have `attentionHeadDimension` elements. */
export interface CachePlaces {
  readonly layers: readonly KeyValueCache[];
  /** u32 [rows]: first cached position each row may see. */
  readonly start: Tensor;
  /** u32 [rows]: where its first new token goes. */
  readonly position: Tensor;
}

/** What the layers read through norms and add to, [tokens, hidden_size]; `delta` is still to be added to `x`. */
interface Stream {
  readonly x: Tensor;
  readonly delta?: Tensor;
}

/**
 * What `transformerForward` computes, for new tokens behind a cache and without gradients, in fewer dispatches: the layers
 * that read one input are one product, and its parts are turned and cached at once. Products of few rows apply the norm
 * before them and add to the stream themselves; for many rows a norm adds what the product before it made.
 *
 * @param rows equally many tokens of each row of the cache, one row's after the other.
 * @returns what {@link inferenceHead} reads.
 */
export function transformerInference(
  graph: Graph,
  config: TransformerConfig,
  weights: TransformerWeights,
  rows: TokenRows,
  cache: CachePlaces,
): Stream {
  const { num_attention_heads: heads } = config;
  const { start, position } = cache;
  const places = { rotaryPositions: rows.positions, rotaryTable: rows.rotaryTable, position, start };
  let stream: Stream = { x: weights.embed(rows.ids, config.pad_token_id) };
  for (let index = 0; index < config.num_hidden_layers; index++) {
    const layer = `model.layers.${index}`;
    const named = (parts: readonly string[]): string[] => parts.map((part) => `${layer}.${part}.weight`);
    const attention = named(joinedLinears.attention);
    const { x, out: projected } = behindNorm(graph, config, weights, stream, {
      norm: `${layer}.input_layernorm`,
      names: attention,
      product: (normed) => weights.joined(attention, normed),
    });
    const attended = attentionWithCache(graph, projected, cache.layers[index], places, heads);
    stream = addProduct(weights, x, `${layer}.self_attn.o_proj.weight`, unpadded(graph, config, attended));
    const mlp = named(joinedLinears.mlp);
    const { x: between, out: gated } = behindNorm(graph, config, weights, stream, {
      norm: `${layer}.post_attention_layernorm`,
      names: mlp,
      gated: true,
      product: (normed) =>
        weights.fused(mlp, normed, { gated: true }) ?? swigluOfHalves(graph, weights.joined(mlp, normed)),
    });
    stream = addProduct(weights, between, `${layer}.mlp.down_proj.weight`, gated);
  }
  return stream;
}

/** {@link languageHead} of what {@link transformerInference} gives. */
export function inferenceHead(
  graph: Graph,
  config: TransformerConfig,
  weights: TransformerWeights,
  stream: Stream,
  ids?: RowRange,
): Tensor {
  const name = headName(config);
  const product = (normed: Tensor): Tensor => weights.linear(name, normed, ids);
  return behindNorm(graph, config, weights, stream, { norm: 'model.norm', names: [name], ids, product }).out;
}

/** A product of layers that read the stream through a norm, and the stream with nothing left to add. */
function behindNorm(
  graph: Graph,
  config: TransformerConfig,
  weights: TransformerWeights,
  { x, delta }: Stream,
  layers: {
    norm: string;
    names: readonly string[];
    gated?: boolean;
    ids?: RowRange | undefined;
    /** What is made of the normed stream where the product does not take the norm. */
    product: (normed: Tensor) => Tensor;
  },
): { x: Tensor; out: Tensor } {
  const { names, gated, ids, product } = layers;
  const gain = weights.parameter(`${layers.norm}.weight`);
  const epsilon = config.rms_norm_eps;
  if (delta) {
    const { sum, normed } = addRmsNorm(graph, x, delta, gain, epsilon);
    return { x: sum, out: product(normed) };
  }
  const fused = weights.fused(names, x, { gated, norm: { gain, epsilon } }, ids);
  return { x, out: fused ?? product(rmsNorm(graph, x, gain, epsilon)) };
}

/** The stream with a layer's product added to it. */
function addProduct(weights: TransformerWeights, x: Tensor, name: string, input: Tensor): Stream {
  const sum = weights.fused([name], input, { addend: x });
  return sum ? { x: sum } : { x, delta: weights.linear(name, input) };
}

/** Heads without the zeros that fill them up in the cache. */
function unpadded(graph: Graph, config: TransformerConfig, attended: Tensor): Tensor {
  const [rows, width] = attended.shape;
  const heads = config.num_attention_heads;
  const dimension = headDimension(config);
  if (width === heads * dimension) return attended;
  const filled = graph.reshape(attended, [rows * heads, width / heads]);
  return graph.reshape(slice(graph, filled, 0, dimension, 1), [rows, heads * dimension]);
}
