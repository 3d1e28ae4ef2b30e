import { beforeAll, describe, expect, it } from 'vitest';
import { Device, Emu3, type PixelsEvent, type RowEvent, type TokenEvent } from '../../index.js';
import { requestAdapterNode } from '../../engine/adapter/request.node.js';
import { testDevice } from '../support/gpu.js';
import { modelFolder } from './model-folder.js';

let emu3: Emu3;

beforeAll(async () => {
  emu3 = await Emu3.load({ device: await testDevice(), folder: modelFolder() });
});

describe('drawing', () => {
  it('tells tokens and rows as they come, and gives ids, codes and picture', async () => {
    const tokens: TokenEvent[] = [];
    const rows: RowEvent[] = [];
    const pixels: PixelsEvent[] = [];
    const size = { height: 3, width: 4 };
    const picture = await emu3.generate({
      prompt: 'a red circle',
      size,
      seed: 5,
      onToken: (event) => tokens.push(event),
      onRow: (event) => rows.push(event),
      onPixels: (event) => pixels.push(event),
    });
    expect(pixels.at(-1)).toMatchObject({ picture: 0, done: pixels.at(-1)?.total });
    const { special } = emu3.tokenizer;
    expect(picture.seed).toBe(5);
    expect(picture.ids.length).toBe(3 * 5 + 3);
    expect([...picture.ids.slice(-3)]).toEqual([special.eof, special.eoi, special.eos]);
    expect([4, 9, 14].map((step) => picture.ids[step])).toEqual([special.eol, special.eol, special.eol]);
    expect(tokens.map(({ id }) => id)).toEqual([...picture.ids]);
    expect(tokens.map(({ step }) => step)).toEqual(tokens.map((_, step) => step));
    expect(tokens.flatMap(({ visual }) => (visual ? [visual.code] : []))).toEqual([...picture.codes]);
    expect(tokens[6].visual).toMatchObject({ row: 1, column: 1 });
    expect(rows.map(({ row }) => row)).toEqual([0, 1, 2]);
    expect(rows.flatMap(({ codes }) => [...codes])).toEqual([...picture.codes]);
    expect(picture.image).toMatchObject({ height: 24, width: 32 });
    expect(new Set(picture.image.rgb).size).toBeGreaterThan(8);
    expect(await emu3.decodeCodes({ ...size, codes: picture.codes })).toEqual(picture.image);
  });

  it('follows the seed, and nothing else that is random', async () => {
    const draw = (seed: number) => emu3.generate({ prompt: 'a green star', seed });
    const [first, second, other] = [await draw(1), await draw(1), await draw(2)];
    expect(second.codes).toEqual(first.codes);
    expect(other.codes).not.toEqual(first.codes);
    expect(first.size).toEqual({ height: 4, width: 4 });
  });

  it('draws the same picture alone and in a batch, padded or not', async () => {
    const requests = [
      { prompt: 'a red circle', seed: 1, size: { height: 2, width: 3 } },
      { prompt: 'three yellow hearts beside one purple moon', negativePrompt: 'blue', seed: 2, guidance: 4 },
      { prompt: 'a moon', seed: 3, temperature: 0.5, topK: 10, topP: 0.9, guidance: 0.5 },
    ];
    const together = await emu3.generateBatch(requests);
    for (const [index, request] of requests.entries()) {
      const alone = await emu3.generate(request);
      expect([...alone.ids], request.prompt).toEqual([...together[index].ids]);
    }
  });

  it('runs requests in turn when they are made at once', async () => {
    const draw = (seed: number) => emu3.generate({ prompt: 'a star', seed, size: { height: 2, width: 2 } });
    const [one, two] = await Promise.all([draw(1), draw(2)]);
    expect(one.codes).toEqual((await draw(1)).codes);
    expect(two.codes).toEqual((await draw(2)).codes);
  });
});

