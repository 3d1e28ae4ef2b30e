import { describe, expect, it, vi } from 'vitest';
import { Decoder, type DecodeRequest } from '../../engine/decode/index.js';
import type { Device } from '../../engine/device.js';
import { ParameterStore } from '../../engine/parameters.js';
import { QuantizedParameters } from '../../engine/quantized/index.js';
import { transformerTensorShapes } from '../../loader/config/shapes.js';
import { cacheBytes } from '../../loader/memory/plan.js';
import { expectClose } from '../support/compare.js';
import { readGolden, readGoldenJson } from '../support/golden.js';
import { testDevice } from '../support/gpu.js';
import { decodeAll, goldenDecoder, goldenModel, goldenTokens, pictureRanges } from './support.js';

const tokens = goldenTokens();
const greedy = { seed: 1, temperature: 0 };

/** The device, with the kernels for software adapters or with those for GPUs. */
function withSoftware(device: Device, software: boolean): Device {
  return Object.assign(Object.create(device) as Device, { traits: { ...device.traits, software } });
}

describe('decoding against recorded logits', () => {
  const { input_ids: ids, attention_mask: mask, logits } = readGolden('lm/forward.safetensors');
  const [rows, length, vocabulary] = logits.shape;
  const row = (index: number): number[] =>
    ids.data
      .slice(index * length, (index + 1) * length)
      .filter((_, column) => mask.data[index * length + column] === 1);
  const padding = (index: number): number => length - row(index).length;

  it('takes in prompts of different length at once', async () => {
    const decoder = await goldenDecoder({ sequences: rows, guided: false });
    for (const shorter of [0, 7, 28]) {
      const prompts = Array.from({ length: rows }, (_, index) =>
        row(index).slice(0, row(index).length - shorter * index),
      );
      await decodeAll(decoder, {
        sequences: prompts.map((prompt) => ({ prompt, sampling: greedy })),
        newTokens: 1,
      });
      const { data } = await decoder.lastLogits();
      prompts.forEach((prompt, index) => {
        const place = index * length + padding(index) + prompt.length - 1;
        expectClose(
          data.subarray(index * vocabulary, (index + 1) * vocabulary),
          logits.data.slice(place * vocabulary, (place + 1) * vocabulary),
          { absolute: 1e-3 },
          `row ${index}, ${prompt.length} tokens`,
        );
      });
    }
    decoder.destroy();
  });

  it('steps through a sequence one token at a time', async () => {
    const decoder = await goldenDecoder({ sequences: rows, guided: false });
    const shared = Math.min(...Array.from({ length: rows }, (_, index) => row(index).length));
    const request = (newTokens: number): DecodeRequest => ({
      sequences: Array.from({ length: rows }, (_, index) => ({
        prompt: row(index).slice(0, 1),
        sampling: greedy,
        allowed: row(index)
          .slice(1)
          .map((id) => [id, id + 1] as const),
      })),
      newTokens,
    });
    for (const steps of [1, 2, 9, shared]) {
      await decodeAll(decoder, request(steps));
      const { data } = await decoder.lastLogits();
      for (let index = 0; index < rows; index++) {
        const place = index * length + padding(index) + steps - 1;
        expectClose(
          data.subarray(index * vocabulary, (index + 1) * vocabulary),
          logits.data.slice(place * vocabulary, (place + 1) * vocabulary),
          { absolute: 1e-3 },
          `row ${index} after ${steps} steps`,
        );
      }
    }
    decoder.destroy();
  });
});

describe('stretched positions against recorded logits', () => {
  const recorded = readGolden('lm/rope_scaling.safetensors');
  const settings = readGoldenJson('lm/rope_scaling.json') as Record<
    'linear' | 'dynamic',
    { rope_scaling: { type: 'linear' | 'dynamic'; factor: number }; max_position_embeddings?: number }
  >;
  const prompt = readGolden('lm/forward.safetensors').input_ids.data.slice(0, 40);

  it.each(['linear', 'dynamic'] as const)('%s', async (kind) => {
    const decoder = await goldenDecoder({ sequences: 1, guided: false, capacity: 48 }, settings[kind]);
    const expected = recorded[`${kind}.logits_tail`];
    const [, tail, vocabulary] = expected.shape;
    for (const steps of [1, 8]) {
      // The same final length, so the same stretch: a prompt of it all, or the last tokens one by one.
      const given = prompt.slice(0, 41 - steps);
      const allowed = prompt.slice(41 - steps).map((id) => [id, id + 1] as const);
      const request = { prompt: given, sampling: greedy, ...(allowed.length > 0 && { allowed }) };
      await decodeAll(decoder, { sequences: [request], newTokens: steps });
      const last = expected.data.slice((tail - 1) * vocabulary, tail * vocabulary);
      expectClose((await decoder.lastLogits()).data, last, { absolute: 1e-3 }, `${kind}, ${steps} steps`);
    }
    decoder.destroy();
  });
});

