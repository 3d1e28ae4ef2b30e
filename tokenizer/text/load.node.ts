/** Finds and reads the text tokenizer of a model folder. */
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Emu3Error } from '../../kernels/core/errors.js';
import type { SpecialVocabulary } from '../special.js';
import type { TextTokenizer } from './text-tokenizer.js';
import { textTokenizerFromTiktoken } from './tiktoken.js';
import { textTokenizerFromJson } from './tokenizer-json.js';

/**
 * Reads a text tokenizer.
 *
 * @param path a `tokenizer.json`, a `.tiktoken` rank file, or a folder with either (`tokenizer.json` wins)
 * @param special replaces the file's own special tokens; rank files have none and get the released ones unless told
 * @throws Emu3Error `missing` when there is no such file, `io` when it cannot be read, `format` when it is damaged
 */
export async function loadTextTokenizer(path: string, special?: SpecialVocabulary): Promise<TextTokenizer> {
  const file = await findFile(path);
  const content = await attempt(file, () => readFile(file));
  const options = special === undefined ? { where: file } : { where: file, special };
  return file.endsWith('.tiktoken')
    ? textTokenizerFromTiktoken(content, options)
    : textTokenizerFromJson(content, options);
}

async function findFile(path: string): Promise<string> {
  const information = await attempt(path, () => stat(path));
  if (!information.isDirectory()) return path;
  const names = await attempt(path, () => readdir(path));
  const name = names.includes('tokenizer.json')
    ? 'tokenizer.json'
    : names.sort().find((entry) => entry.endsWith('.tiktoken'));
  if (name !== undefined) return join(path, name);
  throw new Emu3Error('The folder has no text tokenizer.', {
    code: 'missing',
    where: path,
    fix: 'Put a tokenizer.json or a .tiktoken rank file into it.',
  });
}

async function attempt<Result>(path: string, action: () => Promise<Result>): Promise<Result> {
  try {
    return await action();
  } catch (cause) {
    const missing = cause instanceof Error && 'code' in cause && cause.code === 'ENOENT';
    throw new Emu3Error(missing ? 'There is no such file or folder.' : 'The file could not be read.', {
      code: missing ? 'missing' : 'io',
      where: path,
      fix: missing ? 'Check the path.' : 'Check that it may be read.',
      cause,
    });
  }
}
