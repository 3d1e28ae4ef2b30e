import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { nodeImageCodec } from '../../tokenizer/index.node.js';
import { cli, writeText, writeTinyModel, tinyVision } from './support.js';

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

async function writePicture(name: string, width: number, height: number): Promise<string> {
  const rgb = Uint8Array.from({ length: width * height * 3 }, (_, index) => (index * 37) % 251);
  await writeFile(file(name), await nodeImageCodec.encodePng(rgb, width, height));
  return file(name);
}

async function readPng(path: string): Promise<{ height: number; width: number; rgb: Uint8Array }> {
  return nodeImageCodec.decodeImage(await readFile(path));
}

describe('generate', () => {
  it('draws the same picture for the same seed, enlarged to a comfortable size', async () => {
    const once = async (name: string): Promise<Uint8Array> => {
      const { code, out } = await cli(['generate', 'a tiger', '--model', model, '-o', file(name), '--seed', '7']);
      expect(code).toBe(0);
      expect(out).toContain('seed 7');
      expect(out).toMatch(/23 tokens in .*tokens\/s/);
      return (await readPng(file(name))).rgb;
    };
    expect(await once('one.png')).toEqual(await once('two.png'));
    expect(await readPng(file('one.png'))).toMatchObject({ height: 256, width: 256 });
    expect(await files()).toEqual(['one.png', 'two.png']);
  });

  it('draws from prompts that the model writes out, the same pictures as from those prompts themselves', async () => {
    const roomy = await writeTinyModel(file('model'), 32, 256);
    const codesOf = async (...args: string[]): Promise<{ rewritten?: string[]; codes: number[][] }> => {
      const { code, out, err } = await cli(['generate', ...args, '--model', roomy, '-o', file('t.png'), '--json']);
      expect(code, err).toBe(0);
      const report = JSON.parse(out) as { rewritten?: string[]; pictures: { codes: number[] }[] };
      return { ...report, codes: report.pictures.map(({ codes }) => codes) };
    };
    const { rewritten = [], codes } = await codesOf('a tiger', '--rewrite', '--count', '2', '--seed', '3');
    expect(new Set([...rewritten, 'a tiger']).size).toBe(3);
    expect((await codesOf(rewritten[0], '--seed', '3')).codes).toEqual([codes[0]]);
    expect((await codesOf(rewritten[1], '--seed', '4')).codes).toEqual([codes[1]]);
    expect(await codesOf('a tiger', '--seed', '3')).not.toHaveProperty('rewritten');
  });

  it('draws several of another shape and reports them as JSON', async () => {
    const args = ['--size', '2x4', '--count', '2', '--scale', '1', '--seed', '4294967295', '--guidance', '1', '--json'];
    const { code, out } = await cli(['generate', 'a tiger', '--model', model, '-o', file('t.png'), ...args]);
    expect(code).toBe(0);
    const report = JSON.parse(out) as { tokens: number; pictures: { output: string; seed: number; codes: number[] }[] };
    expect(report.tokens).toBe(2 * (2 * 5 + 3));
    expect(report.pictures.map(({ output, seed }) => [output, seed])).toEqual([
      [file('t-1.png'), 4294967295],
      [file('t-2.png'), 0],
    ]);
    for (const { codes } of report.pictures) expect(codes).toHaveLength(8);
    expect(await readPng(file('t-2.png'))).toMatchObject({ height: 16, width: 32 });
  });

  it.each([
    ['an empty prompt', ['  '], 'prompt is empty'],
    ['a prompt beyond the context', ['word '.repeat(200)], 'above the context'],
    ['a picture beyond the context', ['a tiger', '--size', '20x20'], 'above the context'],
  ])('refuses %s without leaving a file', async (_, args, message) => {
    const { code, err, out } = await cli(['generate', ...args, '--model', model, '-o', file('t.png'), '--json']);
    expect(code).toBe(1);
    expect(err).toMatch(/^error: .*\n {2}where: .*\n {2}fix: /m);
    expect(err).toContain(message);
    expect(err).not.toMatch(/\n\s+at /);
    expect(JSON.parse(out)).toMatchObject({ error: { code: 'prompt' } });
    expect(await files()).toEqual([]);
  });

  it('leaves no file when it is stopped', async () => {
    const { code, err } = await cli(
      ['generate', 'a tiger', '--model', model, '-o', file('t.png')],
      AbortSignal.abort(new Error('stop')),
    );
    expect(code).toBe(130);
    expect(err).toContain('cancelled');
    expect(await files()).toEqual([]);
  });

  it('refuses an output that cannot be written before it loads anything', async () => {
    const missing = await cli(['generate', 'a tiger', '--model', model, '-o', file('no/t.png')]);
    expect(missing).toMatchObject({ code: 1 });
    expect(missing.err).toContain('output folder does not exist');
    expect(missing.err).not.toContain('adapter');
    expect((await cli(['generate', 'a tiger', '--model', model, '-o', folder])).err).toContain('is a folder');
    await writeText(file('plain'), '');
    expect((await cli(['generate', 'a tiger', '-o', file('plain/t.png')])).err).toContain('is a file');
  });

  it('names what a model folder lacks', async () => {
    const run = (path: string): ReturnType<typeof cli> => cli(['generate', 'a', '--model', path, '-o', file('t.png')]);
    expect((await run(file('nothing'))).err).toContain('config.json is missing');
    expect((await run(join(model, 'vision_tokenizer'))).err).toContain('no transformer');
    await writeText(file('config.json'), JSON.stringify({ model_type: 'Emu3' }));
    expect((await run(folder)).err).toContain('no vision tokenizer');
    await writeText(file('config.json'), '{ "model_type": ');
    expect((await run(folder)).err).toContain('not valid JSON');
  });
});

