import { rotaryTable } from '../../../kernels/rotary/index.js';
import { checkpoint, type Graph, type Tensor } from '../../graph/index.js';
import { add, scale } from '../../ops/elementwise.js';
import { attention } from '../../ops/attention.js';
import { dropout } from '../../ops/dropout.js';
import { rmsNorm } from '../../ops/rms-norm.js';
import { rotary } from '../../ops/rotary.js';
import { pad, slice } from '../../ops/slice.js';
import { swiglu } from '../../ops/swiglu.js';
import { attentionHeadDimension, headDimension, type TransformerConfig } from './config.js';
import { embeddingTable, type LayerLinear, type LayerNorm, type RowRange, type TransformerWeights } from './weights.js';

/** One token per row; rows of one sequence follow each other. */
export interface TokenRows {
  /** u32 [rows]: token ids. */
  readonly ids: Tensor;
  /** u32 [rows]: positions for the rotary embedding. */
  readonly positions: Tensor;
  /** f32 [positions, head dimension]: from {@link transformerRotaryTable}. */
  readonly rotaryTable: Tensor;
}

/** How a layer's queries meet keys and values over whole sequences. Heads have `attentionHeadDimension` elements. */
export type Attend = (layer: number, query: Tensor, key: Tensor, value: Tensor) => Tensor;

export interface ForwardOptions {
  /** Dropout on the embeddings, the attention output and the MLP output, as the released training code has it. */
  dropout?: { rate: number; state: Tensor } | undefined;
  /** Keep only the layers' inputs for the backward pass and compute the rest again. */
  recompute?: boolean;
}

export interface TransformerActivations {
  /** Token embeddings, [rows, hidden_size]. */
  readonly embeddings: Tensor;
  /** Output of each layer, [rows, hidden_size]. */
  readonly layers: readonly Tensor[];
  /** After the final norm, [rows, hidden_size]: what the head reads. */
  readonly hidden: Tensor;
}

/** Sites of dropout within a layer; layer `n` uses `n * sitesPerLayer + site`. */
export const dropoutSites = { attention: 0, attentionOutput: 1, mlpOutput: 2, perLayer: 3 } as const;
const embeddingSite = 0xffffffff;

/** Cosines and sines for positions below `length`, with the config's scaling, as data for {@link TokenRows.rotaryTable}. */
export function transformerRotaryTable(config: TransformerConfig, length: number): Float32Array<ArrayBuffer> {
  return rotaryTable(
    {
      headDimension: headDimension(config),
      base: config.rope_theta,
      maxPositions: config.max_position_embeddings,
      scaling: config.rope_scaling ?? undefined,
    },
    length,
  );
}

/**
 * The Emu3 transformer up to the final norm (arXiv 2409.18869, section 2.2; Llama-2 layout): token embedding, then per
 * layer `x += o(attend(rope(q(norm x)), rope(k(norm x)), v(norm x)))` and `x += down(silu(gate(norm x)) * up(norm x))`.
 */
export function transformerForward(
  graph: Graph,
  config: TransformerConfig,
  weights: TransformerWeights,
  rows: TokenRows,
  attend: Attend,
  options: ForwardOptions = {},
): TransformerActivations {
  let x = weights.embed(rows.ids, config.pad_token_id);
  const embeddings = x;
  if (options.dropout) x = dropout(graph, x, { ...options.dropout, site: embeddingSite });
  const layers: Tensor[] = [];
  for (let index = 0; index < config.num_hidden_layers; index++) {
    const input = x;
    const layer = (): readonly [Tensor] => [decoderLayer(graph, config, weights, rows, attend, options, index, input)];
    [x] = options.recompute ? checkpoint(graph, [input], weights.trained(index), layer) : layer();
    layers.push(x);
  }
  const hidden = rmsNorm(graph, x, weights.parameter('model.norm.weight'), config.rms_norm_eps);
  return { embeddings, layers, hidden };
}

