import type { TransformerConfig } from '../../engine/models/transformer/index.js';
import type { Emu3VisionVQConfig } from './vision.js';

/** Original tensor name -> row-major shape. */
export type TensorShapes = Map<string, readonly number[]>;

/**
 * Every tensor of the transformer. Linear weights are [out, in]; there are no biases.
 * With tied embeddings there is no `lm_head.weight`.
 */
export function transformerTensorShapes(config: TransformerConfig): TensorShapes {
  const { hidden_size: hidden, intermediate_size: intermediate, vocab_size: vocabulary } = config;
  const keyValue = (hidden / config.num_attention_heads) * config.num_key_value_heads;
  const shapes: TensorShapes = new Map();
  shapes.set('model.embed_tokens.weight', [vocabulary, hidden]);
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const prefix = `model.layers.${layer}`;
    shapes.set(`${prefix}.self_attn.q_proj.weight`, [hidden, hidden]);
    shapes.set(`${prefix}.self_attn.k_proj.weight`, [keyValue, hidden]);
    shapes.set(`${prefix}.self_attn.v_proj.weight`, [keyValue, hidden]);
    shapes.set(`${prefix}.self_attn.o_proj.weight`, [hidden, hidden]);
    shapes.set(`${prefix}.mlp.gate_proj.weight`, [intermediate, hidden]);
    shapes.set(`${prefix}.mlp.up_proj.weight`, [intermediate, hidden]);
    shapes.set(`${prefix}.mlp.down_proj.weight`, [hidden, intermediate]);
    shapes.set(`${prefix}.input_layernorm.weight`, [hidden]);
    shapes.set(`${prefix}.post_attention_layernorm.weight`, [hidden]);
  }
  shapes.set('model.norm.weight', [hidden]);
  if (!config.tie_word_embeddings) shapes.set('lm_head.weight', [vocabulary, hidden]);
  return shapes;
}

/**
 * Every tensor of the vision tokenizer, BatchNorm statistics included. Convolutions are [out, in, (time,) height, width].
 * The scalars `num_batches_tracked` (shape []) are listed too; a checkpoint may lack them.
 */
export function visionTensorShapes(config: Emu3VisionVQConfig): TensorShapes {
  const shapes: TensorShapes = new Map();
  addEncoder(shapes, config);
  addDecoder(shapes, config);
  shapes.set('quantize.embedding.weight', [config.codebook_size, config.embed_dim]);
  addConv(shapes, 'quant_conv.conv', config.z_channels, config.embed_dim, [3, 1, 1]);
  addConv(shapes, 'post_quant_conv.conv', config.embed_dim, config.z_channels, [3, 1, 1]);
  return shapes;
}

/** Shapes without BatchNorm's counters of batches, which no computation reads. */
export function withoutCounters(shapes: TensorShapes): TensorShapes {
  return new Map([...shapes].filter(([name]) => !name.endsWith('.num_batches_tracked')));
}

function addEncoder(shapes: TensorShapes, config: Emu3VisionVQConfig): void {
  const { ch, z_channels: latent } = config;
  addConv(shapes, 'encoder.conv_in', config.in_channels, ch, [3, 3]);
  let channels = ch;
  config.ch_mult.forEach((multiplier, level) => {
    const prefix = `encoder.down.${level}`;
    for (let block = 0; block < config.num_res_blocks; block++) {
      addResidualBlock(shapes, `${prefix}.block.${block}`, channels, ch * multiplier);
      channels = ch * multiplier;
      if (config.attn_resolutions.includes(level)) addAttention(shapes, `${prefix}.attn.${block}`, channels);
    }
    if (level < config.ch_mult.length - 1) addConv(shapes, `${prefix}.downsample.conv`, channels, channels, [3, 3]);
  });
  addMiddle(shapes, 'encoder.mid', channels);
  addNorm(shapes, 'encoder.norm_out', channels);
  addConv(shapes, 'encoder.conv_out', channels, latent, [3, 3]);
  for (let index = 0; index < temporalStages(config); index++) {
    addConv(shapes, `encoder.time_conv.${index}.conv.conv`, latent, latent, [4, 3, 3]);
  }
  addTemporalBlocks(shapes, 'encoder.time_res_stack', config);
}

