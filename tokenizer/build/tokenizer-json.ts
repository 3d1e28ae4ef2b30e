/** Builds a small model's own `tokenizer.json`, laid out like the released vocabulary. */
import { Emu3Error } from '../../kernels/core/errors.js';
import type { SpecialTokens } from '../special.js';
import { specialTokenNames, specialVocabulary, visualTokenName } from '../special.js';
import { splitPattern } from '../text/split.js';
import { trainBytePairs } from './byte-pair-training.js';

export interface BuildTokenizerOptions {
  /** Largest number of ids wanted in all: 256 bytes, merges, 11 special tokens and the visual tokens. */
  vocabularySize: number;
  /** Entries of the vision tokenizer's codebook, at most 1,000,000 (their names have six digits). */
  visualCount: number;
}

export interface BuiltTokenizer {
  /** Content of `tokenizer.json`; write it with `JSON.stringify`. */
  json: object;
  special: SpecialTokens;
  /** Ids in all: the size of the model's embedding table. Below the size asked for when the corpus runs out of pairs. */
  vocabularySize: number;
}

/** Named special tokens in the released order; extras without a role are dropped, save the one between eof and bos. */
const namedTokens = [
  specialTokenNames.pad,
  '<|im_start|>',
  '<|im_end|>',
  specialTokenNames.eol,
  specialTokenNames.eof,
  '<|extra_202|>',
  specialTokenNames.bos,
  specialTokenNames.eos,
  specialTokenNames.img,
  specialTokenNames.boi,
  specialTokenNames.eoi,
];

const byteCount = 256;

/**
 * Trains byte-level BPE on a corpus and writes it as a `tokenizer.json`: NFC, the released split rule, byte level,
 * special and visual tokens as added tokens. Ids: bytes, merges, special tokens, visual tokens last and contiguous.
 *
 * @param corpus captions; the same corpus always gives the same file
 * @throws Emu3Error `argument` when the sizes leave no room for the bytes and the special tokens
 */
export function buildTokenizerJson(corpus: Iterable<string>, options: BuildTokenizerOptions): BuiltTokenizer {
  const { vocabularySize, visualCount } = options;
  const smallest = byteCount + namedTokens.length + visualCount;
  if (!Number.isInteger(visualCount) || visualCount < 1 || visualCount > 1_000_000) {
    throw new Emu3Error(`${visualCount} visual tokens cannot be named.`, {
      code: 'argument',
      where: 'visualCount',
      fix: 'Give the codebook size, 1 to 1,000,000.',
    });
  }
  if (!Number.isInteger(vocabularySize) || vocabularySize < smallest) {
    throw new Emu3Error(
      `A vocabulary of ${vocabularySize} cannot hold ${byteCount} bytes, ${namedTokens.length} special and ${visualCount} visual tokens.`,
      {
        code: 'argument',
        where: 'vocabularySize',
        fix: `Ask for at least ${smallest}; what is above it are merges.`,
      },
    );
  }

  const { tokens, merges } = trainBytePairs(corpus, vocabularySize - smallest);
  const named = new Map(namedTokens.map((name, index) => [name, tokens.length + index]));
  const visualStart = tokens.length + namedTokens.length;
  const { ids: special } = specialVocabulary(named, { start: visualStart, count: visualCount }, 'built tokenizer');
  const visual = Array.from({ length: visualCount }, (_, code): [string, number] => [
    visualTokenName(code),
    visualStart + code,
  ]);
  const byteLevel = {
    type: 'ByteLevel',
    add_prefix_space: false,
    trim_offsets: false,
    use_regex: false,
  };
  const json = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [...named, ...visual].map(([content, id]) => ({
      id,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: { type: 'NFC' },
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        {
          type: 'Split',
          pattern: { Regex: splitPattern },
          behavior: 'Isolated',
          invert: false,
        },
        byteLevel,
      ],
    },
    post_processor: byteLevel,
    decoder: byteLevel,
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: '',
      end_of_word_suffix: '',
      fuse_unk: false,
      byte_fallback: false,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: merges.map(([left, right]) => `${left} ${right}`),
    },
  };
  return { json, special, vocabularySize: visualStart + visualCount };
}
