import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { cli, writeTinyModel } from './support.js';

let root = '';
let model = '';

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'emu3-cli-'));
  model = await writeTinyModel(join(root, 'model'));
  vi.stubEnv('EMU3_CACHE', join(root, 'cache'));
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await rm(root, { recursive: true, force: true });
});
afterEach(async () => {
  await cli(['cache', 'rm', '--all']);
});

async function draw(...args: string[]): Promise<string> {
  const fixed = ['--model', model, '-o', join(root, 'picture.png'), '--seed', '3', '--weights', 'q4'];
  const { code, err } = await cli(['generate', 'a tiger', ...fixed, ...args]);
  expect(code, err).toBe(0);
  return err;
}

interface Listed {
  folder: string;
  entries: { key: string; bytes: number }[];
}

async function listed(): Promise<Listed> {
  const { code, out, err } = await cli(['cache', 'ls', '--json']);
  expect(code, err).toBe(0);
  return JSON.parse(out) as Listed;
}

describe('emu3 cache', () => {
  it('keeps packed weights where it is asked to, lists and removes them', async () => {
    expect(await draw()).not.toContain('kept');
    expect((await listed()).entries).toEqual([]);
    expect((await cli(['cache', 'ls'])).out).toContain('no packed models');
    expect(await draw('--cache')).toContain('packed weights kept in');
    expect(await draw('--cache')).toContain('packed weights from');
    expect(await draw('--no-cache')).not.toContain('packed weights from');
    const { folder, entries } = await listed();
    expect(folder).toBe(join(root, 'cache'));
    expect(entries).toHaveLength(1);
    expect((await cli(['cache', 'ls'])).out).toContain(entries[0].key);
    const { code, out } = await cli(['cache', 'rm', entries[0].key, '--json']);
    expect(code).toBe(0);
    expect(JSON.parse(out)).toEqual({ removed: [entries[0].key], bytes: entries[0].bytes });
    expect((await listed()).entries).toEqual([]);
  });

  it('refuses to remove nothing, and what is not there', async () => {
    const nothing = await cli(['cache', 'rm']);
    expect(nothing.code).toBe(1);
    expect(nothing.err).toContain('--all');
    const unknown = await cli(['cache', 'rm', 'abc']);
    expect(unknown.code).toBe(1);
    expect(unknown.err).toContain('no packed model abc');
  });
});
