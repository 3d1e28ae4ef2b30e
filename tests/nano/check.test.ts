import sharp from 'sharp';
import { beforeAll, describe, expect, it } from 'vitest';
import { emojiChecker, encodeSheet, scoreControls, scorePictures } from '../../demos/nano/check/check.node.js';
import { ConceptChecker, shufflePrompts } from '../../demos/nano/check/checker.js';
import { contactSheet } from '../../demos/nano/check/contact-sheet.js';
import { addNoise, blurPicture, quantiseBlocks, shiftPicture } from '../../demos/nano/check/degrade.js';
import { meanSquaredError, psnr, ssim } from '../../demos/nano/check/metrics.js';
import { loadEmojiDataset } from '../../demos/nano/data/dataset.node.js';
import type { EmojiItem } from '../../demos/nano/data/dataset.node.js';

let items: EmojiItem[];
beforeAll(async () => {
  items = (await loadEmojiDataset()).items;
});

/** A seventh of the pictures, of both styles. */
function sample(): EmojiItem[] {
  return items.filter((_, index) => index % 7 === 0);
}

describe('the checker', () => {
  it('names all true artwork, and most of it when badly damaged', async () => {
    const controls = await scoreControls(sample());
    const perfect = { conceptAccuracy: 1, styleAccuracy: 1, exactAccuracy: 1, conceptAccuracyInStyle: 1 };
    expect(controls.artwork).toMatchObject({ ...perfect, meanDistance: 0 });
    for (const name of ['blurred', 'noisy', 'shifted', 'coarselyCoded']) {
      expect(controls[name]?.exactAccuracy, name).toBeGreaterThan(0.97);
      expect(controls[name]?.meanDistance, name).toBeGreaterThan(0);
    }
  });

  it('fails pictures under shuffled prompts', async () => {
    const { shuffledPrompts } = await scoreControls(sample());
    expect(shuffledPrompts?.conceptAccuracy).toBeLessThan(0.02);
    expect(shuffledPrompts?.conceptAccuracyInStyle).toBeLessThan(0.1);
    expect(shuffledPrompts?.styleAccuracy).toBeGreaterThan(0.25);
    expect(shuffledPrompts?.styleAccuracy).toBeLessThan(0.75);
  });

  it('fails blank pictures and noise', async () => {
    const blank = new Uint8Array(64 * 64 * 3).fill(255);
    const junk = [
      blank,
      addNoise(
        blank.map(() => 128),
        80,
        3,
      ),
    ];
    for (const rgb of junk) {
      const scores = await scorePictures(sample().map(({ concept, style }) => ({ concept, style, rgb })));
      expect(scores.conceptAccuracy).toBeLessThan(0.03);
      // Blurred or noisy artwork stays within 0.04 of its template.
      expect(scores.meanDistance).toBeGreaterThan(0.25);
    }
  });

  it('tells the concept apart from the style', async () => {
    const swapped = sample().map(({ concept, style, rgb }) => ({
      concept,
      style: style === 'noto' ? 'fluent' : 'noto',
      rgb,
    }));
    const scores = await scorePictures(swapped);
    expect(scores).toMatchObject({ count: swapped.length, conceptAccuracy: 1, styleAccuracy: 0, exactAccuracy: 0 });
    expect(scores.conceptAccuracyInStyle).toBeGreaterThan(0.5);
    expect(scores.conceptAccuracyInStyle).toBeLessThan(1);
  });

  it('searches one style when told to', async () => {
    const checker = await emojiChecker();
    const owl = items.find((item) => item.id === 'owl/noto');
    expect(checker.nearestConcept(owl?.rgb ?? new Uint8Array())).toEqual({
      concept: 'owl',
      style: 'noto',
      distance: 0,
    });
    expect(checker.nearestConcept(owl?.rgb ?? new Uint8Array(), 'fluent')).toMatchObject({ style: 'fluent' });
  });

  it('refuses what it cannot compare', async () => {
    const checker = await emojiChecker();
    const white = new Uint8Array(64 * 64 * 3).fill(255);
    expect(() => checker.nearestConcept(new Uint8Array(12))).toThrow(expect.objectContaining({ code: 'shape' }));
    expect(() => checker.nearestConcept(white, 'cubist')).toThrow(expect.objectContaining({ code: 'argument' }));
    expect(() => checker.score([])).toThrow(expect.objectContaining({ code: 'argument' }));
    expect(() => new ConceptChecker([])).toThrow(expect.objectContaining({ code: 'argument' }));
    const picture = { concept: 'owl', style: 'noto', rgb: white };
    expect(() => new ConceptChecker([picture, picture])).toThrow(expect.objectContaining({ code: 'duplicate' }));
  });
});