describe('guided greedy decoding against recorded ids', () => {
  it('draws one picture', async () => {
    const golden = readGolden('generate/cfg_greedy.safetensors');
    const size = { height: 4, width: 5 };
    const decoder = await goldenDecoder({ sequences: 1, guided: true });
    const sequence = {
      prompt: golden['prompt_ids'].data,
      negativePrompt: golden['negative_prompt_ids'].data,
      sampling: { ...greedy, guidance: 3 },
      allowed: pictureRanges(size, tokens),
    };
    const [ids] = await decodeAll(decoder, { sequences: [sequence], newTokens: 27, blockSteps: 6 });
    expect(ids).toEqual(golden['output_ids'].data);
    decoder.destroy();

    const sliced = await goldenDecoder({
      sequences: 1,
      guided: true,
      slice: { first: tokens.visualStart, count: tokens.visualCount },
    });
    expect(await decodeAll(sliced, { sequences: [sequence], newTokens: 27 })).toEqual([golden['output_ids'].data]);
    sliced.destroy();

    const plain = await goldenDecoder({ sequences: 1, guided: false });
    const [unguided] = await decodeAll(plain, { sequences: [sequence], newTokens: 27 });
    expect(unguided).toEqual(golden['output_ids_without_guidance'].data);
    plain.destroy();
  });

  it('draws pictures of different size in one batch', async () => {
    const golden = readGolden('generate/cfg_greedy_batch.safetensors');
    const sizes = [
      { height: 4, width: 5 },
      { height: 3, width: 6 },
    ];
    const steps = golden['output_ids'].shape[1];
    const rowsOf = (name: string): number[][] => {
      const { data, shape } = golden[name];
      return Array.from({ length: shape[0] }, (_, index) => data.slice(index * shape[1], (index + 1) * shape[1]));
    };
    const masks = rowsOf('prompt_mask');
    const decoder = await goldenDecoder({ sequences: 2, guided: true });
    const ids = await decodeAll(decoder, {
      sequences: sizes.map((size, index) => ({
        prompt: rowsOf('prompt_ids')[index].filter((_, place) => masks[index][place] === 1),
        // The recording attends to the padding in front of negative prompts, as its example script does.
        negativePrompt: rowsOf('negative_prompt_ids')[index],
        sampling: { ...greedy, guidance: 3 },
        allowed: pictureRanges(size, tokens, steps),
      })),
      newTokens: steps,
      blockSteps: 5,
    });
    expect(ids).toEqual(rowsOf('output_ids'));
    decoder.destroy();
  });
});

describe('replay', () => {
  it('creates nothing, and gives the bits of single dispatches', async () => {
    const device = await testDevice();
    const decoder = await goldenDecoder({ sequences: 2, guided: true });
    const request: DecodeRequest = {
      sequences: [3, 4].map((seed) => ({
        prompt: Array.from({ length: 10 + seed * 9 }, (_, index) => (index * 7 * seed) % 300),
        negativePrompt: [358, 361, 360],
        sampling: { seed, temperature: 0.9, topK: 100, topP: 0.95, guidance: 2 },
        allowed: pictureRanges({ height: 2, width: 4 }, tokens),
      })),
      newTokens: 13,
    };
    const first = await decodeAll(decoder, request);
    const { data: logits } = await decoder.lastLogits();
    const before = { ...device.counters };
    expect(await decodeAll(decoder, request)).toEqual(first);
    const { buffers, bindGroups, pipelines } = device.counters;
    expect({ buffers, bindGroups, pipelines }).toEqual({
      buffers: before.buffers,
      bindGroups: before.bindGroups,
      pipelines: before.pipelines,
    });

    decoder.step.run = () => decoder.step.runUnreplayed();
    expect(await decodeAll(decoder, request)).toEqual(first);
    expect((await decoder.lastLogits()).data).toEqual(logits);
    decoder.destroy();
  });
});

