import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loraTargets, mergeAdapters, withAdapters, type LoraAdapters } from '../../engine/models/transformer/index.js';
import type { ParameterStore } from '../../engine/parameters.js';
import {
  adapterConfigJson,
  diskFolder,
  encodeSafetensors,
  loadAdapters,
  loadTransformer,
  memoryFolder,
  parseAdapterConfig,
  storeTensors,
  writeAdapters,
  writeModel,
  type ModelFolder,
  type TensorToWrite,
} from '../../loader/index.node.js';
import { relativeError } from '../support/compare.js';
import { testDevice } from '../support/gpu.js';
import { hostWeights, logitsOf, tinyBase, tinyConfigJson, trainedAdapters } from '../support/lora.js';
import { diskWithRoom } from './rehearse.js';
import { expectError, inTemporaryFolder, rejection, thrown } from './support.js';

/** As PEFT 0.19 writes it, but for the fields it leaves null. */
const peftConfig = {
  alpha_pattern: {},
  auto_mapping: null,
  base_model_name_or_path: 'BAAI/Emu3-Gen',
  bias: 'none',
  fan_in_fan_out: false,
  inference_mode: true,
  init_lora_weights: true,
  layer_replication: null,
  layers_pattern: null,
  layers_to_transform: null,
  loftq_config: {},
  lora_alpha: 7,
  lora_bias: false,
  lora_dropout: 0.05,
  megatron_core: 'megatron.core',
  modules_to_save: null,
  peft_type: 'LORA',
  r: 3,
  rank_pattern: {},
  revision: null,
  target_modules: ['up_proj', 'q_proj'],
  task_type: 'CAUSAL_LM',
  use_dora: false,
  use_rslora: false,
};

describe('adapter_config.json', () => {
  it('is read as PEFT writes it, and written as PEFT reads it', () => {
    const parsed = parseAdapterConfig(JSON.stringify(peftConfig), 'test');
    const expected = { rank: 3, alpha: 7, targets: ['q_proj', 'up_proj'], dropout: 0.05, baseModel: 'BAAI/Emu3-Gen' };
    expect(parsed).toEqual(expected);
    const written = adapterConfigJson(parsed, parsed.baseModel);
    expect(parseAdapterConfig(written, 'test')).toEqual(expected);
    expect(JSON.parse(written)).toMatchObject({ r: 3, lora_alpha: 7, peft_type: 'LORA', task_type: 'CAUSAL_LM' });
    const unordered = { ...peftConfig, target_modules: expected.targets };
    expect(unordered).toMatchObject(JSON.parse(written) as object);
    expect(parseAdapterConfig(adapterConfigJson(parsed, undefined), 'test').baseModel).toBeUndefined();
  });

  it.each([
    [{ peft_type: 'IA3' }, 'peft_type'],
    [{ peft_type: null }, 'peft_type'],
    [{ task_type: 'SEQ_CLS' }, 'task_type'],
    [{ bias: 'all' }, 'bias'],
    [{ use_rslora: true }, 'use_rslora'],
    [{ use_dora: true }, 'use_dora'],
    [{ fan_in_fan_out: 'no' }, 'fan_in_fan_out'],
    [{ rank_pattern: { q_proj: 4 } }, 'rank_pattern'],
    [{ alpha_pattern: { q_proj: 4 } }, 'alpha_pattern'],
    [{ layers_to_transform: [0] }, 'layers_to_transform'],
    [{ layers_to_transform: 0 }, 'layers_to_transform'],
    [{ modules_to_save: ['lm_head'] }, 'modules_to_save'],
    [{ target_modules: 'all-linear' }, 'target_modules'],
    [{ target_modules: null }, 'target_modules'],
    [{ target_modules: [] }, 'target_modules'],
    [{ target_modules: ['q_proj', 'lm_head'] }, 'lm_head'],
    [{ target_modules: ['q_proj', 3] }, 'target_modules'],
    [{ r: 0 }, 'r must be'],
    [{ r: '8' }, 'r must be'],
    [{ lora_alpha: 0 }, 'lora_alpha'],
    [{ lora_dropout: 1 }, 'lora_dropout'],
    [{ base_model_name_or_path: 3 }, 'base_model_name_or_path'],
  ])('refuses %o', (change, mention) => {
    const text = JSON.stringify({ ...peftConfig, ...change });
    expectError(
      thrown(() => parseAdapterConfig(text, 'test')),
      'config',
      mention,
    );
  });

  it('refuses what is no JSON', () => {
    expectError(
      thrown(() => parseAdapterConfig('{', 'test')),
      'config',
    );
    expectError(
      thrown(() => parseAdapterConfig('{"r": 1, "r": 2}', 'test')),
      'duplicate',
      'r',
    );
  });
});

