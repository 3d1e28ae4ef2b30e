/**
 * Tensor names. The engine speaks one language, the names of the original release (`model.layers.0…`, `encoder.down.0…`);
 * checkpoints of the Transformers port use others for the same tensors. One table translates both ways.
 */

/**
 * Original name on the left, name inside the Transformers port on the right. `{n}` is a number, `{rest}` everything up
 * to the end. The first row whose pattern fits the whole name counts, so special rows stand above general ones.
 */
const TABLE: readonly (readonly [original: string, port: string])[] = [
  ['model.{rest}', 'text_model.model.{rest}'],
  ['lm_head.{rest}', 'text_model.lm_head.{rest}'],

  ...visionRows('encoder.mid.attn_1', 'vqmodel.encoder.middle_block.attn_1', 'vqmodel.encoder.middle_block.attn_norm'),
  ...visionRows('decoder.mid.attn_1', 'vqmodel.decoder.middle_block.attn_1', 'vqmodel.decoder.middle_block.attn_norm'),
  ...visionRows(
    'encoder.down.{n}.attn.{n}',
    'vqmodel.encoder.down_block.down.{n}.attn.{n}',
    'vqmodel.encoder.down_block.down.{n}.attn_norms.{n}',
  ),
  ...visionRows(
    'decoder.up.{n}.attn.{n}',
    'vqmodel.decoder.up_block.up.{n}.attn.{n}',
    'vqmodel.decoder.up_block.up.{n}.attn_norms.{n}',
  ),
  ['encoder.mid.{rest}', 'vqmodel.encoder.middle_block.{rest}'],
  ['decoder.mid.{rest}', 'vqmodel.decoder.middle_block.{rest}'],
  ['encoder.down.{rest}', 'vqmodel.encoder.down_block.down.{rest}'],
  ['decoder.up.{rest}', 'vqmodel.decoder.up_block.up.{rest}'],
  ['encoder.{rest}', 'vqmodel.encoder.{rest}'],
  ['decoder.{rest}', 'vqmodel.decoder.{rest}'],
  ['quantize.{rest}', 'vqmodel.quantize.{rest}'],
  ['quant_conv.{rest}', 'vqmodel.quant_conv.{rest}'],
  ['post_quant_conv.{rest}', 'vqmodel.post_quant_conv.{rest}'],
];

/** Later ports moved the same modules: name beginning -> beginning in the first port. */
const LATER_PREFIXES: readonly (readonly [later: string, first: string])[] = [
  ['model.text_model.', 'text_model.model.'],
  ['model.vqmodel.', 'vqmodel.'],
];

/** The port keeps an attention's norm beside it, makes its 1x1 convolutions linear layers and renames them. */
function visionRows(original: string, port: string, portNorm: string): (readonly [string, string])[] {
  return [
    [`${original}.norm.{rest}`, `${portNorm}.{rest}`],
    [`${original}.q.{rest}`, `${port}.q_proj.{rest}`],
    [`${original}.k.{rest}`, `${port}.k_proj.{rest}`],
    [`${original}.v.{rest}`, `${port}.v_proj.{rest}`],
    [`${original}.proj_out.{rest}`, `${port}.out_proj.{rest}`],
  ];
}

interface Rule {
  pattern: RegExp;
  parts: string[];
}

const PLACEHOLDER = /\{(?:n|rest)\}/;

function compile(from: string, to: string): Rule {
  const source = from.replaceAll('.', '\\.').replaceAll('{n}', '(\\d+)').replaceAll('{rest}', '(.+)');
  return { pattern: new RegExp(`^${source}$`), parts: to.split(PLACEHOLDER) };
}

const TO_ORIGINAL = TABLE.map(([original, port]) => compile(port, original));
const TO_PORT = TABLE.map(([original, port]) => compile(original, port));

function translate(name: string, rules: readonly Rule[]): string | undefined {
  for (const { pattern, parts } of rules) {
    const match = pattern.exec(name);
    if (match) return parts.map((part, index) => part + (match[index + 1] ?? '')).join('');
  }
  return undefined;
}

/** What PEFT writes in front of the names of adapters. */
const ADAPTER_PREFIX = 'base_model.model.';

/**
 * The original release's name of a tensor named by it, by the first Transformers port or by a later one, and with the
 * prefix of adapters the adapter's; others stay.
 */
export function canonicalName(name: string): string {
  const prefix = name.startsWith(ADAPTER_PREFIX) ? ADAPTER_PREFIX : '';
  const module = name.slice(prefix.length);
  let first = module;
  for (const [later, earlier] of LATER_PREFIXES) {
    if (module.startsWith(later)) first = earlier + module.slice(later.length);
  }
  return prefix + (translate(first, TO_ORIGINAL) ?? module);
}

/** The first Transformers port's name of a tensor given by its original name; undefined for a name Emu3 does not have. */
export function portName(original: string): string | undefined {
  return translate(original, TO_PORT);
}

/** Which of the two networks a tensor belongs to, by its original name. */
export function tensorFamily(original: string): 'transformer' | 'vision' | undefined {
  if (/^(?:model|lm_head)\./.test(original)) return 'transformer';
  return /^(?:encoder|decoder|quantize|quant_conv|post_quant_conv)\./.test(original) ? 'vision' : undefined;
}

const SQUEEZED = /^(?:encoder|decoder)\.(?:mid\.attn_1|(?:down|up)\.\d+\.attn\.\d+)\.(?:q|k|v|proj_out)\.weight$/;

/** Shape in the original layout: the port's linear attention weights [C, C] are 1x1 convolutions [C, C, 1, 1] again. */
export function canonicalShape(original: string, shape: readonly number[]): readonly number[] {
  return shape.length === 2 && SQUEEZED.test(original) ? [...shape, 1, 1] : shape;
}

/** Shape in the port's layout, given the original one. */
export function portShape(original: string, shape: readonly number[]): readonly number[] {
  return shape.length === 4 && SQUEEZED.test(original) ? shape.slice(0, 2) : shape;
}
