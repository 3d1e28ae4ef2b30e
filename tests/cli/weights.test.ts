import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LoraAdapters } from '../../engine/models/transformer/index.js';
import { diskFolder, loadTransformer, writeAdapters } from '../../loader/index.node.js';
import { pseudoRandom } from '../support/compare.js';
import { testDevice } from '../support/gpu.js';
import { cli, writeText, writeTinyModel } from './support.js';

let root = '';
let model = '';
let adapters = '';

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'emu3-cli-'));
  model = await writeTinyModel(join(root, 'model'));
  adapters = join(root, 'adapters');
  const device = await testDevice();
  const { parameters } = await loadTransformer(device, diskFolder(model));
  const made = LoraAdapters.create(device, parameters.shapes, { rank: 2, alpha: 4 });
  let seed = 1;
  for (const [name, [rows, columns]] of made.store.shapes) {
    made.store.tensor(name).write(pseudoRandom(rows * columns, seed++));
  }
  await writeAdapters(adapters, made);
  made.destroy();
  parameters.destroy();
});
afterAll(() => rm(root, { recursive: true, force: true }));

async function draw(...args: string[]): Promise<{ codes: number[]; err: string }> {
  const output = join(root, 'picture.png');
  const fixed = ['--model', model, '-o', output, '--seed', '3', '--temperature', '1', '--json'];
  const { code, out, err } = await cli(['generate', 'a tiger', ...fixed, ...args]);
  expect(code, err).toBe(0);
  expect((await readFile(output)).length).toBeGreaterThan(0);
  const { pictures } = JSON.parse(out) as { pictures: { codes: number[] }[] };
  return { codes: pictures[0].codes, err };
}

describe('--weights', () => {
  it('packs the model and says what that changed', async () => {
    const plain = await draw();
    expect(plain.err).not.toContain('packed');
    expect((await draw('--weights', 'f32')).codes).toEqual(plain.codes);
    for (const [format, error] of [
      ['q8', /0\.[3-9] % on average/],
      ['q4', /\d\.\d % on average/],
    ] as const) {
      const { err } = await draw('--weights', format);
      expect(err).toMatch(/16 weights packed, [\d.]+ KiB on the GPU; relative error/);
      expect(err).toMatch(error);
    }
  });

  it('draws the same pictures with several tokens a step', async () => {
    const plain = await draw();
    expect((await draw('--windows', '3')).codes).toEqual(plain.codes);
    expect((await draw('--windows', 'auto')).codes).toEqual(plain.codes);
    const { code, err } = await cli(['generate', 'a tiger', '--model', model, '--windows', '4,0']);
    expect(code).toBe(2);
    expect(err).toContain('from 1 to 64');
  });

  it('draws several lines at once, in raster order where the stagger is a whole line', async () => {
    const plain = await draw();
    expect((await draw('--stagger', '99')).codes).toEqual(plain.codes);
    const staggered = await draw('--stagger', '2');
    expect(staggered.codes).toHaveLength(plain.codes.length);
    const { code, err } = await cli(['generate', 'a tiger', '--model', model, '--stagger', '2', '--windows', '4']);
    expect(code).not.toBe(0);
    expect(err).toContain('both given');
  });

  it('draws over smaller caches', async () => {
    expect((await draw('--cache-type', 'f16')).codes).toEqual((await draw()).codes);
    expect((await draw('--cache-type', 'q8')).codes).toHaveLength((await draw()).codes.length);
    const { code, err } = await cli(['generate', 'a tiger', '--model', model, '--cache-type', 'q4']);
    expect(code).toBe(2);
    expect(err).toContain('Allowed choices are f32, f16, q8');
  });

  it('refuses formats there are none of', async () => {
    const { code, err } = await cli(['generate', 'a tiger', '--model', model, '--weights', 'q2']);
    expect(code).toBe(2);
    expect(err).toContain('Allowed choices are f32, q8, q4');
  });
});

describe('--lora-folder', () => {
  it('changes what is drawn, with packed weights and without', async () => {
    expect((await draw('--lora-folder', adapters)).codes).not.toEqual((await draw()).codes);
    const packed = ['--weights', 'q8'];
    const { codes } = await draw(...packed, '--lora-folder', adapters);
    expect(codes).not.toEqual((await draw(...packed)).codes);
  });

  it('is an option of every command that has a transformer', async () => {
    for (const name of ['generate', 'edit', 'vary', 'ask', 'caption', 'chat', 'video', 'extend', 'eval']) {
      const { out } = await cli([name, '--help']);
      expect(out, name).toContain('--lora-folder <folder>');
      expect(out, name).toContain('--weights <format>');
    }
    expect((await cli(['encode', '--help'])).out).not.toContain('--weights');
  });

  it('names what is wrong with the folder', async () => {
    const run = (folder: string): ReturnType<typeof cli> =>
      cli(['generate', 'a tiger', '--model', model, '-o', join(root, 'none.png'), '--lora-folder', folder]);
    const none = await run(join(root, 'nothing'));
    expect(none.code).toBe(1);
    expect(none.err).toContain('adapter_config.json');
    await writeText(join(root, 'adapter_config.json'), '{}');
    expect((await run(root)).err).toContain('peft_type');
    const config = JSON.parse(await readFile(join(adapters, 'adapter_config.json'), 'utf8')) as object;
    await writeText(join(adapters, 'adapter_config.json'), JSON.stringify({ ...config, r: 3 }));
    expect((await run(adapters)).err).toMatch(/shape|tensor/);
    await writeText(join(adapters, 'adapter_config.json'), JSON.stringify(config));
  });
});