async function modelAndAdapters(): Promise<{ base: ParameterStore; adapters: LoraAdapters; destroy: () => void }> {
  const base = await tinyBase();
  const adapters = await trainedAdapters(base);
  return { base, adapters, destroy: () => [base, adapters].forEach((part) => part.destroy()) };
}

/** A folder of adapters in memory, its tensors changed by `edit`. */
async function adapterFolder(
  adapters: LoraAdapters,
  edit: (tensors: TensorToWrite[]) => TensorToWrite[] = (tensors) => tensors,
  config: object = {},
): Promise<ModelFolder> {
  const written: object = JSON.parse(adapterConfigJson(adapters.options, 'base')) as object;
  return memoryFolder(
    'memory',
    new Map<string, Uint8Array | string>([
      ['adapter_model.safetensors', await encodeSafetensors(edit(storeTensors(adapters.store, 'F32')))],
      ['adapter_config.json', JSON.stringify({ ...written, ...config })],
    ]),
  );
}

describe('adapters on disk', () => {
  it('come back to the bit, under the names of PEFT, with gradients if asked for', async () => {
    await inTemporaryFolder(async (folder) => {
      const device = await testDevice();
      const { base, adapters, destroy } = await modelAndAdapters();
      await writeAdapters(folder, adapters, { baseModel: 'BAAI/Emu3-Gen' });
      const names = Object.keys(JSON.parse(await headerOf(join(folder, 'adapter_model.safetensors'))) as object);
      expect(names).toContain('base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight');
      expect(names).toContain('base_model.model.model.layers.1.mlp.down_proj.lora_B.weight');
      expect(names).toHaveLength(1 + 4 * loraTargets.length);
      const loaded = await loadAdapters(device, diskFolder(folder), base.shapes, { training: true });
      expect(loaded.baseModel).toBe('BAAI/Emu3-Gen');
      expect(loaded.adapters.options).toEqual(adapters.options);
      expect(await hostWeights(loaded.adapters.store)).toEqual(await hostWeights(adapters.store));
      expect(loaded.adapters.store.gradient(names[1]).shape).toEqual(adapters.store.shapes.get(names[1]));
      expect(await logitsOf(withAdapters(base, loaded.adapters))).toEqual(await logitsOf(withAdapters(base, adapters)));
      loaded.adapters.destroy();
      destroy();
    });
  });

  it('load in BF16 and under the names of the Transformers port', async () => {
    const device = await testDevice();
    const { base, adapters, destroy } = await modelAndAdapters();
    const prefix = 'base_model.model.model.';
    for (const other of ['base_model.model.text_model.model.', 'base_model.model.model.text_model.']) {
      const folder = await adapterFolder(adapters, () =>
        storeTensors(adapters.store, 'BF16').map((tensor) => ({
          ...tensor,
          name: other + tensor.name.slice(prefix.length),
        })),
      );
      const loaded = await loadAdapters(device, folder, base.shapes);
      const [actual, expected] = [await hostWeights(loaded.adapters.store), await hostWeights(adapters.store)];
      for (const name of adapters.store.shapes.keys()) {
        expect(relativeError(actual[name], expected[name]), name).toBeLessThan(2 ** -8);
      }
      loaded.adapters.destroy();
    }
    destroy();
  });

  it('are refused when tensors and config do not fit each other or the model', async () => {
    const device = await testDevice();
    const { base, adapters, destroy } = await modelAndAdapters();
    const held = device.allocatedBytes;
    const q = 'base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight';
    const replaced = (change: Partial<TensorToWrite>) => (tensors: TensorToWrite[]) =>
      tensors.map((tensor) => (tensor.name === q ? { ...tensor, ...change } : tensor));
    const load = async (folder: ModelFolder, shapes = base.shapes): Promise<unknown> =>
      rejection(loadAdapters(device, folder, shapes));

    expectError(await load(await adapterFolder(adapters, undefined, { r: 4 })), 'shape', '28 tensors', '[4, 18]');
    const misshaped = replaced({ shape: [3, 6], values: new Float32Array(18) });
    expectError(await load(await adapterFolder(adapters, misshaped)), 'shape', '1 tensor', q, '[3, 6]');
    const without = (tensors: TensorToWrite[]): TensorToWrite[] => tensors.filter(({ name }) => name !== q);
    expectError(await load(await adapterFolder(adapters, without)), 'missing', '1 tensor', q);
    const fewer = await adapterFolder(adapters, undefined, { target_modules: ['q_proj'] });
    expectError(await load(fewer), 'format', '24 tensors unexpected', 'adapter_config.json');
    const integers = replaced({ dtype: 'I32', values: new Int32Array(54) });
    expectError(await load(await adapterFolder(adapters, integers)), 'dtype', q);
    const infinite = replaced({ values: new Float32Array(54).fill(Infinity) });
    expectError(await load(await adapterFolder(adapters, infinite)), 'not-finite', q);
    const wider = new Map([...base.shapes].map(([name, shape]) => [name, shape.map((size) => 2 * size)]));
    expectError(await load(await adapterFolder(adapters), wider), 'shape', '28 tensors');
    const noConfig = memoryFolder('memory', new Map());
    expectError(await load(noConfig), 'missing', 'adapter_config.json');
    const noTensors = memoryFolder('memory', new Map([['adapter_config.json', JSON.stringify(peftConfig)]]));
    expectError(await load(noTensors), 'missing', 'adapter_model.safetensors');
    // A rank no memory could hold is refused by the shapes before anything is made of it.
    expectError(await load(await adapterFolder(adapters, undefined, { r: 2 ** 50 })), 'shape');
    expect(device.allocatedBytes).toBe(held);
    destroy();
  });

  it('replace neither an older adapter nor half of it when they cannot be written', async () => {
    await inTemporaryFolder(async (folder) => {
      const base = await tinyBase();
      const adapters = await trainedAdapters(base, { rank: 2, alpha: 1, targets: ['q_proj'] });
      await writeAdapters(folder, adapters);
      const read = async (): Promise<string[]> => {
        const files = ['adapter_model.safetensors', 'adapter_config.json'];
        return Promise.all(files.map((file) => readFile(join(folder, file), 'latin1')));
      };
      const before = await read();
      const [name] = adapters.store.shapes.keys();
      adapters.store.tensor(name).write(new Float32Array(36).fill(0.5));
      // Header, four tensors and config are a write each.
      for (let writes = 0; writes < 6; writes++) {
        const fileSystem = diskWithRoom(writes);
        expectError(await rejection(writeAdapters(folder, adapters, { fileSystem })), 'disk-full');
        expect(await read()).toEqual(before);
      }
      expectError(await rejection(writeAdapters(folder, adapters, { signal: AbortSignal.abort() })), 'aborted');
      adapters.store.tensor(name).write(new Float32Array(36).fill(NaN));
      expectError(await rejection(writeAdapters(folder, adapters)), 'not-finite', name);
      expect(await read()).toEqual(before);
      expect(await diskFolder(folder).list?.()).toHaveLength(2);
      adapters.store.tensor(name).write(new Float32Array(36).fill(0.5));
      await writeAdapters(folder, adapters, { fileSystem: diskWithRoom(6) });
      expect(await read()).not.toEqual(before);
      for (const part of [base, adapters]) part.destroy();
    });
  });
});

