import { describe, expect, it } from 'vitest';
import type { DecodeRequest } from '../../engine/decode/index.js';
import { WindowClock } from '../../engine/decode/steps/window-clock.js';
import { readGolden } from '../support/golden.js';
import { testDevice } from '../support/gpu.js';
import { decodeAll, goldenDecoder, goldenTokens, pictureRanges } from './support.js';

const tokens = goldenTokens();
const golden = readGolden('generate/cfg_greedy.safetensors');
const prompt = golden['prompt_ids'].data;
const negativePrompt = golden['negative_prompt_ids'].data;
const size = { height: 4, width: 5 };

function request(seeds: readonly number[], temperature: number, guidance: number): DecodeRequest {
  return {
    sequences: seeds.map((seed, index) => ({
      prompt: prompt.slice(0, prompt.length - index),
      negativePrompt,
      sampling: { seed, temperature, guidance, topK: 40, topP: 0.95 },
      allowed: pictureRanges(size, tokens, 29),
    })),
    newTokens: 29,
    draftPeriod: size.width + 1,
  };
}

describe('decoding several tokens a step', () => {
  it.each([
    [[1], true, 'f32'],
    [[2], false, 'f32'],
    [[4], true, 'q8'],
    [[7], true, 'f32'],
    [[16], false, 'f16'],
    [[1, 3, 8], true, 'f32'],
  ] as const)('gives the ids of one a step: windows %j, guided: %s, cache %s', async (windows, guided, cacheType) => {
    for (const sequences of [1, 3]) {
      const [plain, windowed] = [
        await goldenDecoder({ sequences, guided, cacheType }),
        await goldenDecoder({ sequences, guided, cacheType, windows }),
      ];
      for (const [first, temperature] of [
        [0, 0],
        [10, 1],
        [20, 0.3],
      ] as const) {
        const seeds = Array.from({ length: sequences }, (_, index) => first + index);
        const given = request(seeds, temperature, guided ? 2.5 : 1);
        expect(await decodeAll(windowed, given)).toEqual(await decodeAll(plain, given));
      }
      plain.destroy();
      windowed.destroy();
    }
  });

  it('takes fewer steps where drafts come true, and never more than one a token', async () => {
    const device = await testDevice();
    const windowed = await goldenDecoder({ sequences: 1, guided: true, windows: [6] });
    // Ids that are forced are drafted right.
    const forced = request([1], 1, 2);
    const allowed = Array.from({ length: 24 }, (_, step) => [step + 3, step + 4] as const);
    const given = { ...forced, newTokens: 24, sequences: [{ ...forced.sequences[0], allowed }] };
    const before = device.counters.dispatches;
    const [ids] = await decodeAll(windowed, given);
    expect(ids).toEqual(allowed.map(([id]) => id));
    const steps = (device.counters.dispatches - before) / windowed.step.dispatches;
    expect(steps).toBeLessThan(24 / 2);
    windowed.destroy();
  });

  it('creates nothing once it is recorded', async () => {
    const device = await testDevice();
    const windowed = await goldenDecoder({ sequences: 2, guided: true, windows: [2, 5] });
    await decodeAll(windowed, request([1, 2], 1, 2));
    const { buffers, bindGroups } = device.counters;
    await decodeAll(windowed, request([3, 4], 1, 2));
    expect([device.counters.buffers, device.counters.bindGroups]).toEqual([buffers, bindGroups]);
    windowed.destroy();
  });

  it('frees all it made, refuses sizes that are none, and keeps no logits', async () => {
    const device = await testDevice();
    await goldenDecoder({ sequences: 1, guided: false }).then((decoder) => decoder.destroy());
    const before = device.allocatedBytes;
    const windowed = await goldenDecoder({ sequences: 1, guided: false, windows: [3] });
    await expect(windowed.lastLogits()).rejects.toThrow(/keeps no last logits/);
    windowed.destroy();
    expect(device.allocatedBytes).toBe(before);
    for (const windows of [[0], [2.5], [4, 65]]) {
      await expect(goldenDecoder({ sequences: 1, guided: false, windows })).rejects.toMatchObject({ where: 'windows' });
    }
    expect(device.allocatedBytes).toBe(before);
    const bad = await goldenDecoder({ sequences: 1, guided: false, windows: [3] });
    const given = request([1], 1, 1);
    await expect(decodeAll(bad, { ...given, draftPeriod: 0 })).rejects.toMatchObject({ where: 'draftPeriod' });
    await expect(
      decodeAll(bad, { ...given, sequences: [{ prompt, sampling: { seed: 1, temperature: NaN } }] }),
    ).rejects.toMatchObject({ where: 'temperature' });
    bad.destroy();
  });
});

describe('the choice of a window', () => {
  it('tries each size, then takes the fastest, and looks at the others now and then', () => {
    const clock = new WindowClock(3);
    const cost = [1, 0.25, 0.5];
    const chosen: number[] = [];
    for (let stretch = 0; stretch < 100; stretch++) {
      const size = clock.next();
      chosen.push(size);
      clock.record(size, 10, 10 * cost[size]);
    }
    expect(chosen.slice(0, 6)).toEqual([0, 0, 1, 1, 2, 2]);
    expect(clock.best).toBe(1);
    expect(chosen.filter((size) => size === 1).length).toBeGreaterThan(85);
    expect(chosen.slice(6).some((size) => size !== 1)).toBe(true);
    // The others have become faster meanwhile.
    cost[2] = 0.01;
    for (let stretch = 0; stretch < 150; stretch++) {
      const size = clock.next();
      clock.record(size, 10, 10 * cost[size]);
    }
    expect(clock.best).toBe(2);
  });
});
