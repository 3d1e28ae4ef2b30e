import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { buildTokenizerJson, loadTextTokenizer } from '../../tokenizer/index.node.js';
import { errorCode } from './golden.js';

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'emu3-tokenizer-'));
});
afterAll(() => rm(folder, { recursive: true }));

it('reads the tokenizer of a folder: ranks, and before them tokenizer.json', async () => {
  expect(await errorCode(() => loadTextTokenizer(folder))).toBe('missing');
  const ranks = Array.from({ length: 256 }, (_, byte) => `${btoa(String.fromCharCode(byte))} ${byte}\n`).join('');
  await writeFile(join(folder, 'emu3.tiktoken'), ranks);
  const fromRanks = await loadTextTokenizer(folder);
  expect(fromRanks.vocabularySize).toBe(184_622);
  expect(fromRanks.encode('A')).toEqual([65]);

  const built = buildTokenizerJson(['a cat'], { vocabularySize: 300, visualCount: 8 });
  await writeFile(join(folder, 'tokenizer.json'), JSON.stringify(built.json));
  const fromJson = await loadTextTokenizer(folder);
  expect(fromJson.special).toEqual(built.special);
  expect((await loadTextTokenizer(join(folder, 'emu3.tiktoken'))).vocabularySize).toBe(184_622);
});

it('names what is missing or damaged', async () => {
  expect(await errorCode(() => loadTextTokenizer(join(folder, 'nothing')))).toBe('missing');
  await writeFile(join(folder, 'broken.json'), '{"model":');
  expect(await errorCode(() => loadTextTokenizer(join(folder, 'broken.json')))).toBe('format');
});
