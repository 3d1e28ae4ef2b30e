/** Text tokenizers from tiktoken rank files: one line a token, its bytes in base64, a space, its rank. */
import { Tiktoken } from 'js-tiktoken/lite';
import { Emu3Error } from '../../kernels/core/errors.js';
import type { SpecialVocabulary } from '../special.js';
import { emu3SpecialVocabulary } from '../special.js';
import { splitPatternJavaScript } from './split.js';
import type { BytePairEncoder, TextTokenizer } from './text-tokenizer.js';
import { createTextTokenizer } from './text-tokenizer.js';

/**
 * Reads a rank file.
 *
 * @param ranks the file's text, or its bytes
 * @param options.special the special tokens; those of the released vocabulary unless told
 * @throws Emu3Error `format` for a line that is no rank, a rank or token that occurs twice, missing single bytes, or
 * ranks that reach into the special tokens
 */
export function textTokenizerFromTiktoken(
  ranks: string | Uint8Array,
  options: { special?: SpecialVocabulary; where?: string } = {},
): TextTokenizer {
  const special = options.special ?? emu3SpecialVocabulary();
  const where = options.where ?? 'tiktoken ranks';
  const text = typeof ranks === 'string' ? ranks : new TextDecoder().decode(ranks);
  const tokens = parseRanks(text, where);
  const firstSpecial = Math.min(special.ids.visualStart, ...special.named.values());
  if (tokens.length > firstSpecial) {
    throw new Emu3Error(`The rank file has ${tokens.length} ranks, but special tokens start at id ${firstSpecial}.`, {
      code: 'format',
      where,
      fix: 'Pass the special tokens that belong to this rank file.',
    });
  }
  return createTextTokenizer(createEncoder(tokens), special);
}

/** Base64 of each token, in order of rank. */
function parseRanks(text: string, where: string): string[] {
  const fail = (message: string, line: number): never => {
    throw new Emu3Error(message, {
      code: 'format',
      where: `${where}, line ${line}`,
      fix: 'Download the rank file again.',
    });
  };
  const tokens: string[] = [];
  const seen = new Set<string>();
  for (const [index, line] of text.split('\n').entries()) {
    if (line.trim() === '') continue;
    const match = /^([A-Za-z0-9+/]+={0,2}) (\d+)\r?$/.exec(line);
    const token = match?.[1];
    const rank = Number(match?.[2]);
    if (token === undefined || token.length % 4 !== 0)
      return fail('The line is not a base64 token and its rank.', index + 1);
    if (rank !== tokens.length) fail(`Rank ${rank} stands where rank ${tokens.length} belongs.`, index + 1);
    if (seen.has(token)) fail(`Token ${token} occurs twice.`, index + 1);
    seen.add(token);
    tokens.push(token);
  }
  for (let byte = 0; byte < 256; byte++) {
    const token = btoa(String.fromCharCode(byte));
    if (!seen.has(token)) fail(`The single byte ${byte} has no rank, so some text could not be encoded.`, 1);
  }
  return tokens;
}

/** The library's merge loop is quadratic in the length of a piece: this many characters already take seconds. */
const longestPiece = 4096;

function pieceError(piece: string): Emu3Error {
  return new Emu3Error(`The text has a run of ${piece.length} characters without a break.`, {
    code: 'prompt',
    where: `"${piece.slice(0, 20)}..."`,
    fix: `Break it with spaces into runs of at most ${longestPiece} characters.`,
  });
}

function createEncoder(tokens: string[]): BytePairEncoder {
  const library = new Tiktoken({
    pat_str: splitPatternJavaScript,
    special_tokens: {},
    bpe_ranks: `! 0 ${tokens.join(' ')}`,
  });
  // The library's decoder drops a byte-order mark at the start of the text; behind one other character it is kept.
  const guard = tokens.indexOf(btoa('!'));
  const pieces = new RegExp(splitPatternJavaScript, 'gu');
  return {
    encode: (text) => {
      for (const [piece] of text.length > longestPiece ? text.matchAll(pieces) : []) {
        if (piece.length > longestPiece) throw pieceError(piece);
      }
      return library.encode(text, [], []);
    },
    decode: (ids) => library.decode([guard, ...ids]).slice(1),
    has: (id) => Number.isInteger(id) && id >= 0 && id < tokens.length,
  };
}