async function headerOf(path: string): Promise<string> {
  const file = await readFile(path);
  return file.subarray(8, 8 + Number(file.readBigUInt64LE(0))).toString();
}

describe('a merged model', () => {
  it('is a model folder as any other: F32 exact, BF16 within its rounding', async () => {
    await inTemporaryFolder(async (folder) => {
      const device = await testDevice();
      const { base, adapters, destroy } = await modelAndAdapters();
      const unmerged = await logitsOf(withAdapters(base, adapters));
      await mergeAdapters(device, base, adapters);
      const [weights, logits] = [await hostWeights(base), await logitsOf(base)];
      expect(relativeError(logits, unmerged)).toBeLessThan(1e-5);
      await writeFile(join(folder, 'config.json'), tinyConfigJson);

      await writeModel(folder, storeTensors(base, 'F32'), { metadata: { format: 'pt' } });
      const exact = await loadTransformer(device, diskFolder(folder));
      expect(await hostWeights(exact.parameters)).toEqual(weights);
      expect(await logitsOf(exact.parameters)).toEqual(logits);
      exact.parameters.destroy();

      await writeModel(folder, storeTensors(base, 'BF16'), { metadata: { format: 'pt' }, maxShardBytes: 4000 });
      const rounded = await loadTransformer(device, diskFolder(folder));
      for (const [name, values] of Object.entries(await hostWeights(rounded.parameters))) {
        // Eight significant bits, rounded to nearest.
        const excess = values.map(
          (value, at) => Math.abs(value - weights[name][at]) - 2 ** -8 * Math.abs(weights[name][at]),
        );
        expect(Math.max(...excess), name).toBeLessThanOrEqual(0);
      }
      expect(relativeError(await logitsOf(rounded.parameters), logits)).toBeLessThan(2e-2);
      rounded.parameters.destroy();
      destroy();
    });
  });
});
