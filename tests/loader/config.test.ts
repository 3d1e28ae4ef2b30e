import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { ErrorCode } from '../../kernels/core/errors.js';
import {
  canonicalCheckpoint,
  compareShapes,
  diskFolder,
  encodeSafetensors,
  memoryFolder,
  openCheckpoint,
  openTransformer,
  openVisionTokenizer,
  parseTransformerConfig,
  parseVisionConfig,
  portName,
  portShape,
  transformerTensorShapes,
  validateShapes,
  visionTensorShapes,
} from '../../loader/index.node.js';
import type { TensorShapes, TensorToWrite } from '../../loader/index.js';
import { isRecord } from '../../loader/json.js';
import { expectError, GOLDEN, rejection, thrown } from './support.js';

const golden = (path: string): string => readFileSync(join(GOLDEN, path), 'utf8');

function record(text: string): Record<string, unknown> {
  const value: unknown = JSON.parse(text);
  if (!isRecord(value)) throw new Error('not an object');
  return value;
}

const LM = golden('lm/config.json');
const VQ = golden('vq/config.json');
const changed = (text: string, change: Record<string, unknown>): string =>
  JSON.stringify({ ...record(text), ...change });

function zeros(shapes: TensorShapes, rename = (name: string): string => name): TensorToWrite[] {
  return [...shapes].map(([name, shape]) => ({
    name: rename(name),
    dtype: 'F32',
    shape,
    values: new Float32Array(shape.reduce((product, size) => product * size, 1)),
  }));
}

