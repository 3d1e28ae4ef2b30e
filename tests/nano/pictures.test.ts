import { beforeAll, describe, expect, it } from 'vitest';
import { contactSheet } from '../../demos/nano/check/contact-sheet.js';
import { addNoise, blurPicture, quantiseBlocks, shiftPicture, tintPicture } from '../../demos/nano/check/degrade.js';
import { meanSquaredError, psnr, ssim } from '../../demos/nano/check/metrics.js';
import { Artwork } from '../../demos/nano/world/draw.node.js';
import { SeededRandom } from '../../demos/nano/world/random.js';
import { drawScene } from '../../demos/nano/world/scene.js';

let artwork: Artwork;
beforeAll(async () => {
  artwork = await Artwork.load();
});

function picture(): Uint8Array {
  return artwork.picture(drawScene(new SeededRandom(3), { kind: 'mixed' }));
}

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
    const rgb = picture();
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
    const rgb = picture();
    expect(psnr(rgb, quantiseBlocks(rgb, 0.01))).toBeGreaterThan(60);
    expect(psnr(rgb, quantiseBlocks(rgb, 24))).toBeGreaterThan(psnr(rgb, quantiseBlocks(rgb, 96)));
    const dark = tintPicture(Uint8Array.of(0, 0, 0, 255, 255, 255));
    expect([...dark]).toEqual([12, 0, 22, 242, 242, 246]);
    expect(blurPicture(new Uint8Array(64 * 64 * 3).fill(77), 2)).toEqual(new Uint8Array(64 * 64 * 3).fill(77));
  });
});

describe('contactSheet', () => {
  it('places the pictures', () => {
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
  });

  it('refuses uneven pictures', () => {
    expect(() => contactSheet([], 2)).toThrow(expect.objectContaining({ code: 'argument' }));
    expect(() => contactSheet([new Uint8Array(12), new Uint8Array(27)], 2)).toThrow(
      expect.objectContaining({ code: 'shape' }),
    );
  });
});
