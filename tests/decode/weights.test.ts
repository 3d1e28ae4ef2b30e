import { beforeAll, describe, expect, it } from 'vitest';
import { LoraAdapters } from '../../engine/models/transformer/index.js';
import { ParameterStore } from '../../engine/parameters.js';
import { Emu3 } from '../../index.js';
import {
  adapterConfigJson,
  encodeSafetensors,
  loadAdapters,
  loadTransformer,
  memoryFolder,
  mergedTensors,
  storeTensors,
  type ModelFolder,
} from '../../loader/index.js';
import { weightFormats, type WeightFormat } from '../../loader/pipeline/weights.js';
import { pseudoRandom } from '../support/compare.js';
import { testDevice } from '../support/gpu.js';
import { modelFolder } from './model-folder.js';

/** Adapters of the recorded model that change what it says, and what the whole then is in f32. */
let adapters: ModelFolder;
let merged: ReadonlyMap<string, Float32Array>;

async function adapterFolder(shapes: ReadonlyMap<string, readonly number[]>): Promise<ModelFolder> {
  const device = await testDevice();
  const made = LoraAdapters.create(device, shapes, { rank: 2, alpha: 4, targets: ['q_proj', 'v_proj', 'down_proj'] });
  let seed = 1;
  for (const [name, [rows, columns]] of made.store.shapes) {
    made.store.tensor(name).write(pseudoRandom(rows * columns, seed++).map((value) => value * 0.2));
  }
  const files: [string, Uint8Array | string][] = [
    ['adapter_model.safetensors', await encodeSafetensors(storeTensors(made.store, 'F32'))],
    ['adapter_config.json', adapterConfigJson(made.options, undefined)],
  ];
  made.destroy();
  return memoryFolder('adapters', new Map(files));
}

beforeAll(async () => {
  const device = await testDevice();
  const { parameters } = await loadTransformer(device, modelFolder());
  adapters = await adapterFolder(parameters.shapes);
  const { adapters: loaded } = await loadAdapters(device, adapters, parameters.shapes);
  const values = new Map<string, Float32Array>();
  for (const { name, values: read } of mergedTensors(device, parameters, loaded, 'F32')) {
    const data = typeof read === 'function' ? await read() : read;
    if (data instanceof Float32Array) values.set(name, data);
  }
  merged = values;
  loaded.destroy();
  parameters.destroy();
});

const request = { prompt: 'a red circle', seed: 5, temperature: 0.5 };

async function withModel<T>(
  options: { weights?: WeightFormat; adapters?: ModelFolder },
  use: (emu3: Emu3) => Promise<T>,
): Promise<T> {
  const device = await testDevice();
  const before = device.allocatedBytes;
  const emu3 = await Emu3.load({ device, folder: modelFolder(), ...options });
  const result = await use(emu3);
  await emu3.destroy();
  // The buffer for reading back may have grown.
  expect(device.allocatedBytes - before).toBeLessThan(8 << 20);
  return result;
}

describe('a model loaded with packed weights', () => {
  it('draws, answers, is smaller, and tells how far each weight is from the file', async () => {
    const bytes: number[] = [];
    const drawn: number[][] = [];
    for (const weights of weightFormats) {
      await withModel({ weights }, async (emu3) => {
        bytes.push(emu3.parameters.bytes);
        // Seven linear layers in each of three layers, the embeddings and the head.
        expect(emu3.packing.size).toBe(weights === 'f32' ? 0 : 23);
        for (const [name, { relativeRms }] of emu3.packing) {
          expect(relativeRms, name).toBeGreaterThan(weights === 'q8' ? 1e-3 : 0.03);
          expect(relativeRms, name).toBeLessThan(weights === 'q8' ? 0.01 : 0.12);
        }
        const picture = await emu3.generate(request);
        expect((await emu3.generate(request)).ids).toEqual(picture.ids);
        drawn.push([...picture.codes]);
        const answer = await emu3.describe({ image: picture.image, question: 'what is shown', maxNewTokens: 4 });
        expect(answer.ids.length).toBeGreaterThan(0);
      });
    }
    expect(bytes[1]).toBeLessThan(0.45 * bytes[0]);
    expect(bytes[2]).toBeLessThan(0.75 * bytes[1]);
    expect(drawn[2]).not.toEqual(drawn[0]);
  });

  it('refuses a format there is none of, and leaves nothing on the GPU', async () => {
    const device = await testDevice();
    const before = device.allocatedBytes;
    const weights = 'q5' as WeightFormat;
    const loading = Emu3.load({ device, folder: modelFolder(), weights });
    await expect(loading).rejects.toMatchObject({ code: 'argument', where: 'weights' });
    expect(device.allocatedBytes).toBe(before);
  });
});

describe('a model loaded with adapters', () => {
  it('has them merged in f32', async () => {
    await withModel({ adapters }, async (emu3) => {
      if (!(emu3.parameters instanceof ParameterStore)) throw new Error('f32 weights lie in a store');
      for (const [name, values] of merged) {
        expect(await emu3.parameters.tensor(name).readFloat32(), name).toEqual(values);
      }
    });
  });

  it('has them beside packed weights, and draws as the two together say', async () => {
    const parts: string[] = [];
    const draw = (emu3: Emu3): Promise<number[]> => emu3.generate(request).then(({ codes }) => [...codes]);
    const plain = await withModel({ weights: 'q8' }, draw);
    const device = await testDevice();
    const emu3 = await Emu3.load({
      device,
      folder: modelFolder(),
      weights: 'q8',
      adapters,
      onProgress: ({ part }) => parts.push(part),
    });
    expect(new Set(parts)).toEqual(new Set(['vision tokenizer', 'adapters', 'transformer']));
    const adapted = await draw(emu3);
    await emu3.destroy();
    expect(adapted).not.toEqual(plain);
    // In q8 the merged model is close enough to write the same picture.
    const inF32 = await withModel({ adapters }, draw);
    expect(adapted.filter((code, at) => code === inF32[at]).length).toBeGreaterThan(adapted.length / 2);
  });

  it('refuses adapters of another model, or none, before the weights are read', async () => {
    const device = await testDevice();
    const before = device.allocatedBytes;
    const shapes = new Map([...merged.keys()].map((name) => [name, [128, 64] as const]));
    for (const [place, code] of [
      [await adapterFolder(shapes), 'shape'],
      [memoryFolder('empty', new Map()), 'missing'],
    ] as const) {
      const parts = new Set<string>();
      const loading = Emu3.load({
        device,
        folder: modelFolder(),
        weights: 'q4',
        adapters: place,
        onProgress: ({ part }) => parts.add(part),
      });
      await expect(loading).rejects.toMatchObject({ code });
      expect(parts).toEqual(new Set(['vision tokenizer']));
      expect(device.allocatedBytes).toBe(before);
    }
  });
});
