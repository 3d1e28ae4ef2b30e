import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { requestAdapterNode } from '../../engine/adapter/request.node.js';
import { cacheTypes, Decoder, type CacheType } from '../../engine/decode/index.js';
import { Device, type LimitTier } from '../../engine/device.js';
import { SequenceScorer } from '../../engine/models/transformer/index.js';
import type { EncodedClip } from '../../engine/models/vision/index.js';
import { diskFolder, loadTransformer, loadVisionTokenizer } from '../../loader/index.node.js';
import { decodeAll } from '../decode/support.js';
import { pixelClip } from '../parity/layout.js';
import { expectClose } from '../support/compare.js';
import { readGolden } from '../support/golden.js';

/** What WebGPU guarantees everywhere (GPUSupportedLimits, default values). */
const defaultLimits = {
  maxBufferSize: 256 * 2 ** 20,
  maxStorageBufferBindingSize: 128 * 2 ** 20,
  maxStorageBuffersPerShaderStage: 8,
  maxComputeInvocationsPerWorkgroup: 256,
  maxComputeWorkgroupStorageSize: 16 * 2 ** 10,
  maxComputeWorkgroupSizeX: 256,
  maxComputeWorkgroupSizeY: 256,
  maxComputeWorkgroupSizeZ: 64,
  maxComputeWorkgroupsPerDimension: 65535,
};

interface Results {
  limits: GPUSupportedLimits;
  features: string[];
  logits: Float32Array;
  /** Behind a prompt and a token, by type of the cache. */
  decoded: Record<CacheType, Float32Array>;
  encoded: EncodedClip;
  picture: Float32Array;
}

async function runModels(tier: LimitTier): Promise<Results> {
  const device = await Device.create(await requestAdapterNode({ log: () => undefined }), { tier });
  const folder = (name: string): ReturnType<typeof diskFolder> =>
    diskFolder(fileURLToPath(new URL(`../golden/${name}`, import.meta.url)));
  const { config, parameters } = await loadTransformer(device, folder('lm'));
  const ids = readGolden('lm/forward.safetensors')['input_ids'];
  const [batch, length] = ids.shape;
  const scorer = await SequenceScorer.create(device, config, parameters, { batch, length });
  const { logits } = await scorer.score({ ids: ids.data });
  const decoded: Partial<Results['decoded']> = {};
  for (const cacheType of cacheTypes) {
    const options = { sequences: 1, guided: false, capacity: 48, cacheType };
    const decoder = await Decoder.create(device, config, parameters, options);
    const prompt = Array.from({ length: 40 }, (_, index) => (index * 13) % 350);
    const sampling = { seed: 1, temperature: 0 };
    await decodeAll(decoder, { sequences: [{ prompt, sampling, allowed: [[7, 8]] }], newTokens: 2 });
    decoded[cacheType] = (await decoder.lastLogits()).data;
    decoder.destroy();
  }
  const { tokenizer } = await loadVisionTokenizer(device, folder('vq'));
  const { shape, data } = readGolden('vq/image.safetensors')['pixel_values'];
  const encoded = await tokenizer.encode(pixelClip({ shape, data: Float32Array.from(data) }));
  const { data: picture } = await tokenizer.decode(encoded, true);
  await device.finish();
  const { limits, features } = device.gpu;
  device.destroy();
  return { limits, features: [...features], logits, decoded: decoded as Results['decoded'], encoded, picture };
}

it("computes the same at WebGPU's guaranteed limits as at all the adapter offers", async () => {
  const least = await runModels('default');
  expect(least.limits).toMatchObject(defaultLimits);
  expect(least.features.filter((name) => name !== 'core-features-and-limits')).toEqual([]);
  const most = await runModels('adapter');
  expectClose(least.logits, most.logits, { absolute: 1e-4 }, 'logits');
  expectClose(least.encoded.latent, most.encoded.latent, { absolute: 1e-4 }, 'latent');
  expect(least.encoded.codes).toEqual(most.encoded.codes);
  for (const type of cacheTypes) {
    expectClose(least.decoded[type], most.decoded[type], { absolute: 1e-3 }, `logits over a cache of ${type}`);
  }
  expectClose(least.picture, most.picture, { absolute: 1e-3 }, 'picture');
});
