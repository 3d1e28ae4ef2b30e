import { isRecord, parseJsonObject } from '../json.js';
import { ConfigFields } from './fields.js';

/** The vision tokenizer's config, field by field as in the hub's config.json. */
export interface Emu3VisionVQConfig {
  codebook_size: number;
  /** Dimensions of a codebook row. */
  embed_dim: number;
  /** Channels of the latent; equal to embed_dim, as both go through the same temporal layers. */
  z_channels: number;
  double_z: false;
  in_channels: number;
  out_channels: number;
  /** Frames that become one latent frame: a power of two. */
  temporal_downsample_factor: number;
  /** Channels of the first level; every level's channels are a multiple of 32 (GroupNorm). */
  ch: number;
  /** Channels of each level as a multiple of `ch`. */
  ch_mult: number[];
  num_res_blocks: number;
  /** Indices of the levels with attention. */
  attn_resolutions: number[];
  dropout: number;
}

const VISION_TYPES = ['Emu3VisionVQ', 'emu3_vqgan', 'emu3'];
const NORM_GROUPS = 32;

/**
 * Parses a config.json of the original release or of the Transformers port (`vq_config`, with fields renamed to
 * base_channels, channel_multiplier, latent_channels and double_latent). Absent fields have the released model's values.
 * @param where file, for messages
 * @throws Emu3Error `config` naming the field, `duplicate`.
 */
export function parseVisionConfig(text: string, where: string): Emu3VisionVQConfig {
  const json = parseJsonObject(text, where, 'config');
  new ConfigFields(json, where).oneOf('model_type', VISION_TYPES);
  const nested = json['vq_config'];
  return isRecord(nested) ? readVisionConfig(nested, `${where}: vq_config`) : readVisionConfig(json, where);
}

function readVisionConfig(json: Readonly<Record<string, unknown>>, where: string): Emu3VisionVQConfig {
  const fields = new ConfigFields(json, where);
  fields.oneOf('model_type', VISION_TYPES);
  if (fields.boolean(['double_z', 'double_latent'], false)) {
    throw fields.error('double_z', 'is true, which the layers behind the encoder cannot take');
  }
  const config: Emu3VisionVQConfig = {
    codebook_size: fields.integer('codebook_size', 32768, 1),
    embed_dim: fields.integer('embed_dim', 4, 1),
    z_channels: fields.integer(['z_channels', 'latent_channels'], 4, 1),
    double_z: false,
    in_channels: fields.integer('in_channels', 3, 1),
    out_channels: fields.integer('out_channels', 3, 1),
    temporal_downsample_factor: fields.integer('temporal_downsample_factor', 4, 1),
    ch: fields.integer(['ch', 'base_channels'], 256, 1),
    ch_mult: fields.integers(['ch_mult', 'channel_multiplier'], [1, 2, 2, 4], 1),
    num_res_blocks: fields.integer('num_res_blocks', 2, 1),
    attn_resolutions: fields.integers(['attn_resolutions'], [3], 0),
    dropout: fields.probability('dropout', 0),
  };
  if (config.ch_mult.length === 0) throw fields.error('ch_mult', 'must name at least one level');
  for (const multiplier of config.ch_mult) {
    if ((config.ch * multiplier) % NORM_GROUPS !== 0) {
      throw fields.error('ch', `times ${multiplier} is ${config.ch * multiplier}, no multiple of ${NORM_GROUPS}`);
    }
  }
  const factor = config.temporal_downsample_factor;
  if (!Number.isInteger(Math.log2(factor))) {
    throw fields.error('temporal_downsample_factor', `must be a power of two, not ${factor}`);
  }
  if (config.embed_dim !== config.z_channels) {
    throw fields.error('embed_dim', `is ${config.embed_dim}, but must equal z_channels (${config.z_channels})`);
  }
  checkPortAttention(fields, config);
  return config;
}

/** The port states the attention's width and heads, which the original derives; they must agree. */
function checkPortAttention(fields: ConfigFields, config: Emu3VisionVQConfig): void {
  if (fields.integer('num_attention_heads', 1, 1) !== 1) {
    throw fields.error('num_attention_heads', 'must be 1');
  }
  const width = config.ch * (config.ch_mult.at(-1) ?? 1);
  const stated = fields.integer('hidden_size', width, 1);
  if (stated !== width) {
    throw fields.error('hidden_size', `is ${stated}, but the attention works on ${width} channels`);
  }
}
