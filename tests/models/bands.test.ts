import { describe, expect, it } from 'vitest';
import { ClipPasses } from '../../engine/models/vision/clip-passes.js';
import { VisionTokenizer, bandLimits, spatialFactor, type BandLimits } from '../../engine/models/vision/index.js';
import {
  diskFolder,
  loadVisionTokenizer,
  parseVisionConfig,
  visionTensorShapes,
  withoutCounters,
} from '../../loader/index.node.js';
import { planVision } from '../../loader/memory/plan.js';
import { expectClose, integers } from '../support/compare.js';
import { testDevice } from '../support/gpu.js';
import { makeTokenizer, picture, table } from './tokenizer.js';

const mib = 2 ** 20;

/** Of a picture whose activation of the first level takes `bytes`. */
const cases: [name: string, limits: (bytes: number) => BandLimits][] = [
  ['one row of codes and nothing kept', () => ({ activationBytes: 1, memory: 1 })],
  ['one row of codes and some of them kept', (bytes) => ({ activationBytes: 1, memory: 3 * bytes })],
  ['several rows and all of them kept', (bytes) => ({ activationBytes: 0.6 * bytes, memory: 2 ** 40 })],
];

describe.each(table)('%j', (fields) => {
  it.each(cases)('decodes and encodes in bands of %s what it does whole', async (_name, limitsOf) => {
    const device = await testDevice();
    const { config, weights, tokenizer } = await makeTokenizer(fields);
    const side = spatialFactor(config);
    const codes = Uint32Array.from(integers(15, 3, config.codebook_size));
    const grid = { batch: 1, frames: 1, height: 5, width: 3, codes };
    const limits = limitsOf(4 * 15 * side * side * config.ch);
    const banded = new VisionTokenizer(device, config, weights, limits);
    const dispatches = (within?: BandLimits): number =>
      planVision(device, config, withoutCounters(visionTensorShapes(config)), grid, within).decoder.dispatches;
    expect(dispatches(limits)).toBeGreaterThan(dispatches());

    const whole = await tokenizer.decode(grid, true);
    const parts = await banded.decode(grid, true);
    expect({ ...parts, data: [] }).toEqual({ ...whole, data: [] });
    expectClose(parts.data, whole.data, { absolute: 1e-4 }, 'pixels');

    // Rows and columns that halving rounds off, one at least of them alone in the last band.
    for (const height of [4 * side + 1, 5 * side - 1, side]) {
      const pixels = picture(1, 1, height, 3 * side + 1);
      const expected = await tokenizer.encode(pixels);
      const encoded = await banded.encode(pixels);
      expectClose(encoded.latent, expected.latent, { absolute: 1e-4 }, `latent of ${height} rows`);
      expect(encoded.codes).toEqual(expected.codes);
    }
    await banded.destroy();
    await tokenizer.destroy();
    weights.destroy();
  });
});

it('takes the frames of clips in bands', async () => {
  const { config, weights, tokenizer } = await makeTokenizer(table[0]);
  const clip = picture(1, 4, 6, 6);
  const whole = await tokenizer.encode(clip);
  const pixels = await tokenizer.decode(whole, false);
  const passes = new ClipPasses(await testDevice(), config, weights, { activationBytes: 1, memory: 10_000 }, 1);
  const encoded = await passes.encode(clip, {});
  expectClose(encoded.latent, whole.latent, { absolute: 1e-4 }, 'latent');
  const decoded = await passes.decode(whole, {});
  expectClose(decoded.data, pixels.data, { absolute: 1e-4 }, 'pixels');
  await passes.destroy();
  await tokenizer.destroy();
  weights.destroy();
});

it('gives the nano model its pictures back in bands, in the memory that is planned', async () => {
  const device = await testDevice();
  const { config, weights, tokenizer } = await loadVisionTokenizer(
    device,
    diskFolder('demos/nano/model/vision_tokenizer'),
  );
  const grid = { batch: 1, frames: 1, height: 8, width: 8, codes: Uint32Array.from(integers(64, 9, 150)) };
  const whole = await tokenizer.decode(grid, true);
  const limits = { activationBytes: 100_000, memory: mib };
  const banded = new VisionTokenizer(device, config, weights, limits);
  const before = device.allocatedBytes;
  const told: number[][] = [];
  const parts = await banded.decode(grid, true, undefined, (done, total) => told.push([done, total]));
  const taken = device.allocatedBytes - before;
  expectClose(parts.data, whole.data, { absolute: 1e-4 }, 'pixels');
  // Little work is one submit.
  expect(told).toEqual([[told[0][1], told[0][1]]]);
  const shapes = withoutCounters(visionTensorShapes(config));
  const { decoder } = planVision(device, config, shapes, grid, limits);
  const unbanded = planVision(device, config, shapes, grid).decoder;
  expect(decoder.arena).toBeLessThan(unbanded.arena);
  expect(taken).toBeGreaterThanOrEqual(decoder.arena);
  // Uniforms and the input come on top.
  expect(taken - decoder.arena).toBeLessThan(mib);
  const aborted = banded.decode(grid, true, AbortSignal.abort());
  await expect(aborted).rejects.toMatchObject({ code: 'aborted' });
  await banded.destroy();
  await tokenizer.destroy();
  weights.destroy();
});

describe('the released vision tokenizer at the default limits', () => {
  const config = parseVisionConfig('{"model_type": "Emu3VisionVQ"}', 'vision');
  const shapes = withoutCounters(visionTensorShapes(config));
  const limits = { activationBytes: 128 * mib, memory: 1024 * mib };

  it.each([
    { height: 90, width: 90 },
    { height: 64, width: 64 },
    { height: 40, width: 120 },
  ])('takes pictures of %j tokens within 1 GiB', async (size) => {
    const { encoder, decoder } = planVision(await testDevice(), config, shapes, size, limits);
    for (const plan of [encoder, decoder]) {
      expect(plan.arena).toBeLessThan(1024 * mib);
      expect(plan.largest).toBeLessThan(limits.activationBytes);
    }
  });

  it('computes less again where there is more memory', async () => {
    const device = await testDevice();
    const plan = (memory: number): number =>
      planVision(device, config, shapes, { height: 90, width: 90 }, { ...limits, memory }).decoder.dispatches;
    expect(plan(2048 * mib)).toBeLessThan(plan(1024 * mib));
  });
});

it('refuses limits that are no bytes', async () => {
  const device = await testDevice();
  expect(() => bandLimits(device, { memory: 0 })).toThrow(/positive number of bytes/);
  expect(() => bandLimits(device, { activationBytes: NaN })).toThrow(/activationBytes is NaN/);
});
