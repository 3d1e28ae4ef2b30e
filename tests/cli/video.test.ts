import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { lastFrames } from '../../loader/pipeline/clip.js';
import { readClip } from '../../demos/cli/video-input.node.js';
import { writeVideo } from '../../demos/cli/video-output.node.js';
import { nodeImageCodec, type RgbImage } from '../../tokenizer/index.node.js';
import { cli, writeText, writeTinyModel } from './support.js';

let root = '';
let model = '';
/** A fresh folder for each test. */
let folder = '';
let count = 0;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'emu3-cli-'));
  model = await writeTinyModel(join(root, 'model'));
});
afterAll(() => rm(root, { recursive: true, force: true }));
beforeEach(async () => {
  folder = join(root, `test-${count++}`);
  await mkdir(folder);
});

const file = (name: string): string => join(folder, name);
const files = async (): Promise<string[]> => (await readdir(folder)).sort();

function picture(seed: number, side = 32): RgbImage {
  const rgb = Uint8Array.from({ length: side * side * 3 }, (_, at) => (at * 37 + (at >> 5) * seed) % 251);
  return { height: side, width: side, rgb };
}

async function writeClip(name: string, frames: number, framesPerSecond = 8): Promise<string> {
  const pictures = Array.from({ length: frames }, (_, index) => picture(index));
  await writeVideo(file(name), { frames: pictures, framesPerSecond });
  return file(name);
}

interface Report {
  prompt: string;
  seed: number;
  frames: number;
  framesPerSecond: number;
  pixels: { height: number; width: number };
  tokens: number;
  kept: number;
  clip: { frames: number; height: number; width: number; framesPerSecond: number; codes: number[][][] };
}

