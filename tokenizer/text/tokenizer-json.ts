/** Text tokenizers from `tokenizer.json` files (byte-level BPE). */
import { Tokenizer } from '@huggingface/tokenizers';
import { Emu3Error } from '../../kernels/core/errors.js';
import type { SpecialVocabulary } from '../special.js';
import { specialVocabulary, visualTokenCode } from '../special.js';
import { byteLevelAlphabet } from './byte-level.js';
import type { TextTokenizer } from './text-tokenizer.js';
import { createTextTokenizer } from './text-tokenizer.js';

/**
 * Reads a `tokenizer.json`.
 *
 * @param file the parsed JSON, its text, or its bytes
 * @param options.special replaces the file's own added tokens; needed for files that hold only the text ranks
 * @throws Emu3Error `format` when the file is not a byte-level BPE tokenizer or its special tokens are incomplete
 */
export function textTokenizerFromJson(
  file: unknown,
  options: { special?: SpecialVocabulary; where?: string } = {},
): TextTokenizer {
  const where = options.where ?? 'tokenizer.json';
  const json = parse(file, where);
  const model = record(json['model'], 'model', where);
  const vocabulary = record(model['vocab'], 'model.vocab', where);
  if (model['type'] !== 'BPE' || !Array.isArray(model['merges'])) {
    throw formatError(`The tokenizer model is ${String(model['type'])}, not BPE with merges.`, where);
  }
  const missing = byteLevelAlphabet().characters.find((character) => !Object.hasOwn(vocabulary, character));
  if (missing !== undefined) {
    throw formatError(`The vocabulary has no ${JSON.stringify(missing)}, so some bytes could not be encoded.`, where);
  }
  const special = options.special ?? readAddedTokens(json['added_tokens'], where);

  let library: Tokenizer;
  try {
    library = new Tokenizer(
      // Without added tokens the library takes everything for text; special tokens are split off before it.
      {
        normalizer: null,
        pre_tokenizer: null,
        decoder: null,
        ...json,
        added_tokens: [],
        post_processor: null,
      },
      { clean_up_tokenization_spaces: false },
    );
  } catch (cause) {
    throw formatError('The tokenizer file could not be understood.', where, cause);
  }

  const specialIds = new Set(special.named.values());
  const textIds = new Set<number>();
  for (const [token, id] of Object.entries(vocabulary)) {
    if (typeof id !== 'number' || !Number.isInteger(id) || id < 0) {
      throw formatError(`Token ${JSON.stringify(token)} has no valid id.`, where);
    }
    if (textIds.has(id)) throw formatError(`Id ${id} is given to two tokens.`, where);
    const isSpecial = special.named.has(token) || visualTokenCode(token) !== undefined;
    if (!isSpecial && (specialIds.has(id) || id >= special.ids.visualStart)) {
      throw formatError(`Text token ${JSON.stringify(token)} has id ${id}, which belongs to a special token.`, where);
    }
    if (!isSpecial) textIds.add(id);
  }

  return createTextTokenizer(
    {
      encode: (text) => library.encode(text, { add_special_tokens: false }).ids,
      decode: (ids) => library.decode(ids, { clean_up_tokenization_spaces: false }),
      has: (id) => textIds.has(id),
    },
    special,
  );
}

function formatError(message: string, where: string, cause?: unknown): Emu3Error {
  return new Emu3Error(message, {
    code: 'format',
    where,
    fix: 'Use a byte-level BPE tokenizer.json with the Emu3 special tokens.',
    cause,
  });
}

function record(value: unknown, name: string, where: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw formatError(`The tokenizer file has no ${name} object.`, where);
  }
  return value as Record<string, unknown>;
}

function parse(file: unknown, where: string): Record<string, unknown> {
  let value = file;
  try {
    if (value instanceof Uint8Array) value = new TextDecoder('utf-8', { fatal: true }).decode(value);
    if (typeof value === 'string') value = JSON.parse(value);
  } catch (cause) {
    throw formatError('The tokenizer file is not JSON.', where, cause);
  }
  return record(value, 'top-level', where);
}

function readAddedTokens(value: unknown, where: string): SpecialVocabulary {
  if (!Array.isArray(value)) throw formatError('The tokenizer file has no added_tokens.', where);
  const named = new Map<string, number>();
  const visual = new Map<number, number>();
  for (const entry of value) {
    const { id, content } = record(entry, 'added token', where);
    if (typeof id !== 'number' || typeof content !== 'string') {
      throw formatError('An added token has no id or no content.', where);
    }
    const code = visualTokenCode(content);
    if (code === undefined) named.set(content, id);
    else visual.set(code, id);
  }
  const start = visual.get(0);
  if (start === undefined) throw formatError('The tokenizer file has no visual tokens.', where);
  for (const [code, id] of visual) {
    if (id !== start + code || code >= visual.size) {
      throw formatError(`Visual token ${code} has id ${id}; visual tokens must be contiguous and in order.`, where);
    }
  }
  return specialVocabulary(named, { start, count: visual.size }, where);
}
