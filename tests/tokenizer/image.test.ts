import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { nodeImageCodec } from '../../tokenizer/image/codec.node.js';
import type { RgbImage } from '../../tokenizer/image/pixels.js';
import { cropCodes, normalise, padBatch, postprocess, prepareImage } from '../../tokenizer/image/pixels.js';
import { resizeBicubic } from '../../tokenizer/image/resize.js';
import { expectClose } from '../support/compare.js';
import { readGolden, readGoldenJson } from '../support/golden.js';
import { errorCode, goldenBytes, tensorOf } from './golden.js';

interface ImageCase {
  min_pixels: number;
  max_pixels: number;
  spatial_factor: number;
  out_h_w?: [number, number];
  shapes?: [number, number][];
}

const cases = readGoldenJson('image/cases.json') as Record<string, ImageCase>;
const tensors = readGolden('image/cases.safetensors');
const decodeImage = nodeImageCodec.decodeImage.bind(nodeImageCodec);
const encodePng = nodeImageCodec.encodePng.bind(nodeImageCodec);

function limitsOf(name: string): { minPixels: number; maxPixels: number; factor: number } {
  const { min_pixels: minPixels, max_pixels: maxPixels, spatial_factor: factor } = cases[name];
  return { minPixels, maxPixels, factor };
}

async function inputOf(name: string): Promise<RgbImage> {
  const suffix = name === 'rgba' || name === 'gray' ? `_${name}` : '';
  return decodeImage(goldenBytes(`image/input${suffix}.png`));
}

function imageOf(name: string): RgbImage {
  const { data, shape } = tensorOf(tensors, name);
  return { rgb: Uint8Array.from(data), height: shape[0], width: shape[1] };
}

const singleCases = Object.keys(cases).filter((name) => cases[name].out_h_w !== undefined);

describe('recorded pictures', () => {
  it('decodes the input as recorded', async () => {
    const { rgb, height, width } = await inputOf('');
    const recorded = tensorOf(tensors, 'input_rgb');
    expect([height, width, 3]).toEqual(recorded.shape);
    expect(Array.from(rgb)).toEqual(Array.from(recorded.data));
  });

  it.each(singleCases)('%s: size, resized bytes and values', async (name) => {
    const prepared = prepareImage(await inputOf(name), limitsOf(name));
    expect([prepared.height, prepared.width]).toEqual(cases[name].out_h_w);
    const bytes = tensors[`${name}.resized_rgb`];
    if (`${name}.resized_rgb` in tensors) expect(Array.from(prepared.resized.rgb)).toEqual(bytes.data);
    expectClose(prepared.data, tensorOf(tensors, `${name}.pixel_values`).data, { absolute: 1e-6 }, name);
  });

  it('turns decoder output into bytes', () => {
    const { data, shape } = tensorOf(tensors, 'postprocess.input');
    const { rgb } = postprocess({ data, height: shape[2], width: shape[3] });
    expect(Array.from(rgb)).toEqual(Array.from(tensorOf(tensors, 'postprocess.rgb').data));
  });

  it('pads two pictures into one batch and finds their codes again', () => {
    const prepared = ['pad.input0', 'pad.input1'].map((name) => prepareImage(imageOf(name), limitsOf('pad')));
    const tokens = prepared.map(({ height, width }) => ({ height: height / 8, width: width / 8 }));
    expect(tokens.map(({ height, width }) => [height, width])).toEqual(cases['pad'].shapes);
    const batch = padBatch(prepared);
    expect([batch.height, batch.width]).toEqual([32, 32]);
    for (const [index, image] of prepared.entries()) {
      for (let channel = 0; channel < 3; channel++) {
        for (let y = 0; y < batch.height; y++) {
          for (let x = 0; x < batch.width; x++) {
            const inside = y < image.height && x < image.width;
            const expected = inside ? image.data[(channel * image.height + y) * image.width + x] : 0;
            const actual = batch.data[((index * 3 + channel) * batch.height + y) * batch.width + x];
            if (actual !== expected) expect.fail(`picture ${index}, channel ${channel}, ${y}, ${x}: ${actual}`);
          }
        }
      }
    }
    const grid = Array.from({ length: 16 }, (_, index) => index);
    expect(cropCodes(grid, 4, tokens[0])).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect(cropCodes(grid, 4, tokens[1])).toEqual([0, 1, 4, 5, 8, 9, 12, 13]);
  });
});

describe('resizeBicubic', () => {
  const ramp = Uint8Array.from({ length: 7 * 5 * 3 }, (_, index) => (index * 37) % 256);

  it('copies when the size stays', () => {
    const copy = resizeBicubic(ramp, 7, 5, 7, 5);
    expect(copy).toEqual(ramp);
    expect(copy).not.toBe(ramp);
  });

  it('keeps a flat picture flat, up and down', () => {
    const flat = new Uint8Array(9 * 9 * 3).fill(201);
    for (const [width, height] of [
      [1, 1],
      [2, 30],
      [40, 3],
    ]) {
      expect(new Set(resizeBicubic(flat, 9, 9, width, height))).toEqual(new Set([201]));
    }
  });

  it('overshoots at an edge and clips', () => {
    const edge = Uint8Array.from([0, 0, 0, 255, 255, 255]);
    const wide = resizeBicubic(edge, 2, 1, 8, 1);
    expect(Math.min(...wide)).toBe(0);
    expect(Math.max(...wide)).toBe(255);
  });

  it.each([
    [0, 5],
    [5, 0],
    [2.5, 5],
    [NaN, 5],
  ])('refuses size %s x %s', async (width, height) => {
    expect(await errorCode(() => resizeBicubic(ramp, 7, 5, width, height))).toBe('image');
  });

  it('refuses bytes that do not fit the size', async () => {
    expect(await errorCode(() => resizeBicubic(ramp, 7, 6, 3, 3))).toBe('image');
  });
});