describe('video', () => {
  it('draws the same video for the same seed, into a file or a folder', async () => {
    const args = ['a tiger', '--model', model, '--seed', '7', '--size', '2x2', '--frames', '8', '--fps', '12.5'];
    const reports: Report[] = [];
    for (const name of ['a.webp', 'frames']) {
      const { code, out, err } = await cli(['video', ...args, '-o', file(name), '--json']);
      expect(code, err).toBe(0);
      reports.push(JSON.parse(out) as Report);
      const read = await readClip(file(name));
      expect(read.frames.length).toBe(8);
      expect(read.framesPerSecond).toBe(12.5);
      expect([read.frames[0].height, read.frames[0].width]).toEqual([256, 256]);
    }
    const [first] = reports;
    expect(first).toMatchObject({ seed: 7, frames: 8, framesPerSecond: 12.5, kept: 0, tokens: 2 * (2 * 3 + 1) + 2 });
    expect(first.clip).toMatchObject({ frames: 2, height: 2, width: 2 });
    expect(reports[1].clip).toEqual(first.clip);
    expect((await readClip(file('frames'))).frames).toEqual((await readClip(file('a.webp'))).frames);
    expect(await files()).toEqual(['a.webp', 'frames']);
  });

  it('begins with a picture, a clip or codes, and keeps them', async () => {
    const { rgb, height, width } = picture(1);
    await writeFile(file('p.png'), await nodeImageCodec.encodePng(rgb, width, height));
    const codesOf = async (path: string): Promise<number[]> => {
      expect((await cli(['encode', path, '--model', model, '-o', file('c.json')])).code).toBe(0);
      return (JSON.parse(await readFile(file('c.json'), 'utf8')) as { codes: number[] }).codes.flat(2);
    };
    const clip = await writeClip('clip.webp', 4, 5);
    const draw = async (...args: string[]): Promise<Report> => {
      const common = [
        'video',
        'a tiger',
        '--model',
        model,
        '--frames',
        '8',
        '-o',
        file('v.webp'),
        '--scale',
        '1',
        '--json',
      ];
      const { code, out, err } = await cli([...common, ...args]);
      expect(code, err).toBe(0);
      return JSON.parse(out) as Report;
    };
    const fromPicture = await draw('--first', file('p.png'));
    expect(fromPicture).toMatchObject({ kept: 1, framesPerSecond: 8, pixels: { height: 32, width: 32 } });
    expect(fromPicture.clip.codes[0].flat()).toEqual(await codesOf(file('p.png')));
    const fromClip = await draw('--first', clip);
    expect(fromClip).toMatchObject({ kept: 1, framesPerSecond: 5 });
    expect(fromClip.clip.codes[0].flat()).toEqual(await codesOf(clip));
    const fromCodes = await draw('--first', file('c.json'), '--fps', '6');
    expect(fromCodes.framesPerSecond).toBe(6);
    expect(fromCodes.clip.codes[0]).toEqual(fromClip.clip.codes[0]);
  });

  it('rewrites the prompt with sight of what it begins with, in the codes that are kept', async () => {
    const roomy = await writeTinyModel(file('model'), 32, 256);
    const { rgb, height, width } = picture(1);
    await writeFile(file('p.png'), await nodeImageCodec.encodePng(rgb, width, height));
    const clips = [await writeClip('one.webp', 4), await writeClip('eight.webp', 8)];
    const told = async (...args: string[]): Promise<Report> => {
      const common = ['--model', roomy, '--seed', '3', '-o', file('v.webp'), '--json'];
      const { code, out, err } = await cli([...args, ...common]);
      expect(code, err).toBe(0);
      return JSON.parse(out) as Report;
    };
    const drawn = ['video', 'a tiger', '--frames', '12'];
    const unseen = await told(...drawn, '--rewrite', '--size', '4x4');
    const reports = [];
    for (const first of [file('p.png'), ...clips]) {
      const report = await told(...drawn, '--rewrite', '--first', first);
      expect(report.clip.codes.slice(0, report.kept)).toEqual(
        (await told(...drawn, '--first', first)).clip.codes.slice(0, report.kept),
      );
      expect((await told('video', report.prompt, '--frames', '12', '--first', first)).clip).toEqual(report.clip);
      reports.push(report);
    }
    expect(new Set(['a tiger', ...[unseen, reports[0], reports[2]].map(({ prompt }) => prompt)]).size).toBe(4);
    // What goes on sees what it begins with as well: the last of it where the context is bounded.
    const extended = ['extend', clips[1], '--prompt', 'a tiger', '--frames', '4'];
    const whole = await told(...extended, '--rewrite');
    expect(whole.prompt).toBe(reports[2].prompt);
    const bounded = await told(...extended, '--rewrite', '--context', '1');
    expect(bounded.clip.codes.slice(0, 2)).toEqual(whole.clip.codes.slice(0, 2));
  });

  it.each([
    ['10 frames', ['--frames', '10'], 1, 'give 8 or 12'],
    ['more than fits', ['--frames', '400'], 1, 'frames fit'],
    ['a format that is none', ['-o', 'v.mp4'], 1, 'unclear'],
    ['a rate that a GIF has not', ['-o', 'v.gif', '--fps', '60'], 1, 'GIF cannot show 60'],
    ['no rate', ['--fps', '0'], 2, 'above 0'],
    ['frames and seconds', ['--frames', '8', '--seconds', '1'], 2, 'cannot be used with'],
    ['size and a first picture', ['--size', '2x2', '--first', 'p.png'], 2, 'cannot be used with'],
    ['a first picture that is not there', ['--first', 'none.png'], 1, 'no such file'],
  ])('refuses %s without leaving a file', async (_, args, expected, message) => {
    const output = args.includes('-o') ? [] : ['-o', file('v.webp')];
    const { code, err } = await cli(['video', 'a tiger', '--model', model, ...output, ...args]);
    expect(code, err).toBe(expected);
    expect(err).toContain(message);
    expect(await files()).toEqual([]);
  });

  it('leaves no file when it is stopped midway', async () => {
    for (const name of ['v.webp', 'frames']) {
      const controller = new AbortController();
      const args = ['video', 'a tiger', '--model', model, '--frames', '20', '-o', file(name)];
      const running = cli(args, controller.signal);
      setTimeout(() => controller.abort(new Error('stop')), 20);
      const { code, err } = await running;
      expect(code).toBe(130);
      expect(err).toContain('cancelled');
    }
    expect(await files()).toEqual([]);
  });
});