describe('configs', () => {
  test('the recorded configs', () => {
    expect(parseTransformerConfig(LM, 'lm')).toMatchObject({
      hidden_size: 128,
      intermediate_size: 352,
      num_key_value_heads: 2,
      vocab_size: 877,
      rope_theta: 1e6,
      rope_scaling: null,
      attention_dropout: 0.1,
      img_token_id: 360,
      eof_token_id: 356,
    });
    expect(parseVisionConfig(VQ, 'vq')).toMatchObject({ ch: 32, ch_mult: [1, 2, 1, 1], codebook_size: 512 });
    const scaling = record(golden('lm/rope_scaling.json'));
    for (const type of ['linear', 'dynamic']) {
      const change = scaling[type];
      if (!isRecord(change)) throw new Error(type);
      expect(parseTransformerConfig(changed(LM, change), 'lm').rope_scaling).toEqual({ type, factor: 2 });
    }
  });

  test('absent fields have the released values', () => {
    expect(parseTransformerConfig('{}', 'c')).toMatchObject({
      hidden_size: 4096,
      vocab_size: 184622,
      eos_token_id: 151850,
    });
    expect(parseVisionConfig('{}', 'c')).toMatchObject({ ch: 256, ch_mult: [1, 2, 2, 4], attn_resolutions: [3] });
  });

  test("the Transformers port's nested config", () => {
    const lm = record(LM);
    const vq = record(VQ);
    const port = JSON.stringify({
      model_type: 'emu3',
      text_config: { ...lm, model_type: 'emu3_text_model', rope_scaling: { rope_type: 'default' } },
      vq_config: {
        model_type: 'emu3_vqgan',
        base_channels: vq['ch'],
        channel_multiplier: vq['ch_mult'],
        latent_channels: 4,
        double_latent: false,
        codebook_size: 512,
        hidden_size: 32,
        num_attention_heads: 1,
      },
    });
    expect(parseTransformerConfig(port, 'p')).toEqual(parseTransformerConfig(LM, 'p'));
    expect(parseVisionConfig(port, 'p')).toEqual(parseVisionConfig(VQ, 'p'));
    const scaled = changed(LM, {
      rope_theta: undefined,
      rope_parameters: { rope_type: 'dynamic', factor: 4, rope_theta: 5e5 },
    });
    expect(parseTransformerConfig(scaled, 'p')).toMatchObject({
      rope_theta: 5e5,
      rope_scaling: { type: 'dynamic', factor: 4 },
    });
  });

  const BAD_LM: [Record<string, unknown>, string][] = [
    [{ hidden_size: '128' }, 'hidden_size'],
    [{ hidden_size: 0 }, 'hidden_size'],
    [{ hidden_size: 12.5 }, 'hidden_size'],
    [{ hidden_size: 130 }, 'hidden_size'],
    [{ hidden_size: 12, num_attention_heads: 4 }, 'hidden_size'],
    [{ num_key_value_heads: 3 }, 'num_key_value_heads'],
    [{ num_hidden_layers: -1 }, 'num_hidden_layers'],
    [{ rms_norm_eps: 0 }, 'rms_norm_eps'],
    [{ rope_theta: 'big' }, 'rope_theta'],
    [{ attention_dropout: 1 }, 'attention_dropout'],
    [{ rope_scaling: 'linear' }, 'rope_scaling'],
    [{ rope_scaling: { type: 'yarn', factor: 2 } }, 'rope_scaling.type'],
    [{ rope_scaling: { type: 'linear' } }, 'rope_scaling.factor'],
    [{ rope_scaling: { type: 'linear', factor: 1 } }, 'rope_scaling.factor'],
    [{ eol_token_id: 877 }, 'eol_token_id'],
    [{ img_token_id: undefined }, 'img_token_id'],
    [{ hidden_act: 'gelu' }, 'hidden_act'],
    [{ tie_word_embeddings: 1 }, 'tie_word_embeddings'],
    [{ attention_bias: true }, 'attention_bias'],
    [{ head_dim: 64 }, 'head_dim'],
    [{ model_type: 'llama' }, 'model_type'],
  ];
  test.each(BAD_LM)('transformer config with %o', (change, field) => {
    expectError(
      thrown(() => parseTransformerConfig(changed(LM, change), 'config.json')),
      'config',
      'config.json',
      field,
    );
  });

  const BAD_VQ: [Record<string, unknown>, string][] = [
    [{ ch: 31 }, 'ch'],
    [{ ch_mult: [] }, 'ch_mult'],
    [{ ch_mult: 2 }, 'ch_mult'],
    [{ ch_mult: [1, 0] }, 'ch_mult'],
    [{ attn_resolutions: [0.5] }, 'attn_resolutions'],
    [{ embed_dim: 8 }, 'embed_dim'],
    [{ double_z: true }, 'double_z'],
    [{ temporal_downsample_factor: 3 }, 'temporal_downsample_factor'],
    [{ codebook_size: null, num_res_blocks: 0 }, 'num_res_blocks'],
    [{ hidden_size: 64 }, 'hidden_size'],
    [{ num_attention_heads: 2 }, 'num_attention_heads'],
    [{ model_type: 'Emu3' }, 'model_type'],
  ];
  test.each(BAD_VQ)('vision config with %o', (change, field) => {
    expectError(
      thrown(() => parseVisionConfig(changed(VQ, change), 'config.json')),
      'config',
      'config.json',
      field,
    );
  });

  test('a config that is no JSON object, or says a thing twice', () => {
    expectError(
      thrown(() => parseTransformerConfig('nope', 'config.json')),
      'config',
      'config.json',
    );
    expectError(
      thrown(() => parseVisionConfig('[1]', 'config.json')),
      'config',
      'object',
    );
    const twice = '{"hidden_size":4096,"hidden_size":2048}';
    expectError(
      thrown(() => parseTransformerConfig(twice, 'config.json')),
      'duplicate',
      'hidden_size',
    );
  });
});

