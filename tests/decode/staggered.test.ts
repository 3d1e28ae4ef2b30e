import { describe, expect, it } from 'vitest';
import { certainAfter, checkLines, staggeredSchedule } from '../../engine/decode/steps/schedule.js';
import type { DecodeRequest } from '../../engine/decode/index.js';
import { SequenceScorer } from '../../engine/models/transformer/index.js';
import { readGolden } from '../support/golden.js';
import { testDevice } from '../support/gpu.js';
import { decodeAll, goldenDecoder, goldenModel, goldenTokens, pictureRanges } from './support.js';

const tokens = goldenTokens();
const golden = readGolden('generate/cfg_greedy.safetensors');
const prompt = Array.from(golden['prompt_ids'].data);
const negativePrompt = Array.from(golden['negative_prompt_ids'].data);
const size = { height: 4, width: 5 };
const lines = [6, 6, 6, 6, 3];

function request(seeds: readonly number[], temperature: number, guidance: number, stagger: number): DecodeRequest {
  return {
    sequences: seeds.map((seed, index) => ({
      prompt: prompt.slice(0, prompt.length - index),
      negativePrompt,
      sampling: { seed, temperature, guidance },
      allowed: pictureRanges(size, tokens),
    })),
    newTokens: 27,
    lines,
    stagger,
  };
}

describe('a schedule of lines', () => {
  it('is raster order where a line must wait for all of the one above', () => {
    const schedule = staggeredSchedule(lines, 6, 4);
    expect(schedule.flat()).toEqual(Array.from({ length: 27 }, (_, place) => place));
    expect(schedule).toHaveLength(27);
  });

  it.each([
    [lines, 1, 8],
    [lines, 2, 2],
    [[9, 9, 9, 9, 9, 9, 9, 9, 3], 4, 8],
    [[4, 4, 1, 4, 4, 1, 2], 2, 3],
    [[5], 1, 2],
  ])(
    'writes every place of %j once, a stagger of %i behind the line above, in at most %i lanes',
    (lines, stagger, lanes) => {
      const schedule = staggeredSchedule(lines, stagger, lanes);
      const starts = lines.map((_, line) => lines.slice(0, line).reduce((sum, length) => sum + length, 0));
      const total = lines.reduce((sum, length) => sum + length, 0);
      expect(schedule.flat().sort((a, b) => a - b)).toEqual(Array.from({ length: total }, (_, place) => place));
      const stepOf = new Map(schedule.flatMap((places, step) => places.map((place) => [place, step] as const)));
      for (const [line, start] of starts.entries()) {
        for (let column = 0; column < lines[line]; column++) {
          const step = stepOf.get(start + column) ?? -1;
          if (column > 0) expect(step).toBeGreaterThan(stepOf.get(start + column - 1) ?? Infinity);
          if (line === 0) continue;
          const needed = Math.min(lines[line - 1], column + stagger);
          expect(step).toBeGreaterThan(stepOf.get(starts[line - 1] + needed - 1) ?? Infinity);
        }
      }
      expect(Math.max(...schedule.map((places) => places.length))).toBeLessThanOrEqual(lanes);
      if (lines.length > 3) expect(schedule.length).toBeLessThan(total);
      for (const places of schedule) expect(places).toEqual([...places].sort((a, b) => a - b));
      const certain = certainAfter(schedule);
      expect(certain[certain.length - 1]).toBe(total);
      expect(certain).toEqual([...certain].sort((a, b) => a - b));
    },
  );

  it('is refused for lines that are none', () => {
    expect(checkLines([2, 3], 5)).toEqual([2, 3]);
    expect(() => checkLines(undefined, 5)).toThrow(/got none/);
    expect(() => checkLines([2, 0, 3], 5)).toThrow(/0 tokens/);
    expect(() => checkLines([2, 2], 5)).toThrow(/4 tokens, and 5/);
  });
});

describe('decoding several lines at once', () => {
  it.each([
    [true, 'f32'],
    [false, 'q8'],
  ] as const)('gives the ids of one token a step in raster order, guided: %s, cache %s', async (guided, cacheType) => {
    const [plain, staggered] = [
      await goldenDecoder({ sequences: 2, guided, cacheType }),
      await goldenDecoder({ sequences: 2, guided, cacheType, lanes: 3 }),
    ];
    for (const [first, temperature] of [
      [0, 0],
      [10, 1],
    ]) {
      const given = request([first, first + 1], temperature, guided ? 2.5 : 1, 6);
      expect(await decodeAll(staggered, given)).toEqual(await decodeAll(plain, given));
    }
    plain.destroy();
    staggered.destroy();
  });

  it('takes the likeliest token behind what has been read, in the order of reading, at its own place', async () => {
    const { config, parameters } = await goldenModel();
    const device = await testDevice();
    const decoder = await goldenDecoder({ sequences: 1, guided: false, lanes: 4 });
    const given = request([1], 0, 1, 2);
    const before = device.counters.dispatches;
    const [ids] = await decodeAll(decoder, given);
    const order = staggeredSchedule(lines, 2, 4);
    const prefills = Math.ceil((prompt.length - 1) / 32) * decoder.prefill.dispatches;
    expect((device.counters.dispatches - before - prefills) / decoder.step.dispatches).toBe(order.length);
    expect(order.length).toBeLessThan(20);
    decoder.destroy();

    const places = order.flat();
    const read = [
      ...prompt.slice(0, -1),
      ...places.map((place) => (place === 0 ? prompt[prompt.length - 1] : ids[place - 1])),
    ];
    const positions = [...prompt.slice(0, -1).keys(), ...places.map((place) => prompt.length - 1 + place)];
    const length = read.length;
    const scorer = await SequenceScorer.create(device, config, parameters, { batch: 1, length });
    const { logits } = await scorer.score({ ids: read, positions });
    scorer.destroy();
    const ranges = pictureRanges(size, tokens);
    places.forEach((place, index) => {
      const row = (prompt.length - 1 + index) * config.vocab_size;
      const [first, end] = ranges[place];
      const allowed = Array.from(logits.subarray(row + first, row + end));
      expect(ids[place] - first, `place ${place}`).toBe(allowed.indexOf(Math.max(...allowed)));
    });
  });

  it('is repeatable, creates nothing, frees all it made and refuses what it cannot do', async () => {
    const device = await testDevice();
    await goldenDecoder({ sequences: 1, guided: false }).then((decoder) => decoder.destroy());
    const bytes = device.allocatedBytes;
    const decoder = await goldenDecoder({ sequences: 2, guided: true, lanes: 3 });
    const given = request([5, 6], 1, 3, 2);
    const first = await decodeAll(decoder, given);
    const { buffers, bindGroups } = device.counters;
    expect(await decodeAll(decoder, given)).toEqual(first);
    expect([device.counters.buffers, device.counters.bindGroups]).toEqual([buffers, bindGroups]);
    await expect(decoder.lastLogits()).rejects.toThrow(/keeps no last logits/);
    await expect(decodeAll(decoder, { ...given, lines: [27, 1] })).rejects.toMatchObject({ where: 'lines' });
    await expect(decodeAll(decoder, { ...given, stagger: 0 })).rejects.toMatchObject({ where: 'stagger' });
    decoder.destroy();
    expect(device.allocatedBytes).toBe(bytes);
    for (const options of [{ lanes: 0 }, { lanes: 65 }, { lanes: 2, windows: [2] }]) {
      await expect(goldenDecoder({ sequences: 1, guided: false, ...options })).rejects.toMatchObject({
        where: 'lanes',
      });
    }
  });
});
