import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cacheBytes, planStep, planVision, weightBytes } from '../../loader/memory/plan.js';
import { Decoder } from '../../engine/decode/index.js';
import {
  diskFolder,
  loadQuantizedTransformer,
  loadTransformer,
  loadVisionTokenizer,
  transformerTensorShapes,
  visionTensorShapes,
  withoutCounters,
} from '../../loader/index.node.js';
import { testDevice } from '../support/gpu.js';
import { cli, writeTinyModel } from './support.js';

let root = '';
let model = '';

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'emu3-cli-'));
  model = await writeTinyModel(join(root, 'model'));
});
afterAll(() => rm(root, { recursive: true, force: true }));

interface Network {
  kind: string;
  parameters: number;
  bytes: number;
  tensors: { name: string; dtype: string; shape: number[]; bytes: number }[];
  memory: Record<string, unknown>;
}

describe('inspect', () => {
  it('describes both networks of a model folder', async () => {
    const { code, out } = await cli(['inspect', model, '--json', '--context', '64']);
    expect(code).toBe(0);
    const { networks } = JSON.parse(out) as { networks: Network[] };
    expect(networks.map(({ kind }) => kind)).toEqual(['transformer', 'vision tokenizer']);
    const [transformer] = networks;
    expect(transformer.tensors.find(({ name }) => name === 'model.layers.1.mlp.down_proj.weight')).toMatchObject({
      dtype: 'BF16',
      shape: [32, 64],
      bytes: 32 * 64 * 2,
    });
    expect(transformer.bytes).toBe(transformer.parameters * 2);
    // 2 rows x 64 positions x 1 head x 16 dimensions x 2 layers of keys and values in f32.
    expect(transformer.memory['key-value cache (f32), 2 x 64']).toBe(2 * 64 * 16 * 2 * 2 * 4);
    // 2 rows x 64 positions x 1 head x (16 bytes and a scale) x 2 layers of keys and values.
    expect(transformer.memory['key-value cache (q8), 2 x 64']).toBe(2 * 64 * 20 * 2 * 2);
    expect(networks[1].memory).toHaveProperty('decoding 4x4 tokens');
  });

  it('describes one network alone, for people', async () => {
    const { code, out } = await cli(['inspect', join(model, 'vision_tokenizer')]);
    expect(code).toBe(0);
    expect(out).toContain('vision tokenizer: ');
    expect(out).toMatch(/decoder\.conv_out\.weight +BF16 +\[3, 32, 3, 3\] +1\.69 KiB/);
    expect(out).toMatch(/390,991 parameters/);
  });

  it('refuses a truncated file', async () => {
    const broken = join(root, 'broken');
    await writeTinyModel(broken);
    const path = join(broken, 'model.safetensors');
    const whole = await readFile(path);
    await writeFile(path, whole.subarray(0, whole.length - 100));
    const { code, err } = await cli(['inspect', broken]);
    expect(code).toBe(1);
    expect(err).toMatch(/^error: .*bytes/);
  });
});

describe('memory plan', () => {
  it('is what decoding then takes', async () => {
    const device = await testDevice();
    const { config, parameters } = await loadTransformer(device, diskFolder(model));
    const decoder = await Decoder.create(device, config, parameters, { sequences: 1, guided: true, capacity: 64 });
    const context = decoder.capacity;
    expect(decoder.bytes.cache).toBe(cacheBytes(config, 2, context));
    const plan = planStep(device, config, transformerTensorShapes(config), { rows: 2, context });
    const { arenaBytes } = decoder.step.memory;
    // The step proper has the sampler's few temporaries besides.
    expect(plan.arena).toBeLessThanOrEqual(arenaBytes);
    expect(plan.arena).toBeGreaterThan(arenaBytes / 2);
    expect(decoder.step.dispatches - plan.dispatches).toBeLessThan(12);
    decoder.destroy();
    parameters.destroy();
  });

  it('is what weights then take, packed or not', async () => {
    const device = await testDevice();
    const { out } = await cli(['inspect', model, '--json', '--no-tensors']);
    const [{ memory }] = (JSON.parse(out) as { networks: Network[] }).networks;
    const { parameters } = await loadTransformer(device, diskFolder(model));
    expect(memory['weights (f32)']).toBe(parameters.bytes);
    parameters.destroy();
    for (const format of ['q8', 'q4'] as const) {
      const packed = (await loadQuantizedTransformer(device, diskFolder(model), { format })).parameters;
      expect(memory[`weights (${format})`]).toBe(packed.bytes);
      packed.destroy();
    }
  });

  it('is what the vision tokenizer then takes', async () => {
    const device = await testDevice();
    const before = device.allocatedBytes;
    const { config, weights, tokenizer } = await loadVisionTokenizer(
      device,
      diskFolder(join(model, 'vision_tokenizer')),
    );
    expect(device.allocatedBytes - before).toBe(weightBytes(withoutCounters(visionTensorShapes(config))));
    const loaded = device.allocatedBytes;
    await tokenizer.decode({ batch: 1, frames: 1, height: 4, width: 4, codes: new Uint32Array(16) }, true);
    const taken = device.allocatedBytes - loaded;
    const { decoder } = planVision(device, config, visionTensorShapes(config), { height: 4, width: 4 });
    expect(decoder.arena).toBeLessThanOrEqual(taken);
    // Uniforms, the input and the staging buffer for reading back come on top.
    expect(taken - decoder.arena).toBeLessThan(256 << 10);
    await tokenizer.destroy();
    weights.destroy();
  });
});