describe('pictures and text', () => {
  const image = (height: number, width: number) => ({
    height,
    width,
    rgb: Uint8Array.from({ length: height * width * 3 }, (_, index) => (index * 37 + (index >> 5) * 11) % 256),
  });

  it('turns a picture into tokens of the size the model was made for', async () => {
    const encoded = await emu3.encodeImage(image(80, 64));
    expect(encoded.codes.length).toBe(encoded.height * encoded.width);
    expect(encoded.resized).toMatchObject({ height: encoded.height * 8, width: encoded.width * 8 });
    const whole = await emu3.encodeImage(image(40, 56), { limits: { maxPixels: 40 * 56 } });
    expect([whole.height, whole.width]).toEqual([5, 7]);
  });

  it('answers with text, piece by piece', async () => {
    const pieces: string[] = [];
    const request = { question: 'what is this', image: image(32, 32), maxNewTokens: 20 };
    const answer = await emu3.describe({ ...request, onText: (piece) => pieces.push(piece) });
    expect(pieces.join('')).toBe(answer.text);
    expect(answer.finished || answer.ids.length === 20).toBe(true);
    expect(answer.ids.every((id) => id < emu3.tokenizer.special.visualStart)).toBe(true);
    expect(await emu3.describe(request)).toEqual(answer);
  });
});

describe('refusals', () => {
  const prompt = 'a red circle';
  const cases: [string, Parameters<Emu3['generate']>[0], string][] = [
    ['an empty prompt', { prompt: ' ' }, 'prompt'],
    ['a prompt beyond the context', { prompt: 'moon '.repeat(600) }, 'prompt'],
    ['a negative prompt beyond the context', { prompt, negativePrompt: 'moon '.repeat(600) }, 'prompt'],
    ['a picture beyond the context', { prompt, size: { height: 30, width: 30 } }, 'prompt'],
    ['negative guidance', { prompt, guidance: -1 }, 'argument'],
    ['guidance that is no number', { prompt, guidance: NaN }, 'argument'],
    ['a negative temperature', { prompt, temperature: -0.1 }, 'argument'],
    ['a temperature that is no number', { prompt, temperature: NaN }, 'argument'],
    ['top-k of 0', { prompt, topK: 0 }, 'argument'],
    ['half a top-k', { prompt, topK: 1.5 }, 'argument'],
    ['top-p of 0', { prompt, topP: 0 }, 'argument'],
    ['top-p above 1', { prompt, topP: 1.1 }, 'argument'],
    ['top-p that is no number', { prompt, topP: NaN }, 'argument'],
    ['a negative seed', { prompt, seed: -1 }, 'argument'],
    ['a seed beyond 32 bits', { prompt, seed: 2 ** 32 }, 'argument'],
    ['a size without rows', { prompt, size: { height: 0, width: 4 } }, 'argument'],
    ['half a row', { prompt, size: { height: 2.5, width: 4 } }, 'argument'],
    ['a ratio that is none', { prompt, ratio: 'wide' }, 'argument'],
    ['size and ratio', { prompt, ratio: '1:1', size: { height: 2, width: 2 } }, 'argument'],
    ['a signal that has fired', { prompt, signal: AbortSignal.abort() }, 'aborted'],
  ];
  it.each(cases)('of %s', async (_, request, code) => {
    await expect(emu3.generate(request)).rejects.toMatchObject({ name: 'Emu3Error', code });
  });

  it('of no requests, codes beyond the codebook, and empty questions', async () => {
    await expect(emu3.generateBatch([])).rejects.toMatchObject({ code: 'argument' });
    await expect(emu3.decodeCodes({ codes: [512], height: 1, width: 1 })).rejects.toMatchObject({ code: 'token' });
    await expect(emu3.decodeCodes({ codes: [1, 2], height: 1, width: 1 })).rejects.toMatchObject({ code: 'image' });
    const image = { codes: [1], height: 1, width: 1 };
    await expect(emu3.describe({ question: '', image })).rejects.toMatchObject({ code: 'prompt' });
    await expect(emu3.describe({ question: 'what', image, maxNewTokens: 0 })).rejects.toMatchObject({
      code: 'argument',
    });
    await expect(emu3.describe({ question: 'what', image, maxNewTokens: 600 })).rejects.toMatchObject({
      code: 'prompt',
    });
  });

  it('of a cancelled picture, midway, after which the model still works', async () => {
    const controller = new AbortController();
    let rows = 0;
    const cancelled = emu3.generate({
      prompt,
      seed: 1,
      size: { height: 8, width: 4 },
      signal: controller.signal,
      onRow: () => {
        rows++;
        controller.abort();
      },
    });
    await expect(cancelled).rejects.toMatchObject({ code: 'aborted' });
    expect(rows).toBe(1);
    expect((await emu3.generate({ prompt, seed: 1 })).ids.length).toBe(23);
  });

  it('of what a listener throws, after which the model still works', async () => {
    const onRow = (): void => {
      throw new Error('page closed');
    };
    await expect(emu3.generate({ prompt, seed: 1, onRow })).rejects.toThrow('page closed');
    expect((await emu3.generate({ prompt, seed: 1 })).ids.length).toBe(23);
  });

  const folders: [string, Record<string, string | undefined>, string][] = [
    ['a folder without a config', { 'config.json': undefined }, 'missing'],
    ['a folder without weights', { 'model.safetensors': undefined }, 'missing'],
    ['a folder without a text tokenizer', { 'tokenizer.json': undefined }, 'missing'],
    ['a folder without a vision tokenizer', { 'vision_tokenizer/config.json': undefined }, 'missing'],
    ['a temperature below 0 in its defaults', { 'generation_config.json': '{"temperature": -1}' }, 'config'],
    ['defaults that are damaged', { 'generation_config.json': '{' }, 'format'],
    ['a vision tokenizer of another model', { 'vision_tokenizer/config.json': '{"codebook_size": 511}' }, 'config'],
  ];
  it.each(folders)('of %s', async (_, changed, code) => {
    const device = await testDevice();
    const bytes = device.allocatedBytes;
    await expect(Emu3.load({ device, folder: modelFolder(changed) })).rejects.toMatchObject({
      name: 'Emu3Error',
      code,
    });
    expect(device.allocatedBytes).toBe(bytes);
  });
});

