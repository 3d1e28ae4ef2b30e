import { loraTargets, type LoraOptions, type LoraTarget } from '../../engine/models/transformer/index.js';
import { isRecord, parseJsonObject, quote } from '../json.js';
import { ConfigFields } from './fields.js';

/** What an adapter_config.json says. */
export interface AdapterConfig extends Required<LoraOptions> {
  /** Name or path of the model the adapters were trained on. */
  readonly baseModel: string | undefined;
}

/** Fields of PEFT that change what is computed, in ways that are not implemented: they must be false ... */
const switches = ['fan_in_fan_out', 'use_rslora', 'use_dora', 'lora_bias', 'use_qalora'];
/** ... or empty. */
const refinements = [
  'rank_pattern',
  'alpha_pattern',
  'layers_to_transform',
  'layer_replication',
  'exclude_modules',
  'modules_to_save',
  'target_parameters',
  'trainable_token_indices',
];

/**
 * Parses an adapter_config.json of PEFT: plain LoRA, for a causal language model, on the linear layers of the decoder.
 * @param where file, for messages
 * @throws Emu3Error `config` naming the field, other kinds of adapters included; `duplicate`.
 */
export function parseAdapterConfig(text: string, where: string): AdapterConfig {
  const json = parseJsonObject(text, where, 'config');
  const fields = new ConfigFields(json, where);
  if (fields.raw('peft_type') === undefined) throw fields.error('peft_type', 'is missing');
  fields.oneOf('peft_type', ['LORA']);
  fields.oneOf('task_type', ['CAUSAL_LM']);
  fields.oneOf('bias', ['none']);
  const fix = 'Train or convert the adapters as plain LoRA, or merge them where they come from.';
  for (const name of switches) {
    if (fields.boolean(name, false)) throw fields.error(name, 'is true, which is not supported', fix);
  }
  for (const name of refinements) {
    const value = fields.raw(name);
    const empty = value === undefined || (isRecord(value) ? Object.keys(value) : [value].flat()).length === 0;
    if (!empty) throw fields.error(name, `is ${quote(value)}, which is not supported`, fix);
  }
  const baseModel = fields.raw('base_model_name_or_path');
  if (baseModel !== undefined && typeof baseModel !== 'string') {
    throw fields.error('base_model_name_or_path', `must be a string, not ${quote(baseModel)}`);
  }
  const rank = fields.integer('r', 8, 1);
  return {
    rank,
    alpha: fields.positive('lora_alpha', 8),
    targets: readTargets(fields),
    dropout: fields.probability('lora_dropout', 0),
    baseModel,
  };
}

function readTargets(fields: ConfigFields): LoraTarget[] {
  const value = fields.raw('target_modules');
  const names: unknown[] = Array.isArray(value) ? value : [];
  const targets = loraTargets.filter((target) => names.includes(target));
  const unknown = names.find((name) => !targets.some((target) => target === name));
  if (targets.length > 0 && unknown === undefined) return targets;
  const expected = `must be a list of ${loraTargets.join(', ')}`;
  throw fields.error('target_modules', `${expected}, not ${quote(unknown ?? value)}`);
}

/** The adapter_config.json of adapters, as PEFT reads it. */
export function adapterConfigJson(options: Required<LoraOptions>, baseModel: string | undefined): string {
  const config = {
    base_model_name_or_path: baseModel ?? null,
    bias: 'none',
    fan_in_fan_out: false,
    inference_mode: true,
    init_lora_weights: true,
    lora_alpha: options.alpha,
    lora_dropout: options.dropout,
    modules_to_save: null,
    peft_type: 'LORA',
    r: options.rank,
    target_modules: options.targets,
    task_type: 'CAUSAL_LM',
    use_dora: false,
    use_rslora: false,
  };
  return `${JSON.stringify(config, null, 2)}\n`;
}