describe('encode and decode', () => {
  it('takes a picture to codes and back, in both formats alike', async () => {
    const picture = await writePicture('p.png', 40, 30);
    for (const name of ['c.json', 'c.safetensors']) {
      const { code, out } = await cli(['encode', picture, '--model', model, '-o', file(name)]);
      expect(code).toBe(0);
      expect(out).toContain('resized to 24x32');
      expect(
        (await cli(['decode', file(name), '--model', model, '-o', file(`${name}.png`), '--scale', '2'])).code,
      ).toBe(0);
    }
    const { height, width, codes } = JSON.parse(await readFile(file('c.json'), 'utf8')) as {
      height: number;
      width: number;
      codes: number[][];
    };
    expect([height, width, codes.length, codes[0].length]).toEqual([3, 4, 3, 4]);
    expect(Math.max(...codes.flat())).toBeLessThan(tinyVision.codebook_size);
    const [fromJson, fromTensor] = [await readPng(file('c.json.png')), await readPng(file('c.safetensors.png'))];
    expect(fromJson).toMatchObject({ height: 48, width: 64 });
    expect(fromJson.rgb).toEqual(fromTensor.rgb);
  });

  it('works with a vision tokenizer alone and with areas of its own', async () => {
    const picture = await writePicture('p.png', 64, 64);
    const vision = join(model, 'vision_tokenizer');
    const { code, out } = await cli(['encode', picture, '--model', vision, '--max-pixels', '2048', '--json']);
    expect(code).toBe(0);
    expect(JSON.parse(out)).toMatchObject({ output: file('p.json'), pixels: { height: 40, width: 40 } });
    expect(await files()).toEqual(['p.json', 'p.png']);
  });

  it.each([
    ['1 pixel', 1, 1, 'too small'],
    ['a ratio above 5', 90, 16, 'aspect ratio'],
  ])('refuses a picture of %s', async (_, width, height, message) => {
    const picture = await writePicture('p.png', width, height);
    const { code, err } = await cli(['encode', picture, '--model', model, '-o', file('c.json')]);
    expect(code).toBe(1);
    expect(err).toContain(message);
    expect(await files()).toEqual(['p.png']);
  });

  it('refuses damaged pictures, unclear formats and crossed areas', async () => {
    const picture = await writePicture('p.png', 40, 30);
    await writeFile(file('cut.png'), (await readFile(picture)).subarray(0, 200));
    const cut = await cli(['encode', file('cut.png'), '--model', model, '-o', file('c.json')]);
    expect(cut.err).toMatch(/could not be read[\s\S]*cut\.png/);
    expect((await cli(['encode', file('none.png'), '--model', model])).err).toContain('no such file');
    expect((await cli(['encode', picture, '--model', model, '-o', file('c.txt')])).err).toContain('.safetensors');
    const crossed = ['--min-pixels', '2000', '--max-pixels', '1000'];
    expect((await cli(['encode', picture, '--model', model, ...crossed])).err).toContain('cannot both hold');
    expect(await files()).toEqual(['cut.png', 'p.png']);
  });

  it.each([
    ['no JSON', '{ "codes": [', 'not valid JSON'],
    ['no rows', '{ "codes": [] }', 'no rows'],
    ['ragged rows', '{ "codes": [[1, 2], [3]] }', 'differ in length'],
    ['fractions', '{ "codes": [[1, 2.5]] }', 'Code 1 is 2.5'],
    ['codes beyond the codebook', '{ "codes": [[1, 64]] }', '64'],
  ])('refuses codes that are %s', async (_, text, message) => {
    await writeText(file('c.json'), text);
    const { code, err } = await cli(['decode', file('c.json'), '--model', model]);
    expect(code).toBe(1);
    expect(err).toContain(message);
    expect(await files()).toEqual(['c.json']);
  });
});

