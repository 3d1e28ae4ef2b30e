import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Decoder } from '../../engine/decode/index.js';
import { LoraAdapters, withAdapters, type ModelWeights } from '../../engine/models/transformer/index.js';
import { QuantizedParameters } from '../../engine/quantized/index.js';
import { diskFolder, loadTransformer, mergedTensors, replaceFile, writeModel } from '../../loader/index.node.js';
import { expectError, inTemporaryFolder, thrown } from '../loader/support.js';
import { expectClose, relativeError } from '../support/compare.js';
import { testDevice } from '../support/gpu.js';
import {
  hostWeights,
  logitsOf,
  mergedReference,
  packableConfig as config,
  packableConfigJson,
  referenceLogits,
  tinyBase,
  tokens,
  trainedAdapters,
} from '../support/lora.js';

const formats = ['q8', 'q4'] as const;

async function packedBase(format: (typeof formats)[number]): Promise<QuantizedParameters> {
  const base = await tinyBase({}, config);
  const packed = await QuantizedParameters.from(await testDevice(), base, { format });
  base.destroy();
  return packed;
}

describe('packed weights', () => {
  it('score as the float64 reference with the values they stand for, with adapters and without', async () => {
    for (const format of formats) {
      const packed = await packedBase(format);
      // All of both layers but down_proj, the embeddings and the head.
      expect(packed.weights.size).toBe(14);
      const adapters = await trainedAdapters(packed);
      expect(adapters.pairs.size).toBe(14);
      const values = await hostWeights(packed);
      const merged = mergedReference(values, adapters, await hostWeights(adapters.store));
      const [alone, adapted] = [await logitsOf(packed, config), await logitsOf(withAdapters(packed, adapters), config)];
      expect(relativeError(alone, referenceLogits(values, config)), format).toBeLessThan(1e-5);
      expect(relativeError(adapted, referenceLogits(merged, config)), format).toBeLessThan(1e-5);
      expect(relativeError(adapted, alone)).toBeGreaterThan(1e-2);
      adapters.destroy();
      packed.destroy();
    }
  });

  it('decode as they score whole, a slice of the head included', async () => {
    const device = await testDevice();
    // The packed rows before the slice begin where no binding can.
    const slice = { first: 131, count: 50 };
    for (const format of formats) {
      const packed = await packedBase(format);
      const adapters = await trainedAdapters(packed);
      for (const weights of [packed, withAdapters(packed, adapters)] satisfies ModelWeights[]) {
        const decoder = await Decoder.create(device, config, weights, {
          sequences: 1,
          guided: false,
          capacity: 16,
          slice,
        });
        const prompt = tokens.ids.slice(0, tokens.length);
        const sequences = [{ prompt, sampling: { seed: 0, temperature: 0 } }];
        let sampled = -1;
        for await (const { ids } of decoder.decode({ sequences, newTokens: 1 })) sampled = ids[0][0];
        const { data } = await decoder.lastLogits();
        decoder.destroy();
        const place = (tokens.length - 1) * config.vocab_size + slice.first;
        const expected = (await logitsOf(weights, config)).subarray(place, place + slice.count);
        expectClose(data, expected, { absolute: 1e-4, relative: 1e-5 }, `last logits in ${format}`);
        expect(sampled).toBe(slice.first + expected.indexOf(Math.max(...expected)));
      }
      adapters.destroy();
      packed.destroy();
    }
  });
});

describe('the merged export of packed weights and adapters', () => {
  it('has, loaded again, the logits of the two side by side', async () => {
    await inTemporaryFolder(async (folder) => {
      const device = await testDevice();
      const packed = await packedBase('q4');
      const adapters = await trainedAdapters(packed);
      const unmerged = await logitsOf(withAdapters(packed, adapters), config);
      const before = await hostWeights(packed);
      await replaceFile(join(folder, 'config.json'), [new TextEncoder().encode(packableConfigJson)]);
      for (const [dtype, tolerance] of [
        ['F32', 1e-4],
        ['BF16', 8e-2],
      ] as const) {
        const bytes = device.allocatedBytes;
        await writeModel(folder, mergedTensors(device, packed, adapters, dtype));
        // The largest weight has been read back through a buffer that stays.
        expect(device.allocatedBytes - bytes).toBeLessThan(2 * 4 * 203 * 96);
        const { parameters } = await loadTransformer(device, diskFolder(folder));
        expect(relativeError(await logitsOf(parameters, config), unmerged), dtype).toBeLessThan(tolerance);
        parameters.destroy();
      }
      expect(await hostWeights(packed)).toEqual(before);
      await writeModel(folder, mergedTensors(device, packed, undefined, 'F32'));
      const { parameters } = await loadTransformer(device, diskFolder(folder));
      expect(await hostWeights(parameters)).toEqual(before);
      parameters.destroy();
      adapters.destroy();
      packed.destroy();
    });
  });

  it('refuses adapters of another model', async () => {
    const device = await testDevice();
    const packed = await packedBase('q4');
    const name = 'model.layers.1.self_attn.k_proj.weight';
    const shapes = new Map([...packed.shapes].map(([key, shape]) => [key, key === name ? [32, 64] : shape]));
    const narrower = LoraAdapters.create(device, shapes, { rank: 2, alpha: 2 });
    const more = new Map([...packed.shapes, ['model.layers.2.self_attn.q_proj.weight', [96, 96]]]);
    const deeper = LoraAdapters.create(device, more, { rank: 2, alpha: 2 });
    const shape = thrown(() => mergedTensors(device, packed, narrower, 'F32'));
    const missing = thrown(() => mergedTensors(device, packed, deeper, 'F32'));
    expectError(shape, 'shape', name);
    expectError(missing, 'missing', 'model.layers.2.self_attn.q_proj.weight');
    for (const part of [narrower, deeper, packed]) part.destroy();
  });
});
