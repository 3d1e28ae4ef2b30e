import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { frameDelays, gifTimes, ratesOf, webpTimes } from '../../demos/cli/frame-times.js';
import { readClip, readVisual } from '../../demos/cli/video-input.node.js';
import { checkVideoOutput, checkVideoRate, videoFormat, writeVideo } from '../../demos/cli/video-output.node.js';
import { nodeImageCodec, type RgbImage } from '../../tokenizer/index.node.js';

let root = '';
/** A fresh folder for each test. */
let folder = '';
let count = 0;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'emu3-clips-'));
});
afterAll(() => rm(root, { recursive: true, force: true }));
beforeEach(async () => {
  folder = join(root, `test-${count++}`);
  await mkdir(folder);
});

const file = (name: string): string => join(folder, name);

function frame(seed: number, height = 16, width = 24): RgbImage {
  const rgb = Uint8Array.from({ length: height * width * 3 }, (_, at) => (at * 7 + seed * 40) % 256);
  return { height, width, rgb };
}

/** Some of them equal to the one before. */
const moving = [0, 1, 1, 2, 3, 3, 3, 4, 5, 6, 6, 6].map((seed) => frame(seed));
const still = moving.map(() => frame(3));

function largestDifference(a: readonly RgbImage[], b: readonly RgbImage[]): number {
  let largest = 0;
  a.forEach(({ rgb }, index) =>
    rgb.forEach((byte, at) => (largest = Math.max(largest, Math.abs(byte - b[index].rgb[at])))),
  );
  return largest;
}

describe('written and read again', () => {
  const rates = [8, 24, 12.5, 3];
  it.each([
    ['clip.webp', 0],
    ['clip.png', 0],
    ['clip.apng', 0],
    ['clip', 0],
    // A palette for each frame, without dithering between so few colours.
    ['clip.gif', 16],
  ])('%s has the same frames and rate', async (name, tolerance) => {
    for (const [index, framesPerSecond] of rates.entries()) {
      for (const [kind, frames] of Object.entries({ moving, still })) {
        const path = file(`${kind}-${index}-${name}`);
        await writeVideo(path, { frames, framesPerSecond });
        const read = await readClip(path);
        expect(read.frames.length, path).toBe(12);
        expect(largestDifference(read.frames, frames), path).toBeLessThanOrEqual(tolerance);
        // Times in whole hundredths of a second give the rate of a GIF to that accuracy only.
        expect(read.framesPerSecond, path).toBeCloseTo(framesPerSecond, name.endsWith('gif') ? 0 : 6);
      }
    }
    expect((await readdir(folder)).filter((entry) => entry.includes('tmp'))).toEqual([]);
  });

  it('enlarged, with every pixel as a square', async () => {
    await writeVideo(file('large.webp'), { frames: moving, framesPerSecond: 8 }, 3);
    const [first] = (await readClip(file('large.webp'))).frames;
    expect([first.height, first.width]).toEqual([48, 72]);
    expect([...first.rgb.subarray(0, 9)]).toEqual([...[0, 1, 2].flatMap(() => [...moving[0].rgb.subarray(0, 3)])]);
  });
});

describe('the time frames show', () => {
  it('adds up, whatever the rate', () => {
    expect(frameDelays(4, 8, gifTimes)).toEqual([130, 120, 130, 120]);
    for (const rate of [1, 7, 23.976, 24, 30, 50]) {
      for (const times of [gifTimes, webpTimes]) {
        const delays = frameDelays(100, rate, times);
        const sum = delays.reduce((total, delay) => total + delay);
        expect(Math.abs(sum - 100_000 / rate)).toBeLessThanOrEqual(times.tick / 2 + 1e-6);
        expect(delays.every((delay) => delay % times.tick === 0)).toBe(true);
      }
    }
  });

  it('gives the rate again, and frames that show longer come more often', () => {
    expect(ratesOf([41, 42, 42], 1)).toEqual({ framesPerSecond: 24, repeats: [1, 1, 1] });
    expect(ratesOf([120, 130, 120, 130], 10)).toEqual({ framesPerSecond: 8, repeats: [1, 1, 1, 1] });
    expect(ratesOf([100, 300, 100], 10)).toEqual({ framesPerSecond: 10, repeats: [1, 3, 1] });
    expect(ratesOf([83, 83, 84], 1, 24)).toEqual({ framesPerSecond: 24, repeats: [2, 2, 2] });
    // Without a time, as browsers show them.
    expect(ratesOf([0, 0], 10)).toEqual({ framesPerSecond: 10, repeats: [1, 1] });
  });

  it('is refused where the format cannot say it', () => {
    expect(() => checkVideoRate('a.gif', 60)).toThrow(/GIF cannot show 60 frames a second.*to 50/);
    expect(() => checkVideoRate('a.png', 0.01)).toThrow(/animated PNG cannot show 0.01/);
    expect(() => checkVideoRate('a.webp', 60)).not.toThrow();
    expect(() => checkVideoRate('folder', 0.01)).not.toThrow();
  });
});

