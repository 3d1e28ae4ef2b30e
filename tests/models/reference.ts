import { headDimension, type TransformerConfig } from '../../engine/models/transformer/index.js';
import { attentionReference } from '../../kernels/attention/reference.js';
import { crossEntropyReference } from '../../kernels/cross-entropy/reference.js';
import { embeddingReference } from '../../kernels/embedding/reference.js';
import { matmulReference } from '../../kernels/matmul/reference.js';
import { rmsNormReference } from '../../kernels/rms-norm/reference.js';
import { rotaryFrequencies } from '../../kernels/rotary/index.js';
import { rotaryReference } from '../../kernels/rotary/reference.js';
import { swigluReference } from '../../kernels/swiglu/reference.js';

export type Weights = Readonly<Record<string, Float64Array>>;

/** The transformer in float64, put together from the kernels' references: logits [batch * length, vocab_size]. */
export function transformerReference(
  config: TransformerConfig,
  weights: Weights,
  tokens: { batch: number; length: number; ids: ArrayLike<number>; leftPadding: readonly number[] },
): Float64Array {
  const { batch, length, ids, leftPadding } = tokens;
  const rows = batch * length;
  const { hidden_size: hidden, rms_norm_eps: epsilon } = config;
  const frequencies = rotaryFrequencies(
    {
      headDimension: headDimension(config),
      base: config.rope_theta,
      maxPositions: config.max_position_embeddings,
      scaling: config.rope_scaling ?? undefined,
    },
    length,
  );
  const start = Uint32Array.from({ length: rows }, (_, row) => leftPadding[Math.floor(row / length)]);
  const positions = Uint32Array.from({ length: rows }, (_, row) => Math.max(0, (row % length) - start[row]));
  const shape = {
    batch,
    length,
    heads: config.num_attention_heads,
    keyValueHeads: config.num_key_value_heads,
    headDimension: headDimension(config),
  };
  const linear = (x: Float64Array, name: string): Float64Array => {
    const depth = x.length / rows;
    return matmulReference(x, weights[name], {
      m: rows,
      n: weights[name].length / depth,
      depth,
      transposeB: true,
    });
  };
  const sum = (a: Float64Array, b: Float64Array): Float64Array => a.map((value, index) => value + b[index]);
  let x = embeddingReference(ids, weights['model.embed_tokens.weight'], hidden);
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const name = (part: string): string => `model.layers.${layer}.${part}.weight`;
    const normed = rmsNormReference(x, weights[name('input_layernorm')], epsilon);
    const q = rotaryReference(linear(normed, name('self_attn.q_proj')), positions, frequencies, shape.heads);
    const k = rotaryReference(linear(normed, name('self_attn.k_proj')), positions, frequencies, shape.keyValueHeads);
    const mixed = attentionReference(q, k, linear(normed, name('self_attn.v_proj')), start, shape);
    x = sum(x, linear(mixed, name('self_attn.o_proj')));
    const again = rmsNormReference(x, weights[name('post_attention_layernorm')], epsilon);
    const gated = swigluReference(linear(again, name('mlp.gate_proj')), linear(again, name('mlp.up_proj')));
    x = sum(x, linear(gated, name('mlp.down_proj')));
  }
  const head = config.tie_word_embeddings ? 'model.embed_tokens.weight' : 'lm_head.weight';
  return linear(rmsNormReference(x, weights['model.norm.weight'], epsilon), head);
}

/** Mean cross-entropy over the targets that are not ignored. */
export function meanLossReference(logits: Float64Array, targets: ArrayLike<number>, vocabulary: number): number {
  const { loss } = crossEntropyReference(logits, targets, vocabulary);
  const learned = Array.from(targets).filter((target) => target >= 0).length;
  return loss.reduce((total, value) => total + value, 0) / learned;
}