function decoderLayer(
  graph: Graph,
  config: TransformerConfig,
  weights: TransformerWeights,
  rows: TokenRows,
  attend: Attend,
  options: ForwardOptions,
  layer: number,
  x: Tensor,
): Tensor {
  const name = (part: LayerLinear | LayerNorm): string => `model.layers.${layer}.${part}.weight`;
  const linear = (value: Tensor, part: LayerLinear): Tensor => weights.linear(name(part), value);
  const norm = (value: Tensor, part: LayerNorm): Tensor =>
    rmsNorm(graph, value, weights.parameter(name(part)), config.rms_norm_eps);
  const drop = (value: Tensor, site: number): Tensor =>
    options.dropout ? dropout(graph, value, { ...options.dropout, site: layer * dropoutSites.perLayer + site }) : value;
  const turn = (value: Tensor): Tensor => rotary(graph, value, rows.positions, rows.rotaryTable);

  const normed = norm(x, 'input_layernorm');
  const query = turn(linear(normed, 'self_attn.q_proj'));
  const key = turn(linear(normed, 'self_attn.k_proj'));
  const value = linear(normed, 'self_attn.v_proj');
  const attended = attendPadded(graph, config, attend, layer, query, key, value);
  const mixed = linear(attended, 'self_attn.o_proj');
  const afterAttention = add(graph, x, drop(mixed, dropoutSites.attentionOutput));

  const normedAgain = norm(afterAttention, 'post_attention_layernorm');
  const gate = linear(normedAgain, 'mlp.gate_proj');
  const up = linear(normedAgain, 'mlp.up_proj');
  const down = linear(swiglu(graph, gate, up), 'mlp.down_proj');
  return add(graph, afterAttention, drop(down, dropoutSites.mlpOutput));
}

/** Attention on heads filled up with zeros, which change no product; the larger dimension's scale is made up for. */
function attendPadded(
  graph: Graph,
  config: TransformerConfig,
  attend: Attend,
  layer: number,
  query: Tensor,
  key: Tensor,
  value: Tensor,
): Tensor {
  const [plain, padded] = [headDimension(config), attentionHeadDimension(config)];
  if (plain === padded) return attend(layer, query, key, value);
  const widen = (x: Tensor): Tensor => {
    const heads = x.shape[1] / plain;
    const wide = pad(graph, graph.reshape(x, [x.shape[0] * heads, plain]), padded, 1);
    return graph.reshape(wide, [x.shape[0], heads * padded]);
  };
  const out = attend(layer, widen(scale(graph, query, Math.sqrt(padded / plain))), widen(key), widen(value));
  const heads = graph.reshape(out, [query.shape[0] * config.num_attention_heads, padded]);
  return graph.reshape(slice(graph, heads, 0, plain, 1), query.shape);
}

/** Attention over whole sequences of equal length, `[batch * length]` rows; see `attention` for `start`. */
export function attendSequences(
  graph: Graph,
  config: TransformerConfig,
  sequences: { batch: number; length: number; start: Tensor },
  options: ForwardOptions = {},
): Attend {
  return (layer, query, key, value) =>
    attention(graph, query, key, value, sequences.start, {
      batch: sequences.batch,
      length: sequences.length,
      heads: config.num_attention_heads,
      keyValueHeads: config.num_key_value_heads,
      headDimension: attentionHeadDimension(config),
      dropout: options.dropout && {
        ...options.dropout,
        site: layer * dropoutSites.perLayer + dropoutSites.attention,
      },
    });
}

/**
 * Logits [rows, vocab_size] of the hidden state; with `ids` those of these ids are the last columns, see
 * {@link TransformerWeights.linear}.
 */
export function languageHead(
  config: TransformerConfig,
  weights: TransformerWeights,
  hidden: Tensor,
  ids?: RowRange,
): Tensor {
  return weights.linear(headName(config), hidden, ids);
}

/** Hub name of the head's weight. */
export function headName(config: TransformerConfig): string {
  return config.tie_word_embeddings ? embeddingTable : 'lm_head.weight';
}