describe('tensor shapes', () => {
  const full = record(golden('full-shapes.json'));
  const sorted = (shapes: Iterable<[string, unknown]>): [string, unknown][] =>
    [...shapes].sort(([a], [b]) => (a < b ? -1 : 1));

  test('of the released models, name by name', () => {
    const transformer = full['emu3-8b'];
    const vision = full['emu3-vision-tokenizer'];
    if (!isRecord(transformer) || !isRecord(vision)) throw new Error('full-shapes.json');
    expect(sorted(transformerTensorShapes(parseTransformerConfig('{}', 'c')))).toEqual(
      sorted(Object.entries(transformer)),
    );
    expect(sorted(visionTensorShapes(parseVisionConfig('{}', 'c')))).toEqual(sorted(Object.entries(vision)));
    expect(Object.keys(vision).length).toBe(495);
  });

  test.each(['lm', 'lm/bf16', 'train'])('of the recorded transformer %s', async (name) => {
    const { config, checkpoint } = await openTransformer(diskFolder(join(GOLDEN, name)));
    expect(checkpoint.tensors.size).toBe(transformerTensorShapes(config).size);
    await checkpoint.close();
  });

  test('of the recorded vision tokenizer', async () => {
    const { config, checkpoint } = await openVisionTokenizer(diskFolder(join(GOLDEN, 'vq')));
    const report = compareShapes(checkpoint.tensors, visionTensorShapes(config));
    expect(report).toEqual({ missing: [], unexpected: [], misshaped: [], mistyped: [] });
    await checkpoint.close();
  });

  test('tied embeddings need no head, and tolerate one', () => {
    const config = parseTransformerConfig(changed(LM, { tie_word_embeddings: true }), 'c');
    expect(transformerTensorShapes(config).has('lm_head.weight')).toBe(false);
  });
});

describe('weights against config', () => {
  const config = parseTransformerConfig(LM, 'c');
  const shapes = transformerTensorShapes(config);

  async function check(tensors: TensorToWrite[], code: ErrorCode, ...mentions: string[]): Promise<void> {
    const file = await encodeSafetensors(tensors);
    const folder = memoryFolder(
      'model',
      new Map([
        ['model.safetensors', file],
        ['config.json', new TextEncoder().encode(LM)],
      ]),
    );
    expectError(await rejection(openTransformer(folder)), code, 'model', ...mentions);
  }

  test('every misfit is counted and the first of each kind named', async () => {
    const tensors = zeros(shapes).filter(({ name }) => !name.includes('layers.1.mlp'));
    const wrong = tensors.map((tensor) =>
      tensor.name.endsWith('k_proj.weight') ? { ...tensor, shape: [128, 64] } : tensor,
    );
    const extra: TensorToWrite = { name: 'surprise', dtype: 'F32', shape: [1], values: Float32Array.of(1) };
    const text = [
      '3 tensors missing (first "model.layers.1.mlp.gate_proj.weight")',
      '1 tensor unexpected (first "surprise")',
    ];
    const misshaped =
      '3 tensors of another shape (first "model.layers.0.self_attn.k_proj.weight": [128, 64] instead of [64, 128])';
    await check([...wrong, extra], 'shape', misshaped, ...text);
    await check(tensors, 'missing', text[0] ?? '');
    await check([...zeros(shapes), extra], 'format', text[1] ?? '');
  });

  test('weights of an integer type', async () => {
    const tensors = zeros(shapes).map((tensor): TensorToWrite =>
      tensor.name === 'model.norm.weight' ? { ...tensor, dtype: 'I32', values: new Int32Array(128) } : tensor,
    );
    await check(tensors, 'dtype', '"model.norm.weight": I32');
  });

  test('nothing but headers is read for it', async () => {
    const file = await encodeSafetensors(zeros(shapes).slice(1));
    const headerBytes = 8 + Number(new DataView(file.buffer).getBigUint64(0, true));
    const inner = memoryFolder('model', new Map([['model.safetensors', file]]));
    let furthest = 0;
    const checkpoint = await openCheckpoint({
      ...inner,
      open: async (path) => {
        const source = await inner.open(path);
        const read = source.read.bind(source);
        return {
          ...source,
          read: (offset, length) => ((furthest = Math.max(furthest, offset + length)), read(offset, length)),
        };
      },
    });
    expectError(
      thrown(() => validateShapes(checkpoint, shapes)),
      'missing',
      'model.embed_tokens.weight',
    );
    expect(furthest).toBe(headerBytes);
  });

  test('counters and rotary tables are accepted, present or absent', async () => {
    const vision = visionTensorShapes(parseVisionConfig(VQ, 'c'));
    const without = zeros(vision).filter(({ name }) => !name.endsWith('num_batches_tracked'));
    const file = await encodeSafetensors(without);
    const files = new Map<string, Uint8Array | string>([
      ['model.safetensors', file],
      ['config.json', VQ],
    ]);
    await (await openVisionTokenizer(memoryFolder('vq', files))).checkpoint.close();
    const rotary: TensorToWrite = {
      name: 'model.layers.0.self_attn.rotary_emb.inv_freq',
      dtype: 'F32',
      shape: [16],
      values: new Float32Array(16),
    };
    const lm = new Map<string, Uint8Array | string>([
      ['model.safetensors', await encodeSafetensors([...zeros(shapes), rotary])],
      ['config.json', LM],
    ]);
    await (await openTransformer(memoryFolder('lm', lm))).checkpoint.close();
  });
});

