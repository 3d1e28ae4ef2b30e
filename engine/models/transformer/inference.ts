import type { Graph, Tensor } from '../../graph/index.js';
import { attentionWithCache, turnAndCache, type KeyValueCache } from '../../ops/attention.js';
import { addRmsNorm, rmsNorm } from '../../ops/rms-norm.js';
import { slice } from '../../ops/slice.js';
import { headDimension, type TransformerConfig } from './config.js';
import type { TokenRows } from './forward.js';
import { joinedLinears, type TransformerWeights } from './weights.js';

/** Keys and values of every layer, and where the rows' new tokens go. Heads have `attentionHeadDimension` elements. */
export interface CachePlaces {
  readonly layers: readonly KeyValueCache[];
  /** u32 [rows]: first cached position each row may see. */
  readonly start: Tensor;
  /** u32 [rows]: where its first new token goes. */
  readonly position: Tensor;
}

/**
 * What `transformerForward` computes, for new tokens behind a cache and without gradients, in fewer dispatches: the layers
 * that read one input are one product, its parts are turned and cached at once, and additions are made by the norms
 * behind them.
 *
 * @param rows equally many tokens of each row of the cache, one row's after the other.
 * @returns the hidden state after the final norm, [tokens, hidden_size].
 */
export function transformerInference(
  graph: Graph,
  config: TransformerConfig,
  weights: TransformerWeights,
  rows: TokenRows,
  cache: CachePlaces,
): Tensor {
  const { num_attention_heads: heads, rms_norm_eps: epsilon } = config;
  const { start, position } = cache;
  const places = { rotaryPositions: rows.positions, rotaryTable: rows.rotaryTable, position };
  const norm = (name: string): Tensor => weights.parameter(`${name}.weight`);
  let sum = weights.embed(rows.ids, config.pad_token_id);
  let normed = rmsNorm(graph, sum, norm('model.layers.0.input_layernorm'), epsilon);
  for (let index = 0; index < config.num_hidden_layers; index++) {
    const layer = `model.layers.${index}`;
    const named = (parts: readonly string[]): string[] => parts.map((part) => `${layer}.${part}.weight`);
    const projected = weights.joined(named(joinedLinears.attention), normed);
    const query = turnAndCache(graph, projected, cache.layers[index], places, heads);
    const attended = attentionWithCache(graph, query, cache.layers[index], { heads, start, position });
    const mixed = weights.linear(`${layer}.self_attn.o_proj.weight`, unpadded(graph, config, attended));
    const between = addRmsNorm(graph, sum, mixed, norm(`${layer}.post_attention_layernorm`), epsilon);
    const gated = weights.gated(named(joinedLinears.mlp), between.normed);
    const down = weights.linear(`${layer}.mlp.down_proj.weight`, gated);
    const last = index === config.num_hidden_layers - 1;
    const next = last ? 'model.norm' : `model.layers.${index + 1}.input_layernorm`;
    ({ sum, normed } = addRmsNorm(graph, between.sum, down, norm(next), epsilon));
  }
  return normed;
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
