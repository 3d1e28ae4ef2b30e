import { isRecord, parseJsonObject, quote } from '../json.js';
import { ConfigFields } from './fields.js';

/** Stretching of rotary positions: `linear` divides positions by `factor`, `dynamic` grows the base beyond the context. */
export interface RopeScaling {
  type: 'linear' | 'dynamic';
  /** Above 1. */
  factor: number;
}

/** The transformer's config, field by field as in the hub's config.json. */
export interface Emu3Config {
  vocab_size: number;
  hidden_size: number;
  intermediate_size: number;
  num_hidden_layers: number;
  num_attention_heads: number;
  num_key_value_heads: number;
  max_position_embeddings: number;
  rms_norm_eps: number;
  rope_theta: number;
  rope_scaling: RopeScaling | null;
  /** Used in training on embeddings, attention probabilities, attention output and MLP output. In [0, 1). */
  attention_dropout: number;
  initializer_range: number;
  tie_word_embeddings: boolean;
  /** Pixel area pictures are generated at. */
  image_area: number;
  pad_token_id: number;
  bos_token_id: number;
  eos_token_id: number;
  /** `<|image token|>`, which starts the vision tokens. */
  img_token_id: number;
  boi_token_id: number;
  eoi_token_id: number;
  eol_token_id: number;
  eof_token_id: number;
}

const TRANSFORMER_TYPES = ['Emu3', 'emu3', 'emu3_text_model'];

/**
 * Parses a config.json of the original release or of the Transformers port (there the fields lie in `text_config`).
 * A field that is absent has the value of the released 8B model, as savers leave such fields out.
 * @param where file, for messages
 * @throws Emu3Error `config` naming the field, `duplicate`.
 */
export function parseTransformerConfig(text: string, where: string): Emu3Config {
  const json = parseJsonObject(text, where, 'config');
  new ConfigFields(json, where).oneOf('model_type', TRANSFORMER_TYPES);
  const nested = json['text_config'];
  return isRecord(nested) ? readTransformerConfig(nested, `${where}: text_config`) : readTransformerConfig(json, where);
}

function readTransformerConfig(json: Readonly<Record<string, unknown>>, where: string): Emu3Config {
  const fields = new ConfigFields(json, where);
  fields.oneOf('model_type', TRANSFORMER_TYPES);
  fields.oneOf('hidden_act', ['silu']);
  for (const bias of ['attention_bias', 'mlp_bias']) {
    if (fields.boolean(bias, false)) throw fields.error(bias, 'is true, but Emu3 has no such biases');
  }
  const heads = fields.integer('num_attention_heads', 32, 1);
  const vocabulary = fields.integer('vocab_size', 184622, 1);
  const token = (name: string, fallback: number): number => {
    const id = fields.integer(name, fallback, 0);
    if (id < vocabulary) return id;
    const absent = fields.raw(name) === undefined ? 'absent, and the released ' : '';
    throw fields.error(name, `is ${absent}${id}, outside the vocabulary of ${vocabulary}`);
  };
  const rope = fields.raw('rope_parameters');
  const ropeFields = isRecord(rope) && rope['rope_theta'] !== undefined ? new ConfigFields(rope, where) : fields;
  const config: Emu3Config = {
    vocab_size: vocabulary,
    hidden_size: fields.integer('hidden_size', 4096, 1),
    intermediate_size: fields.integer('intermediate_size', 14336, 1),
    num_hidden_layers: fields.integer('num_hidden_layers', 32, 1),
    num_attention_heads: heads,
    num_key_value_heads: fields.integer('num_key_value_heads', Math.min(8, heads), 1),
    max_position_embeddings: fields.integer('max_position_embeddings', 9216, 1),
    rms_norm_eps: fields.positive('rms_norm_eps', 1e-5),
    rope_theta: ropeFields.positive('rope_theta', 1e6),
    rope_scaling: readRopeScaling(fields),
    attention_dropout: fields.probability('attention_dropout', 0.1),
    initializer_range: fields.positive('initializer_range', 0.02),
    tie_word_embeddings: fields.boolean('tie_word_embeddings', false),
    image_area: fields.integer('image_area', 518400, 1),
    pad_token_id: token('pad_token_id', 151643),
    bos_token_id: token('bos_token_id', 151849),
    eos_token_id: token('eos_token_id', 151850),
    img_token_id: token('img_token_id', 151851),
    boi_token_id: token('boi_token_id', 151852),
    eoi_token_id: token('eoi_token_id', 151853),
    eol_token_id: token('eol_token_id', 151846),
    eof_token_id: token('eof_token_id', 151847),
  };
  if (config.hidden_size % (2 * heads) !== 0) {
    const problem = `is ${config.hidden_size}, which does not give ${heads} heads an even number of dimensions each`;
    throw fields.error('hidden_size', problem);
  }
  const headDim = fields.integer('head_dim', config.hidden_size / heads, 1);
  if (headDim !== config.hidden_size / heads) {
    throw fields.error(
      'head_dim',
      `is ${headDim}, but hidden_size / num_attention_heads is ${config.hidden_size / heads}`,
    );
  }
  if (heads % config.num_key_value_heads !== 0) {
    const problem = `is ${config.num_key_value_heads}, which does not divide num_attention_heads (${heads})`;
    throw fields.error('num_key_value_heads', problem);
  }
  return config;
}

function readRopeScaling(fields: ConfigFields): RopeScaling | null {
  const scaling = fields.raw('rope_scaling', 'rope_parameters');
  if (scaling === undefined) return null;
  if (!isRecord(scaling)) throw fields.error('rope_scaling', 'must be null or an object with "type" and "factor"');
  const type = scaling['type'] ?? scaling['rope_type'] ?? 'default';
  if (type === 'default') return null;
  if (type !== 'linear' && type !== 'dynamic') {
    throw fields.error('rope_scaling.type', `must be linear or dynamic, not ${quote(type)}`);
  }
  const factor = scaling['factor'];
  if (typeof factor !== 'number' || !Number.isFinite(factor) || factor <= 1) {
    throw fields.error('rope_scaling.factor', `must be a number above 1, not ${quote(factor)}`);
  }
  return { type, factor };
}