describe('a decoder', () => {
  const sequence = { prompt: [358, 361, 360], sampling: greedy };

  it('gives the logits of a row whatever else is in the batch', async () => {
    const prompts = [[358, 3, 4, 5, 361, 360], [358, 361, 360], Array.from({ length: 40 }, (_, index) => index * 5)];
    const sequences = prompts.map((prompt, seed) => ({ prompt, sampling: { seed, temperature: 1, topK: 50 } }));
    const batch = await goldenDecoder({ sequences: 3, guided: false });
    const together = await decodeAll(batch, { sequences, newTokens: 20 });
    const { data, count } = await batch.lastLogits();
    const single = await goldenDecoder({ sequences: 1, guided: false });
    for (const [row, one] of sequences.entries()) {
      expect(await decodeAll(single, { sequences: [one], newTokens: 20 })).toEqual([together[row]]);
      const { data: alone } = await single.lastLogits();
      expectClose(data.subarray(row * count, (row + 1) * count), alone, { absolute: 1e-4 }, `row ${row}`);
    }
    batch.destroy();
    single.destroy();
  });

  it.each([
    ['f16', 0.05],
    ['q8', 0.5],
  ] as const)('keeps its cache in %s', async (cacheType, absolute) => {
    const { config } = await goldenModel();
    const [exact, narrow] = [
      await goldenDecoder({ sequences: 1, guided: false }),
      await goldenDecoder({ sequences: 1, guided: false, cacheType }),
    ];
    expect(narrow.bytes.cache).toBe(cacheBytes(config, 1, 64, cacheType));
    const prompt = Array.from({ length: 40 }, (_, index) => (index * 13) % 350);
    const request = { sequences: [{ prompt, sampling: greedy }], newTokens: 5 };
    const ids = await decodeAll(exact, request);
    const { data: expected } = await exact.lastLogits();
    expect(await decodeAll(narrow, request)).toEqual(ids);
    expectClose((await narrow.lastLogits()).data, expected, { absolute }, `logits over a cache of ${cacheType}`);
    exact.destroy();
    narrow.destroy();
  });

  it('reads a prompt that goes on only from where it parts with the last one, to the same bits', async () => {
    const options = { sequences: 2, guided: false, capacity: 460 };
    const decoder = await goldenDecoder({ ...options, keepsPrompts: true });
    const fresh = await goldenDecoder(options);
    const chunk = (await testDevice()).traits.software ? 32 : 128;
    const run = vi.spyOn(decoder.prefill, 'run');
    const first = Array.from({ length: 300 }, (_, index) => (index * 13) % 350);
    const changed = first.map((id, index) => (index === 270 ? 1 : id));
    // Each with the tokens of both rows that are known: the shorter row decides, and of the last token nothing is kept.
    const cases: [number[], number[], number][] = [
      [first, first.slice(0, 290), 0],
      [[...first, 5, 6, 7], first.slice(0, 289), 288],
      [changed, first.slice(0, 289), 270],
      [first, first.slice(0, 100), 100],
      [first, first.slice(0, 100), 99],
      [first.slice(0, 1), [...first.slice(0, 3), ...first], 1],
    ];
    for (const [one, other, known] of cases) {
      run.mockClear();
      const request = { sequences: [one, other].map((prompt) => ({ prompt, sampling: greedy })), newTokens: 9 };
      expect(await decodeAll(decoder, request)).toEqual(await decodeAll(fresh, request));
      expect((await decoder.lastLogits()).data).toEqual((await fresh.lastLogits()).data);
      const all = Math.ceil((Math.max(one.length, other.length) - 1) / chunk);
      expect(run).toHaveBeenCalledTimes(Math.max(0, all - Math.floor(known / chunk)));
    }
    decoder.destroy();
    fresh.destroy();
  });

  it('reads all of a prompt again when it was stopped while reading', async () => {
    const decoder = await goldenDecoder({ sequences: 1, guided: false, capacity: 460, keepsPrompts: true });
    const prompt = Array.from({ length: 300 }, (_, index) => (index * 7) % 350);
    const request = { sequences: [{ prompt, sampling: greedy }], newTokens: 5 };
    const ids = await decodeAll(decoder, request);
    const stop = new AbortController();
    const run = vi.spyOn(decoder.prefill, 'run').mockImplementationOnce(() => stop.abort());
    const other = { ...request, sequences: [{ prompt: prompt.toReversed(), sampling: greedy }], signal: stop.signal };
    await expect(decodeAll(decoder, other)).rejects.toMatchObject({ code: 'aborted' });
    run.mockRestore();
    expect(await decodeAll(decoder, request)).toEqual(ids);
    decoder.destroy();
  });

  it('can be left in the middle and used again', async () => {
    const decoder = await goldenDecoder({ sequences: 1, guided: false });
    const request = { sequences: [sequence], newTokens: 30, blockSteps: 4 };
    const all = await decodeAll(decoder, request);
    for await (const { firstStep, ids } of decoder.decode(request)) {
      expect([...ids[0]]).toEqual(all[0].slice(firstStep, firstStep + 4));
      if (firstStep === 8) break;
    }
    expect(await decodeAll(decoder, request)).toEqual(all);
    decoder.destroy();
  });

  it('refuses what it cannot run', async () => {
    const decoder = await goldenDecoder({ sequences: 1, guided: true, slice: { first: 363, count: 512 } });
    const guided = { ...sequence, negativePrompt: [358, 360] };
    const refused = (request: Partial<DecodeRequest>, code: string) =>
      expect(decodeAll(decoder, { sequences: [guided], newTokens: 2, ...request })).rejects.toMatchObject({ code });
    await refused({ sequences: [] }, 'argument');
    await refused({ newTokens: 0 }, 'argument');
    await refused({ newTokens: NaN }, 'argument');
    await refused({ newTokens: 63 }, 'prompt');
    await refused({ blockSteps: 0 }, 'argument');
    await refused({ sequences: [sequence] }, 'prompt');
    await refused({ sequences: [{ ...guided, prompt: [] }] }, 'prompt');
    await refused({ sequences: [{ ...guided, prompt: [877] }] }, 'token');
    await refused({ sequences: [{ ...guided, prompt: [1.5] }] }, 'token');
    await refused({ sequences: [{ ...guided, negativePrompt: [-1] }] }, 'token');
    await refused({ sequences: [{ ...guided, allowed: [[0, 5]] }] }, 'token');
    await refused({ sequences: [{ ...guided, allowed: [] }] }, 'argument');
    await refused({ signal: AbortSignal.abort() }, 'aborted');

    const running = decoder.decode({ sequences: [guided], newTokens: 2 });
    await running.next();
    await refused({}, 'argument');
    await running.return();
    expect((await decodeAll(decoder, { sequences: [guided], newTokens: 62 }))[0].length).toBe(62);
    decoder.destroy();

    await expect(goldenDecoder({ sequences: 0, guided: false })).rejects.toMatchObject({ code: 'argument' });
    await expect(goldenDecoder({ sequences: 1, guided: false, capacity: 513 })).rejects.toMatchObject({
      code: 'prompt',
    });
    await expect(goldenDecoder({ sequences: 1, guided: false, cacheType: 'q4' as 'q8' })).rejects.toMatchObject({
      code: 'argument',
      where: 'cacheType',
    });
    const slice = { first: 800, count: 100 };
    await expect(goldenDecoder({ sequences: 1, guided: false, slice })).rejects.toMatchObject({ code: 'argument' });
  });

  it.each([
    ['software adapters', true, 5],
    ['GPUs', false, 6],
  ])('is so many dispatches a layer on %s, and 5 besides', async (_, software, layer) => {
    const device = withSoftware(await testDevice(), software);
    const { config, parameters } = await goldenModel();
    const decoder = await Decoder.create(device, config, parameters, { sequences: 1, guided: true, capacity: 64 });
    expect(decoder.step.dispatches).toBe(3 * layer + 5);
    decoder.destroy();
  });

  it.each([
    ['f32', true],
    ['f32', false],
    ['q4', true],
    ['q4', false],
  ] as const)('is at most 200 dispatches at 32 layers: guided, %s, software %s', async (format, software) => {
    const device = withSoftware(await testDevice(), software);
    const { config } = await goldenModel();
    const deep = {
      ...config,
      hidden_size: 256,
      intermediate_size: 512,
      num_hidden_layers: 32,
      num_attention_heads: 4,
      num_key_value_heads: 4,
    };
    const full = ParameterStore.create(device, transformerTensorShapes(deep));
    const weights = format === 'f32' ? full : await QuantizedParameters.from(device, full, { format });
    const decoder = await Decoder.create(device, deep, weights, { sequences: 1, guided: true, capacity: 8 });
    expect(decoder.step.dispatches).toBeLessThanOrEqual(200);
    decoder.destroy();
    full.destroy();
    if (weights !== full) weights.destroy();
  });
});

describe('the kernels for GPUs', () => {
  it('draw the first row of the recorded picture too', async () => {
    const device = withSoftware(await testDevice(), false);
    const { config, parameters } = await goldenModel();
    const decoder = await Decoder.create(device, config, parameters, { sequences: 1, guided: true, capacity: 64 });
    const golden = readGolden('generate/cfg_greedy.safetensors');
    const sequence = {
      prompt: golden['prompt_ids'].data,
      negativePrompt: golden['negative_prompt_ids'].data,
      sampling: { ...greedy, guidance: 3 },
      allowed: pictureRanges({ height: 4, width: 5 }, tokens),
    };
    const [row] = await decodeAll(decoder, { sequences: [sequence], newTokens: 6 });
    expect(row).toEqual(golden['output_ids'].data.slice(0, 6));
    decoder.destroy();
    // Their barriers are slow on software adapters.
  }, 300_000);
});