function addDecoder(shapes: TensorShapes, config: Emu3VisionVQConfig): void {
  const { ch, z_channels: latent, embed_dim: condition } = config;
  addTemporalBlocks(shapes, 'decoder.time_res_stack', config);
  for (let index = 0; index < temporalStages(config); index++) {
    addConv(shapes, `decoder.time_conv.${index}.conv.conv`, latent, latent, [3, 3, 3]);
  }
  let channels = ch * (config.ch_mult.at(-1) ?? 1);
  addConv(shapes, 'decoder.conv_in', latent, channels, [3, 3]);
  addMiddle(shapes, 'decoder.mid', channels, condition);
  for (let level = config.ch_mult.length - 1; level >= 0; level--) {
    const prefix = `decoder.up.${level}`;
    const output = ch * (config.ch_mult[level] ?? 1);
    for (let block = 0; block <= config.num_res_blocks; block++) {
      addResidualBlock(shapes, `${prefix}.block.${block}`, channels, output, condition);
      channels = output;
      if (config.attn_resolutions.includes(level)) addAttention(shapes, `${prefix}.attn.${block}`, channels, condition);
    }
    if (level > 0) addConv(shapes, `${prefix}.upsample.conv`, channels, channels, [3, 3]);
  }
  addNorm(shapes, 'decoder.norm_out', channels, condition);
  addConv(shapes, 'decoder.conv_out', channels, config.out_channels, [3, 3]);
}

function temporalStages(config: Emu3VisionVQConfig): number {
  return Math.log2(config.temporal_downsample_factor);
}

function addConv(shapes: TensorShapes, name: string, input: number, output: number, kernel: readonly number[]): void {
  shapes.set(`${name}.weight`, [output, input, ...kernel]);
  shapes.set(`${name}.bias`, [output]);
}

/** GroupNorm; with `condition` channels, the decoder's spatially conditioned form of it. */
function addNorm(shapes: TensorShapes, name: string, channels: number, condition?: number): void {
  const norm = condition === undefined ? name : `${name}.norm_layer`;
  shapes.set(`${norm}.weight`, [channels]);
  shapes.set(`${norm}.bias`, [channels]);
  if (condition === undefined) return;
  addConv(shapes, `${name}.conv_y`, condition, channels, [1, 1]);
  addConv(shapes, `${name}.conv_b`, condition, channels, [1, 1]);
}

function addResidualBlock(shapes: TensorShapes, name: string, input: number, output: number, condition?: number): void {
  addNorm(shapes, `${name}.norm1`, input, condition);
  addConv(shapes, `${name}.conv1`, input, output, [3, 3]);
  addNorm(shapes, `${name}.norm2`, output, condition);
  addConv(shapes, `${name}.conv2`, output, output, [3, 3]);
  if (input !== output) addConv(shapes, `${name}.nin_shortcut`, input, output, [1, 1]);
}

function addAttention(shapes: TensorShapes, name: string, channels: number, condition?: number): void {
  addNorm(shapes, `${name}.norm`, channels, condition);
  for (const projection of ['q', 'k', 'v', 'proj_out']) {
    addConv(shapes, `${name}.${projection}`, channels, channels, [1, 1]);
  }
}

function addMiddle(shapes: TensorShapes, name: string, channels: number, condition?: number): void {
  addResidualBlock(shapes, `${name}.block_1`, channels, channels, condition);
  addAttention(shapes, `${name}.attn_1`, channels, condition);
  addResidualBlock(shapes, `${name}.block_2`, channels, channels, condition);
}

function addTemporalBlocks(shapes: TensorShapes, name: string, config: Emu3VisionVQConfig): void {
  const channels = config.z_channels;
  for (let block = 0; block < config.num_res_blocks; block++) {
    for (const half of [1, 2]) {
      const norm = `${name}.${block}.norm${half}`;
      for (const part of ['weight', 'bias', 'running_mean', 'running_var']) shapes.set(`${norm}.${part}`, [channels]);
      shapes.set(`${norm}.num_batches_tracked`, []);
      addConv(shapes, `${name}.${block}.conv${half}.conv`, channels, channels, [3, 3, 3]);
    }
  }
}
