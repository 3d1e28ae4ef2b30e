/** The fields of the hub's Emu3 config.json that shape the computation, under the hub's names. */
export interface TransformerConfig {
  vocab_size: number;
  hidden_size: number;
  intermediate_size: number;
  num_hidden_layers: number;
  num_attention_heads: number;
  num_key_value_heads: number;
  max_position_embeddings: number;
  rms_norm_eps: number;
  rope_theta: number;
  rope_scaling: { type: 'linear' | 'dynamic'; factor: number } | null;
  attention_dropout: number;
  tie_word_embeddings: boolean;
  /** Its embedding row gets no gradient. */
  pad_token_id: number;
}

export function headDimension(config: TransformerConfig): number {
  return config.hidden_size / config.num_attention_heads;
}

/**
 * Elements of a head as attention and its caches hold them: the head dimension filled up with zeros to a multiple of 4,
 * so that kernels can read vectors.
 */
export function attentionHeadDimension(config: TransformerConfig): number {
  return Math.ceil(headDimension(config) / 4) * 4;
}