describe('extend', () => {
  it('continues codes exactly, any number of times, and clips from files', async () => {
    const clip = await writeClip('clip.webp', 8, 24);
    const encoded = await cli(['encode', clip, '--model', model, '-o', file('c.json'), '--json']);
    const { codes } = JSON.parse(encoded.out) as Report['clip'];
    expect(codes.length).toBe(2);
    const run = async (source: string, ...args: string[]): Promise<Report> => {
      const common = [
        'extend',
        source,
        '--model',
        model,
        '--seed',
        '3',
        '--frames',
        '4',
        '--json',
        '-o',
        file('long.webp'),
      ];
      const { code, out, err } = await cli([...common, ...args]);
      expect(code, err).toBe(0);
      return JSON.parse(out) as Report;
    };
    const long = await run(file('c.json'), '--times', '3', '--context', '2', '--prompt', 'a tiger');
    expect(long).toMatchObject({ frames: 20, framesPerSecond: 24, kept: 2, tokens: 3 * (4 * 5 + 1 + 2) });
    expect(long.clip.codes.slice(0, 2)).toEqual(codes);
    const read = await readClip(file('long.webp'));
    expect([read.frames.length, read.framesPerSecond]).toEqual([20, 24]);
    const fromFile = await run(clip, '--times', '3', '--context', '2', '--prompt', 'a tiger');
    expect(fromFile.clip).toEqual(long.clip);
  });

  it.each([
    ['a picture', 'p.png', [], 'single picture'],
    ['a clip of 6 frames', 'six.webp', [], 'give 4 or 8'],
    ['3 new frames', 'clip.webp', ['--frames', '3'], 'is 3, below the 4'],
    ['more context than fits', 'clip.webp', ['--frames', '400'], 'new frames fit'],
    ['codes of a picture', 'c.json', [], 'codes of a picture'],
    ['no prompt to rewrite', 'clip.webp', ['--rewrite'], 'no prompt to rewrite'],
  ])('refuses %s without leaving a file', async (_, name, args, message) => {
    const { rgb, height, width } = picture(1);
    await writeFile(file('p.png'), await nodeImageCodec.encodePng(rgb, width, height));
    await writeClip('six.webp', 6);
    await writeClip('clip.webp', 4);
    await writeText(file('c.json'), '{ "codes": [[1, 2]] }');
    const before = await files();
    const { code, err } = await cli(['extend', file(name), '--model', model, '-o', file('long.webp'), ...args]);
    expect(code).toBe(1);
    expect(err).toContain(message);
    expect(await files()).toEqual(before);
  });
});

describe('the last latent frames of a clip', () => {
  it('are what the context is bounded to, or all there are', () => {
    const clip = { frames: 3, height: 1, width: 2, framesPerSecond: 8, codes: [1, 2, 3, 4, 5, 6] };
    expect(lastFrames(clip, 2)).toEqual({ ...clip, frames: 2, codes: Uint32Array.of(3, 4, 5, 6) });
    expect(lastFrames(clip, 9)).toEqual({ ...clip, codes: Uint32Array.from(clip.codes) });
  });
});

describe('encode and decode of clips', () => {
  it('give the same codes and frames through both formats', async () => {
    const clip = await writeClip('clip.gif', 8, 10);
    const read: RgbImage[][] = [];
    for (const name of ['c.json', 'c.safetensors']) {
      const encoded = await cli(['encode', clip, '--model', model, '-o', file(name)]);
      expect(encoded.code, encoded.err).toBe(0);
      expect(encoded.out).toContain('2x4x4 tokens');
      const output = file(name.replace('.', '-'));
      const decoded = await cli(['decode', file(name), '--model', model, '-o', `${output}.png`, '--scale', '2']);
      expect(decoded.code, decoded.err).toBe(0);
      expect(decoded.out).toContain('2x4x4 tokens -> 64x64 pixels');
      const { frames, framesPerSecond } = await readClip(`${output}.png`);
      expect([frames.length, framesPerSecond]).toEqual([8, 10]);
      read.push([...frames]);
    }
    expect(read[0]).toEqual(read[1]);
    // Without a name the clip goes beside its codes.
    expect((await cli(['decode', file('c.json'), '--model', model])).code).toBe(0);
    expect((await readClip(file('c.webp'))).frames[0]).toMatchObject({ height: 32, width: 32 });
  });

  it.each([
    ['frames of different sizes', '{ "framesPerSecond": 8, "codes": [[[1, 2]], [[1]]] }', 'differ in size'],
    ['no frames', '{ "framesPerSecond": 8, "codes": [] }', 'no frames of codes'],
    ['a frame without rows', '{ "framesPerSecond": 8, "codes": [[]] }', 'no rows'],
    ['a rate in words', '{ "framesPerSecond": "fast", "codes": [[[1]]] }', 'frame rate is no number'],
    ['a rate of 0', '{ "framesPerSecond": 0, "codes": [[[1]]] }', 'frame rate is 0'],
    ['codes beyond the codebook', '{ "framesPerSecond": 8, "codes": [[[64]]] }', '64'],
  ])('refuses codes with %s', async (_, text, message) => {
    await writeText(file('c.json'), text);
    const { code, err } = await cli(['decode', file('c.json'), '--model', model]);
    expect(code).toBe(1);
    expect(err).toContain(message);
    expect(await files()).toEqual(['c.json']);
  });
});