describe('edit and vary', () => {
  it('draw a region anew, and pictures like the given one', async () => {
    const image = await writePicture('in.png', 32, 32);
    const common = ['a tiger', '--model', model, '--seed', '7', '--scale', '1'];
    const region = ['--region', '8,8,8,8', '--region', '24,31,1,1'];
    const edited = await cli(['edit', image, ...common, ...region, '-o', file('e.png')]);
    expect(edited.code).toBe(0);
    expect(edited.out).toContain('2 of 16 tokens drawn anew');
    const [before, after] = [await readPng(image), await readPng(file('e.png'))];
    for (let pixel = 0; pixel < 32 * 32; pixel++) {
      const token = Math.floor(pixel / 256) * 4 + Math.floor((pixel % 32) / 8);
      if (token === 5 || token === 15) continue;
      expect(after.rgb.subarray(3 * pixel, 3 * pixel + 3)).toEqual(before.rgb.subarray(3 * pixel, 3 * pixel + 3));
    }
    const black = new Uint8Array(32 * 32 * 3);
    black.fill(255, 3 * (8 * 32 + 8), 3 * (8 * 32 + 8) + 3);
    await writeFile(file('mask.png'), await nodeImageCodec.encodePng(black, 32, 32));
    const masked = await cli(['edit', image, ...common, '--mask', file('mask.png'), '--json', '-o', file('m.png')]);
    const report = JSON.parse(masked.out) as { redrawn: number[] };
    expect(report.redrawn.flatMap((marked, token) => (marked ? [token] : []))).toEqual([5]);
    const varied = await cli(['vary', image, ...common, '--count', '2', '--share', '0.3']);
    expect(varied.code).toBe(0);
    expect(await files()).toEqual(['e.png', 'in-varied-1.png', 'in-varied-2.png', 'in.png', 'm.png', 'mask.png']);
  });

  it.each([
    ['no region', [], 1, 'what to draw anew'],
    ['a region outside the picture', ['--region', '30,0,4,4'], 1, 'leaves the picture'],
    ['three numbers', ['--region', '1,2,3'], 2, 'four whole numbers'],
    ['region and mask', ['--region', '1,2,3,4', '--mask', 'in.png'], 2, 'cannot be used with'],
  ])('edit refuses %s without leaving a file', async (_, args, expected, message) => {
    const image = await writePicture('in.png', 32, 32);
    const { code, err } = await cli(['edit', image, 'a tiger', '--model', model, ...args, '-o', file('e.png')]);
    expect(code).toBe(expected);
    expect(err).toContain(message);
    expect(await files()).toEqual(['in.png']);
  });
});