describe('a lost device', () => {
  it('is told as such, and the model loads again on another one', async () => {
    const choice = await requestAdapterNode();
    const device = await Device.create(choice);
    const model = await Emu3.load({ device, folder: modelFolder() });
    const lost = model.generate({
      prompt: 'a star',
      seed: 1,
      size: { height: 9, width: 4 },
      onRow: () => {
        device.gpu.destroy();
      },
    });
    await expect(lost).rejects.toMatchObject({ name: 'Emu3Error', code: 'device-lost' });
    await expect(model.generate({ prompt: 'a star', seed: 1 })).rejects.toMatchObject({ code: 'device-lost' });
    const expected = await emu3.generate({ prompt: 'a star', seed: 1 });
    const next = await Device.create(await requestAdapterNode());
    const again = await Emu3.load({ device: next, folder: modelFolder() });
    expect((await again.generate({ prompt: 'a star', seed: 1 })).ids).toEqual(expected.ids);
    await again.destroy();
    next.destroy();
  });
});

describe('memory', () => {
  it('is given back when the model is let go of', async () => {
    const device = await testDevice();
    const bytes = device.allocatedBytes;
    const progress: string[] = [];
    const model = await Emu3.load({
      device,
      folder: modelFolder(),
      onProgress: ({ part }) => progress.push(part),
    });
    expect(new Set(progress)).toEqual(new Set(['vision tokenizer', 'transformer']));
    await model.generate({ prompt: 'a star', seed: 1 });
    await model.destroy();
    await expect(model.generate({ prompt: 'a star' })).rejects.toMatchObject({ code: 'argument' });
    expect(device.allocatedBytes).toBe(bytes);
  });

  it('does not grow from picture to picture', async () => {
    const device = await testDevice();
    const draw = () => emu3.generate({ prompt: 'a red circle', seed: 1 });
    await draw();
    const before = { bytes: device.allocatedBytes, ...device.counters };
    await draw();
    await draw();
    const { allocatedBytes: bytes, counters } = device;
    expect({ bytes, buffers: counters.buffers, bindGroups: counters.bindGroups }).toEqual({
      bytes: before.bytes,
      buffers: before.buffers,
      bindGroups: before.bindGroups,
    });
  });
});
