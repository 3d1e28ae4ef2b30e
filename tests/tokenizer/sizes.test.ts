import { describe, expect, it } from 'vitest';
import type { PixelLimits } from '../../tokenizer/image/sizes.js';
import {
  calculateGenerateSize,
  roundHalfToEven,
  smartResize,
  trainingPrepareResize,
} from '../../tokenizer/image/sizes.js';
import { readGoldenJson } from '../support/golden.js';
import { errorCode } from './golden.js';

interface ResizeCase {
  height: number;
  width: number;
  factor?: number;
  min_pixels?: number;
  max_pixels?: number;
  image_area?: number;
  out?: [number, number];
  error?: string;
}

interface Sizes {
  smart_resize_default: { factor: number; min_pixels: number; max_pixels: number; rows: ResizeCase[] };
  smart_resize_custom: Required<ResizeCase>[];
  calculate_generate_size: {
    ratio_w_h: string;
    image_area: number;
    spatial_scale_factor: number;
    h: number;
    w: number;
  }[];
  training_prepare_resize: Required<ResizeCase>[];
}

const sizes = readGoldenJson('generate/sizes.json') as Sizes;

async function expectResize(row: ResizeCase, limits?: PixelLimits): Promise<void> {
  if (row.out === undefined) {
    expect(row.error).toBeDefined();
    expect(await errorCode(() => smartResize(row.height, row.width, limits))).toBe('image');
  } else {
    const { height, width } = smartResize(row.height, row.width, limits);
    expect([height, width]).toEqual(row.out);
  }
}

describe('recorded sizes', () => {
  it.each(sizes.smart_resize_default.rows)('smartResize $height x $width', (row) => expectResize(row));

  it.each(sizes.smart_resize_custom)('smartResize $height x $width, factor $factor, $min_pixels..$max_pixels', (row) =>
    expectResize(row, { factor: row.factor, minPixels: row.min_pixels, maxPixels: row.max_pixels }),
  );

  it.each(sizes.calculate_generate_size)('calculateGenerateSize $ratio_w_h at $image_area', (row) => {
    expect(calculateGenerateSize(row.ratio_w_h, row.image_area, row.spatial_scale_factor)).toEqual({
      height: row.h,
      width: row.w,
    });
  });

  it.each(sizes.training_prepare_resize)('trainingPrepareResize $height x $width to $image_area', (row) => {
    const { height, width } = trainingPrepareResize(row.height, row.width, row.image_area);
    expect([height, width]).toEqual(row.out);
  });
});

it('rounds halves to even', () => {
  expect([0.5, 1.5, 2.5, -0.5, -1.5, 2.4, 2.6, 7].map(roundHalfToEven)).toEqual([0, 2, 2, 0, -2, 2, 3, 7]);
});

it.each(['', '1', '1:0', '0:1', '-1:1', '1.5:1', 'a:b', '1:1:1', '1x1'])('refuses ratio "%s"', async (ratio) => {
  expect(await errorCode(() => calculateGenerateSize(ratio, 4096))).toBe('argument');
});

it.each([0, -1, NaN, Infinity])('refuses an area of %s', async (area) => {
  expect(await errorCode(() => calculateGenerateSize('1:1', area))).toBe('argument');
  expect(await errorCode(() => trainingPrepareResize(100, 100, area))).toBe('image');
});

it('names a limit that leaves no token', async () => {
  expect(await errorCode(() => smartResize(12, 58, { minPixels: 16, maxPixels: 64 }))).toBe('image');
});

it.each([
  [NaN, 64],
  [0, 0],
  [-64, 64],
])('refuses a picture of %s x %s', async (height, width) => {
  expect(await errorCode(() => smartResize(height, width))).toBe('image');
});