describe('shufflePrompts', () => {
  it('keeps every picture and gives it another concept', () => {
    const shuffled = shufflePrompts(items, 1);
    expect(new Set(shuffled.map((picture) => picture.rgb)).size).toBe(items.length);
    const conceptOf = new Map(items.map((item) => [item.rgb, item.concept]));
    expect(shuffled.filter((picture) => conceptOf.get(picture.rgb) === picture.concept)).toEqual([]);
    const prompts = (seed: number): string[] =>
      shufflePrompts(items, seed).map(({ concept, style }) => `${concept}, ${style}`);
    expect(prompts(1)).toEqual(shuffled.map(({ concept, style }) => `${concept}, ${style}`));
    expect(prompts(2)).not.toEqual(prompts(1));
  });
});

describe('metrics', () => {
  it('give known values', () => {
    const grey = new Uint8Array(16 * 16 * 3).fill(100);
    const lighter = grey.map((value) => value + 16);
    expect(meanSquaredError(grey, lighter)).toBe(256);
    expect(psnr(grey, lighter)).toBeCloseTo(10 * Math.log10(65025 / 256), 10);
    expect(psnr(grey, grey)).toBe(Infinity);
    // Two flat pictures: only the luminance term is left, (2 * 100 * 116 + C1) / (100^2 + 116^2 + C1).
    expect(ssim(grey, lighter, 16)).toBeCloseTo((2 * 100 * 116 + 6.5025) / (100 ** 2 + 116 ** 2 + 6.5025), 8);
    expect(ssim(grey, grey, 16)).toBeCloseTo(1, 12);
  });

  it('fall with damage, and structure tells inversion from blur', () => {
    const rgb = items[10]?.rgb ?? new Uint8Array();
    const light = blurPicture(rgb, 0.6);
    const heavy = blurPicture(rgb, 2);
    expect(psnr(rgb, light)).toBeGreaterThan(psnr(rgb, heavy));
    expect(ssim(rgb, light, 64)).toBeGreaterThan(ssim(rgb, heavy, 64));
    expect(
      ssim(
        rgb,
        rgb.map((value) => 255 - value),
        64,
      ),
    ).toBeLessThan(0.2);
  });

  it('refuse pictures of different sizes', () => {
    expect(() => psnr(new Uint8Array(3), new Uint8Array(6))).toThrow(expect.objectContaining({ code: 'shape' }));
    const small = new Uint8Array(8 * 8 * 3);
    expect(() => ssim(small, small, 8)).toThrow(expect.objectContaining({ code: 'shape' }));
  });
});

describe('damage', () => {
  it('is what it says', () => {
    const dot = new Uint8Array(64 * 64 * 3).fill(255);
    dot.fill(0, (20 * 64 + 20) * 3, (20 * 64 + 20) * 3 + 3);
    expect(shiftPicture(dot, 2, -3).indexOf(0)).toBe((17 * 64 + 22) * 3);
    const noisy = addNoise(new Uint8Array(64 * 64 * 3).fill(128), 10, 1);
    expect(Math.sqrt(meanSquaredError(noisy, new Uint8Array(noisy.length).fill(128)))).toBeCloseTo(10, 0);
    const rgb = items[3]?.rgb ?? new Uint8Array();
    expect(psnr(rgb, quantiseBlocks(rgb, 0.01))).toBeGreaterThan(60);
    expect(psnr(rgb, quantiseBlocks(rgb, 24))).toBeGreaterThan(psnr(rgb, quantiseBlocks(rgb, 96)));
    expect(blurPicture(new Uint8Array(64 * 64 * 3).fill(77), 2)).toEqual(new Uint8Array(64 * 64 * 3).fill(77));
  });
});

describe('contactSheet', () => {
  it('places the pictures and survives PNG', async () => {
    const red = Uint8Array.from({ length: 4 * 4 * 3 }, (_, index) => (index % 3 === 0 ? 255 : 0));
    const blue = Uint8Array.from({ length: 4 * 4 * 3 }, (_, index) => (index % 3 === 2 ? 255 : 0));
    const sheet = contactSheet([red, blue, blue], 2, 3);
    expect([sheet.width, sheet.height, sheet.rgb.length]).toEqual([30, 30, 2700]);
    const pixel = (column: number, row: number): number[] => [...sheet.rgb.slice((row * 30 + column) * 3).slice(0, 3)];
    expect([pixel(2, 2), pixel(13, 13), pixel(16, 2), pixel(2, 16)]).toEqual([
      [255, 0, 0],
      [255, 0, 0],
      [0, 0, 255],
      [0, 0, 255],
    ]);
    expect(pixel(14, 2)).toEqual([208, 208, 208]);
    const decoded = await sharp(await encodeSheet(sheet))
      .removeAlpha()
      .raw()
      .toBuffer();
    expect(new Uint8Array(decoded)).toEqual(sheet.rgb);
  });

  it('refuses uneven pictures', () => {
    expect(() => contactSheet([], 2)).toThrow(expect.objectContaining({ code: 'argument' }));
    expect(() => contactSheet([new Uint8Array(12), new Uint8Array(27)], 2)).toThrow(
      expect.objectContaining({ code: 'shape' }),
    );
  });
});
