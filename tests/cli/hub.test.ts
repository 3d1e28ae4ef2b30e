import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { TestHub } from '../support/hub.js';
import { cli, writeTinyModel } from './support.js';

const hub = new TestHub();
let root = '';
let model = '';

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'emu3-cli-'));
  model = await writeTinyModel(join(root, 'model'));
  for (const entry of await readdir(model, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    hub.files.set(relative(model, path).replaceAll('\\', '/'), await readFile(path));
  }
  await hub.start();
  vi.stubEnv('HF_ENDPOINT', hub.url);
  vi.stubEnv('HF_TOKEN', 'hf_secret');
  vi.stubEnv('EMU3_CACHE', join(root, 'cache'));
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await hub.stop();
  await rm(root, { recursive: true, force: true });
});

async function draw(name: string, ...args: string[]): Promise<{ picture: Buffer; err: string }> {
  const output = join(root, 'picture.png');
  const { code, err } = await cli(['generate', 'a tiger', '--model', name, '-o', output, '--seed', '3', ...args]);
  expect(code, err).toBe(0);
  return { picture: await readFile(output), err };
}

describe('models by their names on the hub', () => {
  it('draw as they do from disk, with a token, packed and kept', async () => {
    const { picture } = await draw(model);
    const fromHub = await draw(hub.repository);
    expect(fromHub.picture.equals(picture)).toBe(true);
    expect(fromHub.err).not.toContain('not compared');
    expect(hub.seen.every(({ token }) => token === 'Bearer hf_secret')).toBe(true);
    expect((await draw(`${hub.repository}@v1`, '--vision', join(model, 'vision_tokenizer'))).picture).toEqual(picture);

    const packed = await draw(hub.repository, '--weights', 'q4', '--cache');
    expect(packed.err).toContain('packed weights kept');
    hub.seen = [];
    const again = await draw(hub.repository, '--weights', 'q4', '--cache');
    expect(again.err).toContain('packed weights from');
    expect(again.picture.equals(packed.picture)).toBe(true);
    const { code, out } = await cli(['inspect', hub.repository, '--json', '--no-tensors']);
    expect(code).toBe(0);
    expect(JSON.parse(out)).toMatchObject({ model: hub.repository });
  });

  it('whose listing has no hashes say that nothing was compared', async () => {
    hub.hashless = true;
    const { code, err } = await cli(['inspect', hub.repository]);
    hub.hashless = false;
    expect([code, err]).toEqual([0, expect.stringContaining('config.json: not compared with its hash') as unknown]);
  });

  it('that are not there are an error with the words of the hub', async () => {
    const unknown = await cli(['inspect', 'someone/else']);
    expect(unknown.code).toBe(1);
    expect(unknown.err).toContain('Repository not found');
    const revision = await cli(['inspect', `${hub.repository}@gone`]);
    expect(revision.code).toBe(1);
    expect(revision.err).toContain('Revision not found');
  });
});
