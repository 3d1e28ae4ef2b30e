import { beforeAll, describe, expect, it } from 'vitest';
import { Emu3, type RgbImage } from '../../index.js';
import { tokensByChance, tokensUnderMask } from '../../loader/pipeline/edit.js';
import { testDevice } from '../support/gpu.js';
import { modelFolder } from './model-folder.js';

let emu3: Emu3;

beforeAll(async () => {
  emu3 = await Emu3.load({ device: await testDevice(), folder: modelFolder() });
});

const image: RgbImage = {
  height: 32,
  width: 32,
  rgb: Uint8Array.from({ length: 32 * 32 * 3 }, (_, index) => (index * 37 + (index >> 5) * 11) % 256),
};
const prompt = 'a red circle';

/** Marks one rectangle of pixels. */
function maskOf(left: number, top: number, width: number, height: number, size = image): Uint8Array {
  return Uint8Array.from({ length: size.height * size.width }, (_, pixel) => {
    const [row, column] = [Math.floor(pixel / size.width), pixel % size.width];
    return Number(row >= top && row < top + height && column >= left && column < left + width);
  });
}

describe('the tokens to draw anew', () => {
  it('are those with a marked pixel, whatever the picture was resized to', () => {
    const size = { height: 2, width: 4 };
    const mask = (data: Uint8Array) => ({ height: 32, width: 32, data });
    expect([...tokensUnderMask(mask(maskOf(8, 0, 1, 1)), image, size)]).toEqual([0, 1, 0, 0, 0, 0, 0, 0]);
    expect([...tokensUnderMask(mask(maskOf(7, 15, 2, 2)), image, size)]).toEqual([1, 1, 0, 0, 1, 1, 0, 0]);
    expect([...tokensUnderMask(mask(maskOf(31, 31, 1, 1)), image, size)]).toEqual([0, 0, 0, 0, 0, 0, 0, 1]);
  });

  it('drawn by chance are as many as asked for, the same for a seed, and all over the picture', () => {
    const size = { height: 8, width: 8 };
    const hits = new Uint32Array(64);
    for (let seed = 0; seed < 400; seed++) {
      const marked = tokensByChance(size, 0.25, seed);
      expect(marked.reduce((sum, one) => sum + one)).toBe(16);
      marked.forEach((one, token) => (hits[token] += one));
    }
    // 100 of 400 each, with a standard deviation of 8.7.
    expect(Math.min(...hits)).toBeGreaterThan(60);
    expect(Math.max(...hits)).toBeLessThan(140);
    expect(tokensByChance(size, 0.5, 3)).toEqual(tokensByChance(size, 0.5, 3));
    expect(tokensByChance(size, 0.001, 3).reduce((sum, one) => sum + one)).toBe(1);
  });
});

