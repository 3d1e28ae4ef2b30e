import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { brotliCompressSync } from 'node:zlib';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { readTar, unpackOnce } from '../../engine/adapter/unpack.node.js';

let folder = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'emu3-unpack-'));
  vi.stubEnv('XDG_CACHE_HOME', folder);
  vi.stubEnv('LOCALAPPDATA', folder);
  vi.stubEnv('HOME', folder);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(folder, { recursive: true });
});

function tarEntry(name: string, content: string, mode = 0o644): Buffer {
  const data = Buffer.from(content);
  const entry = Buffer.alloc(512 + Math.ceil(data.length / 512) * 512);
  entry.write(name, 0);
  entry.write(mode.toString(8).padStart(7, '0'), 100);
  entry.write(data.length.toString(8).padStart(11, '0'), 124);
  entry.write('0ustar', 156);
  data.copy(entry, 512);
  return entry;
}

async function archiveOf(...entries: Buffer[]): Promise<string> {
  const path = join(folder, 'some.tar.br');
  await writeFile(path, brotliCompressSync(Buffer.concat([...entries, Buffer.alloc(1024)])));
  return path;
}

test('two unpackers that start together leave one whole folder and no scraps', async () => {
  const archive = await archiveOf(tarEntry('lib/a.so', 'x'.repeat(1000), 0o755), tarEntry('b.json', '{}'));
  const [one, two] = await Promise.all([unpackOnce('thing-1', [archive]), unpackOnce('thing-1', [archive])]);
  expect(two).toBe(one);
  expect(await readFile(join(one, 'lib', 'a.so'), 'utf8')).toBe('x'.repeat(1000));
  expect(await readFile(join(one, 'b.json'), 'utf8')).toBe('{}');
  if (process.platform !== 'win32') expect((await stat(join(one, 'lib', 'a.so'))).mode & 0o777).toBe(0o755);
  expect(await readdir(join(one, '..'))).toEqual(['thing-1']);
});

test('an entry that points out of its folder is not written', async () => {
  const archive = await archiveOf(tarEntry('../escaped', 'bad'), tarEntry('kept', 'good'));
  const unpacked = await unpackOnce('thing-2', [archive]);
  expect(await readdir(unpacked)).toEqual(['kept']);
  expect(await readdir(join(unpacked, '..'))).toEqual(['thing-2']);
});

test('a cut archive is an error and leaves nothing behind', async () => {
  const whole = tarEntry('a', 'x'.repeat(2000));
  expect(() => [...readTar(whole.subarray(0, 1500), 'cut.tar')]).toThrow(/cut short.*cut\.tar/);
  const archive = join(folder, 'cut.tar.br');
  await writeFile(archive, brotliCompressSync(whole.subarray(0, 1500)));
  await expect(unpackOnce('thing-3', [archive])).rejects.toMatchObject({ code: 'format' });
  expect((await readdir(folder)).filter((name) => name.includes('thing-3'))).toEqual([]);
});