describe("the Transformers port's checkpoint", () => {
  /** One folder with both networks under the port's names and layout, as its converter writes it. */
  async function portFolder(later: boolean): Promise<ReturnType<typeof memoryFolder>> {
    const tensors: TensorToWrite[] = [];
    for (const name of ['lm', 'vq']) {
      const checkpoint = await openCheckpoint(diskFolder(join(GOLDEN, name)));
      for (const [original, { dtype, shape }] of checkpoint.tensors) {
        const first = portName(original);
        if (first === undefined) throw new Error(original);
        const port = later
          ? first.replace(/^text_model\.model|^vqmodel/, (prefix) => `model.${prefix.replace('.model', '')}`)
          : first;
        const values = dtype === 'I64' ? new BigInt64Array(1) : await checkpoint.readFloat32(original);
        tensors.push({
          name: port.replace(/^text_model\.lm_head/, later ? 'lm_head' : '$&'),
          dtype: dtype === 'I64' ? 'I64' : 'F32',
          shape: portShape(original, shape),
          values,
        });
      }
      await checkpoint.close();
    }
    const vq = record(VQ);
    const config = { text_config: record(LM), vq_config: { ...vq, model_type: 'emu3_vqgan' }, model_type: 'emu3' };
    const files = new Map<string, Uint8Array | string>();
    files.set('model.safetensors', await encodeSafetensors(tensors));
    files.set('config.json', JSON.stringify(config));
    return memoryFolder('port', files);
  }

  test.each([false, true])('loads under original names and shapes, bit for bit (later naming: %s)', async (later) => {
    const folder = await portFolder(later);
    const opened = { lm: await openTransformer(folder), vq: await openVisionTokenizer(folder) };
    for (const [name, { checkpoint }] of Object.entries(opened)) {
      const original = await openCheckpoint(diskFolder(join(GOLDEN, name)));
      expect([...checkpoint.tensors.keys()].sort()).toEqual([...original.tensors.keys()].sort());
      for (const [tensor, { shape, dtype }] of original.tensors) {
        expect(checkpoint.tensors.get(tensor)?.shape).toEqual(shape);
        if (dtype === 'I64') continue;
        const difference = Buffer.compare(await checkpoint.readRaw(tensor), await original.readRaw(tensor));
        expect(difference, tensor).toBe(0);
      }
      await original.close();
    }
  });

  test('two names of one tensor', async () => {
    const one = { dtype: 'F32', shape: [1], values: Float32Array.of(1) } as const;
    const file = await encodeSafetensors([
      { name: 'lm_head.weight', ...one },
      { name: 'text_model.lm_head.weight', ...one },
    ]);
    const checkpoint = await openCheckpoint(memoryFolder('two', new Map([['model.safetensors', file]])));
    expectError(
      thrown(() => canonicalCheckpoint(checkpoint)),
      'duplicate',
      'text_model.lm_head.weight',
    );
  });
});
