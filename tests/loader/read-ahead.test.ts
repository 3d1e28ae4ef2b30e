import { expect, test } from 'vitest';
import type { ModelFolder } from '../../loader/index.js';
import { memoryFolder, readAhead } from '../../loader/index.js';
import { expectError, rejection } from './support.js';

const content = Uint8Array.from({ length: 100 }, (_, at) => at);

/** A folder that notes what is read of its file. */
function countedFolder(): { folder: ModelFolder; reads: [number, number][] } {
  const inner = memoryFolder('model', new Map([['file', content]]));
  const reads: [number, number][] = [];
  const folder: ModelFolder = {
    ...inner,
    open: async (path) => {
      const source = await inner.open(path);
      const read = (offset: number, length: number): Promise<Uint8Array> => {
        reads.push([offset, length]);
        return source.read(offset, length);
      };
      return { ...source, read };
    },
  };
  return { folder, reads };
}

test('small reads share a window, large ones pass through, and all give the bytes of the file', async () => {
  const { folder, reads } = countedFolder();
  const source = await readAhead(folder, 20).open('file');
  const asked = [
    [0, 4],
    [4, 6],
    [10, 10],
    [18, 4],
    [22, 15],
    [37, 20],
    [95, 5],
    [100, 0],
  ] as const;
  for (const [offset, length] of asked) {
    expect([...(await source.read(offset, length))]).toEqual([...content.subarray(offset, offset + length)]);
  }
  expect(reads).toEqual([
    [0, 20],
    [18, 20],
    [37, 20],
    [95, 5],
  ]);
  await source.close();
});

test('what a reader changes stays its own, and the range is checked before anything is read', async () => {
  const { folder, reads } = countedFolder();
  const source = await readAhead(folder, 20).open('file');
  (await source.read(0, 4)).fill(255);
  expect([...(await source.read(0, 4))]).toEqual([0, 1, 2, 3]);
  expectError(await rejection(source.read(90, 11)), 'argument', 'file');
  expect(reads).toHaveLength(1);
});

test('the folder answers as before otherwise', async () => {
  const folder = readAhead(memoryFolder('model', new Map([['config.json', '{}']])));
  expect([folder.name, await folder.list?.(), await folder.exists('none')]).toEqual(['model', ['config.json'], false]);
  expect(await folder.readText('config.json')).toBe('{}');
});