describe('files of others', () => {
  it('an animation with frames that cover a part only is drawn together', async () => {
    const joined = Buffer.concat(moving.map(({ rgb }) => rgb));
    const raw = { width: 24, height: 16 * 12, channels: 3, pageHeight: 16 } as const;
    const bytes = await sharp(joined, { raw })
      .gif({ delay: Array.from({ length: 12 }, () => 100) })
      .toBuffer();
    await writeFile(file('other.gif'), bytes);
    const read = await readClip(file('other.gif'));
    expect(read.framesPerSecond).toBe(10);
    expect(read.frames.length).toBe(12);
    expect(largestDifference(read.frames, moving)).toBeLessThanOrEqual(16);
  });

  it('a folder of pictures in the order of their numbers, at the rate asked for', async () => {
    for (const [index, name] of ['f1.png', 'f2.png', 'f10.png'].entries()) {
      const { rgb, height, width } = frame(index);
      await writeFile(file(name), await nodeImageCodec.encodePng(rgb, width, height));
    }
    await writeFile(file('notes.txt'), 'no picture');
    const read = await readClip(folder, 5);
    expect(read).toEqual({ frames: [0, 1, 2].map((seed) => frame(seed)), framesPerSecond: 5 });
    await expect(readClip(folder)).rejects.toMatchObject({ code: 'argument', fix: 'Give --fps.' });
    const odd = frame(3, 8, 24);
    await writeFile(file('f11.png'), await nodeImageCodec.encodePng(odd.rgb, odd.width, odd.height));
    await expect(readClip(folder, 5)).rejects.toMatchObject({
      code: 'shape',
      where: file('f11.png'),
      message: expect.stringMatching(/8 x 24 pixels .*f1\.png has 16 x 24/) as unknown,
    });
  });

  it('a rate given stands above the one of the file', async () => {
    await writeVideo(file('a.webp'), { frames: moving, framesPerSecond: 8 });
    expect((await readClip(file('a.webp'), 30)).framesPerSecond).toBe(30);
  });

  it('a picture is no clip, and damage is told with the file', async () => {
    const { rgb, height, width } = frame(1);
    await writeFile(file('one.png'), await nodeImageCodec.encodePng(rgb, width, height));
    expect(await readVisual(file('one.png'))).toEqual(frame(1));
    await expect(readClip(file('one.png'))).rejects.toMatchObject({ code: 'image', where: file('one.png') });
    for (const name of ['clip.webp', 'clip.gif', 'clip.png']) {
      await writeVideo(file(name), { frames: moving, framesPerSecond: 8 });
      const bytes = await readFile(file(name));
      await writeFile(file(`cut-${name}`), bytes.subarray(0, Math.floor(bytes.length / 2)));
      await expect(readClip(file(`cut-${name}`)), name).rejects.toMatchObject({
        name: 'Emu3Error',
        code: 'image',
        where: file(`cut-${name}`),
      });
    }
    await writeFile(file('text.webp'), 'no picture');
    await expect(readClip(file('text.webp'))).rejects.toMatchObject({ code: 'image' });
    await expect(readClip(file('none.webp'))).rejects.toMatchObject({ code: 'missing' });
    await mkdir(file('empty'));
    await expect(readClip(file('empty'))).rejects.toMatchObject({ code: 'missing' });
  });
});

describe('outputs', () => {
  it('have their format by the ending', () => {
    const formats = ['a.webp', 'a.GIF', 'a.png', 'a.apng', 'a', 'b.c/a'].map(videoFormat);
    expect(formats).toEqual(['webp', 'gif', 'png', 'png', 'folder', 'folder']);
    expect(() => videoFormat('a.mp4')).toThrow(/unclear/);
  });

  it('are refused before any work: folders that are not there or not empty', async () => {
    await expect(checkVideoOutput(file('no/a.webp'))).rejects.toMatchObject({ code: 'missing' });
    await expect(checkVideoOutput(file('no/a'))).rejects.toMatchObject({ code: 'missing' });
    await mkdir(file('there'));
    await checkVideoOutput(file('there'));
    await writeVideo(file('there'), { frames: moving.slice(0, 4), framesPerSecond: 8 });
    expect((await readdir(file('there'))).sort()).toEqual([
      'clip.json',
      ...[1, 2, 3, 4].map((n) => `frame-000${n}.png`),
    ]);
    await expect(checkVideoOutput(file('there'))).rejects.toMatchObject({ code: 'io' });
    await expect(writeVideo(file('there'), { frames: moving, framesPerSecond: 8 })).rejects.toMatchObject({
      name: 'Emu3Error',
    });
    expect((await readdir(folder)).sort()).toEqual(['there']);
    await writeFile(file('plain'), '');
    await expect(checkVideoOutput(file('plain'))).rejects.toMatchObject({ code: 'io', where: file('plain') });
  });
});