it('normalises 0 to -1 and 255 to 1, channels first', () => {
  const { data } = normalise({ rgb: Uint8Array.from([0, 255, 51, 255, 0, 204]), height: 1, width: 2 });
  expectClose(data, [-1, 1, 1, -1, -0.6, 0.6], { absolute: 1e-6 }, 'values');
});

it('refuses an empty batch, and codes outside a grid', async () => {
  expect(await errorCode(() => cropCodes([1, 2, 3, 4], 2, { height: 1, width: 3 }))).toBe('shape');
  expect(await errorCode(() => cropCodes([1, 2, 3, 4], 2, { height: 3, width: 2 }))).toBe('shape');
  expect(await errorCode(() => padBatch([]))).toBe('argument');
});

describe('picture files in Node', () => {
  const colours = Uint8Array.from({ length: 16 * 16 * 3 }, (_, index) => (index * 11) % 256);
  const raw = { raw: { width: 16, height: 16, channels: 3 as const } };

  it('writes a PNG that reads back to the same bytes', async () => {
    const file = await encodePng(colours, 16, 16);
    expect(Array.from(file.subarray(0, 4))).toEqual([0x89, 0x50, 0x4e, 0x47]);
    expect(await decodeImage(file)).toEqual({ rgb: colours, height: 16, width: 16 });
  });

  it('drops alpha without blending', async () => {
    const rgba = Uint8Array.from([10, 20, 30, 0, 200, 100, 50, 128]);
    const file = await sharp(rgba, { raw: { width: 2, height: 1, channels: 4 } })
      .png()
      .toBuffer();
    expect(Array.from((await decodeImage(file)).rgb)).toEqual([10, 20, 30, 200, 100, 50]);
  });

  it('repeats grey, also with alpha', async () => {
    const file = await sharp(Uint8Array.from([7, 100, 250, 0]), { raw: { width: 2, height: 1, channels: 2 } })
      .toColourspace('b-w')
      .png()
      .toBuffer();
    expect(Array.from((await decodeImage(file)).rgb)).toEqual([7, 7, 7, 250, 250, 250]);
  });

  it('cuts 16 bits to 8', async () => {
    const file = await sharp(colours, raw).toColourspace('rgb16').png().toBuffer();
    expect((await sharp(file).metadata()).depth).toBe('ushort');
    expect((await decodeImage(file)).rgb).toEqual(colours);
  });

  it('converts a CMYK JPEG', async () => {
    const red = new Uint8Array(16 * 16 * 3).map((_, index) => (index % 3 === 0 ? 220 : 20));
    const file = await sharp(red, raw).toColourspace('cmyk').jpeg({ quality: 95 }).toBuffer();
    expect((await sharp(file).metadata()).space).toBe('cmyk');
    const { rgb, height, width } = await decodeImage(file);
    expect([height, width, rgb.length]).toEqual([16, 16, 768]);
    expect(rgb[0]).toBeGreaterThan(150);
    expect(rgb[1]).toBeLessThan(90);
    expect(rgb[2]).toBeLessThan(90);
  });

  it('applies the orientation tag of a camera', async () => {
    const file = await sharp(new Uint8Array(24 * 8 * 3), { raw: { width: 24, height: 8, channels: 3 } })
      .withMetadata({ orientation: 6 })
      .jpeg()
      .toBuffer();
    const { height, width } = await decodeImage(file);
    expect([height, width]).toEqual([24, 8]);
  });

  it.each(['png', 'jpeg'] as const)('names a damaged %s', async (format) => {
    const noise = Uint8Array.from({ length: 64 * 64 * 3 }, (_, index) => (index * index * 31) % 251);
    const file = await sharp(noise, { raw: { width: 64, height: 64, channels: 3 } })
      .toFormat(format)
      .toBuffer();
    for (const length of [0, 4, 40, Math.floor(file.length / 2)]) {
      expect(await errorCode(() => decodeImage(file.subarray(0, length))), `${length} bytes`).toBe('image');
    }
    const scribbled = Uint8Array.from(file);
    scribbled.fill(0xaa, 20, 200);
    expect(await errorCode(() => decodeImage(scribbled))).toBe('image');
  });

  it('names a file that is no picture', async () => {
    expect(await errorCode(() => decodeImage(new TextEncoder().encode('hello')))).toBe('image');
  });

  it.each([
    [1, 1],
    [7, 100],
    [100, 17],
  ])('refuses to prepare %s x %s pixels', async (height, width) => {
    const picture = { rgb: new Uint8Array(height * width * 3), height, width };
    expect(await errorCode(() => prepareImage(picture))).toBe('image');
  });
});