describe('editing', () => {
  it('draws the marked tokens alone and keeps all pixels of the others to the bit', async () => {
    const mask = { height: 32, width: 32, data: maskOf(9, 8, 12, 16) };
    const original = await emu3.encodeImage(image);
    const edited = await emu3.edit({ image, mask, prompt, seed: 3, temperature: 2 });
    expect([...edited.redrawn]).toEqual([0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 0]);
    const plain = await emu3.decodeCodes({ height: 4, width: 4, codes: edited.codes });
    for (let token = 0; token < 16; token++) {
      if (edited.redrawn[token] === 0) expect(edited.codes[token]).toBe(original.codes[token]);
    }
    expect(edited.codes).not.toEqual(original.codes);
    for (let pixel = 0; pixel < 32 * 32; pixel++) {
      const token = Math.floor(pixel / 256) * 4 + Math.floor((pixel % 32) / 8);
      const source = edited.redrawn[token] === 1 ? plain.rgb : original.resized.rgb;
      expect([...edited.image.rgb.subarray(3 * pixel, 3 * pixel + 3)]).toEqual([
        ...source.subarray(3 * pixel, 3 * pixel + 3),
      ]);
    }
    const again = await emu3.edit({ image, mask, prompt, seed: 3, temperature: 2 });
    expect(again).toEqual(edited);
  });

  it('with everything marked draws what the prompt alone gives', async () => {
    const mask = { height: 32, width: 32, data: new Uint8Array(1024).fill(1) };
    const size = { height: 4, width: 4 };
    const edited = await emu3.edit({ image, mask, prompt, seed: 4 });
    expect(edited.codes).toEqual((await emu3.generate({ prompt, seed: 4, size })).codes);
  });

  it('of a drawn picture keeps the tokens it was drawn with', async () => {
    const { codes, size, image: pixels } = await emu3.generate({ prompt, seed: 5, temperature: 2 });
    const drawn = { codes, ...size, resized: pixels };
    const mask = { height: 32, width: 32, data: maskOf(8, 8, 8, 8) };
    const edited = await emu3.edit({ image: drawn, mask, prompt, seed: 3, temperature: 2 });
    expect(edited.redrawn.indexOf(1)).toBe(5);
    expect(edited.codes.filter((_, token) => token !== 5)).toEqual(codes.filter((_, token) => token !== 5));
    const [varied] = await emu3.vary([{ image: drawn, share: 0.25, prompt, seed: 6, temperature: 2 }]);
    const kept = (list: Uint32Array): Uint32Array => list.filter((_, token) => varied.redrawn[token] === 0);
    expect(kept(varied.codes).length).toBe(12);
    expect(kept(varied.codes)).toEqual(kept(codes));
    const other = { ...drawn, resized: { height: 16, width: 32, rgb: pixels.rgb.slice(0, 16 * 32 * 3) } };
    const smaller = { height: 16, width: 32, data: maskOf(8, 8, 8, 8, other.resized) };
    await expect(emu3.edit({ image: other, mask: smaller, prompt })).rejects.toMatchObject({
      code: 'shape',
      where: 'image',
    });
  });

  it('varies pictures side by side, each by its own seed', async () => {
    const original = await emu3.encodeImage(image);
    const requests = [1, 2].map((seed) => ({ image, prompt, seed, share: 0.5, temperature: 2 }));
    const [one, two] = await emu3.vary(requests);
    expect([...one.redrawn]).not.toEqual([...two.redrawn]);
    for (const { codes, redrawn } of [one, two]) {
      expect(redrawn.reduce((sum, marked) => sum + marked)).toBe(8);
      codes.forEach((code, token) => {
        if (redrawn[token] === 0) expect(code).toBe(original.codes[token]);
      });
    }
    expect((await emu3.vary([requests[1]]))[0].codes).toEqual(two.codes);
  });

  it('refuses masks, shares and codes that do not fit', async () => {
    const mask = { height: 32, width: 32, data: maskOf(0, 0, 8, 8) };
    const keep = { height: 2, width: 2, codes: [1, 2, 3, 4], kept: [1, 1, 1, 0] };
    const cases: [() => Promise<unknown>, string, string][] = [
      [() => emu3.edit({ image, mask: { ...mask, data: new Uint8Array(1024) }, prompt }), 'argument', 'mask'],
      [() => emu3.edit({ image, mask: { ...mask, height: 16 }, prompt }), 'shape', 'mask'],
      [() => emu3.edit({ image, mask: { ...mask, data: new Uint8Array(9) }, prompt }), 'shape', 'mask'],
      [() => emu3.edit({ image, mask, prompt: '' }), 'prompt', 'prompt'],
      [() => emu3.edit({ image, mask, prompt, signal: AbortSignal.abort() }), 'aborted', ''],
      [() => emu3.vary([{ image, prompt, share: 0 }]), 'argument', 'share'],
      [() => emu3.vary([{ image, prompt, share: NaN }]), 'argument', 'share'],
      [() => emu3.vary([]), 'argument', 'requests'],
      [() => emu3.generate({ prompt, keep: { ...keep, kept: [1] } }), 'shape', 'keep'],
      [() => emu3.generate({ prompt, keep: { ...keep, codes: [1, 2, 512, 4] } }), 'token', 'keep, code 2'],
      [() => emu3.generate({ prompt, keep, ratio: '1:1' }), 'argument', 'keep'],
    ];
    for (const [work, code, where] of cases) {
      await expect(work()).rejects.toMatchObject({
        name: 'Emu3Error',
        code,
        where: expect.stringContaining(where) as unknown,
      });
    }
    const fits = await emu3.generate({ prompt, keep: { ...keep, codes: [1, 2, 3, 9999] } });
    expect([...fits.codes.slice(0, 3)]).toEqual([1, 2, 3]);
  });
});
