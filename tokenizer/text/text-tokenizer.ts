/**
 * Text to token ids and back. The byte-pair encoding itself is a library's; this layer adds Unicode normalisation and
 * decides what counts as a special token, so that both libraries behave alike.
 */
import { Emu3Error } from '../../kernels/core/errors.js';
import type { SpecialTokens, SpecialVocabulary } from '../special.js';
import { isVisual, visualTokenCode, visualTokenName, visualTokenPattern } from '../special.js';

export interface EncodeOptions {
  /**
   * Whether strings such as `<|image start|>` become special tokens. Off by default: what a user typed is text, and
   * cannot start a picture or end a document. `'all'` means the same as `true`.
   */
  allowSpecial?: boolean | 'all';
}

export interface DecodeOptions {
  /** Leaves special and visual tokens out of the text. Off by default. */
  skipSpecial?: boolean;
}

export interface TextTokenizer {
  /** One more than the largest id: text, special and visual tokens. */
  readonly vocabularySize: number;
  /** Ids of the roles, and the visual range. */
  readonly special: SpecialTokens;
  /** String to id of the named special tokens (the visual tokens are a range: see `special`). */
  readonly specialTokens: ReadonlyMap<string, number>;
  /** Ids of the NFC form of the text. Empty text gives no ids. */
  encode(text: string, options?: EncodeOptions): number[];
  /**
   * Text of the ids. Bytes that are not UTF-8 become U+FFFD.
   * @throws Emu3Error `token` for an id outside the vocabulary
   */
  decode(ids: ArrayLike<number>, options?: DecodeOptions): string;
  /** Id of a special or visual token's string, undefined for anything else. */
  idOf(token: string): number | undefined;
  /** String of a special or visual token's id, undefined for text ids. */
  tokenOf(id: number): string | undefined;
}

/** What a library provides: byte-pair encoding of text in which nothing is special. */
export interface BytePairEncoder {
  encode(text: string): number[];
  decode(ids: number[]): string;
  /** Whether the id is a text token. */
  has(id: number): boolean;
}

/** Joins a library's encoder and a vocabulary of special tokens. */
export function createTextTokenizer(encoder: BytePairEncoder, vocabulary: SpecialVocabulary): TextTokenizer {
  const { named, ids: special } = vocabulary;
  const nameOfId = new Map([...named].map(([name, id]) => [id, name]));
  const vocabularySize = Math.max(special.visualStart + special.visualCount, 1 + Math.max(...named.values()));
  const specialPattern = new RegExp(
    [...named.keys()]
      .sort((a, b) => b.length - a.length)
      .map((name) => name.replace(/[\\^$*+?.()|[\]{}]/g, '\\$&'))
      .concat(visualTokenPattern.source)
      .join('|'),
    'g',
  );

  function idOf(token: string): number | undefined {
    const id = named.get(token);
    if (id !== undefined) return id;
    const code = visualTokenCode(token);
    return code !== undefined && code < special.visualCount ? special.visualStart + code : undefined;
  }

  function tokenOf(id: number): string | undefined {
    return isVisual(id, special) ? visualTokenName(id - special.visualStart) : nameOfId.get(id);
  }

  function encode(text: string, options: EncodeOptions = {}): number[] {
    const normalised = text.normalize('NFC');
    const allowSpecial = options.allowSpecial ?? false;
    if (allowSpecial === false) return encoder.encode(normalised);
    const ids: number[] = [];
    let start = 0;
    const encodeUpTo = (end: number): void => {
      if (end > start) for (const id of encoder.encode(normalised.slice(start, end))) ids.push(id);
    };
    for (const match of normalised.matchAll(specialPattern)) {
      const id = idOf(match[0]);
      if (id === undefined) continue;
      encodeUpTo(match.index);
      ids.push(id);
      start = match.index + match[0].length;
    }
    encodeUpTo(normalised.length);
    return ids;
  }

  function decode(ids: ArrayLike<number>, options: DecodeOptions = {}): string {
    let text = '';
    let run: number[] = [];
    const flush = (): void => {
      if (run.length > 0) text += encoder.decode(run);
      run = [];
    };
    for (let index = 0; index < ids.length; index++) {
      const id = ids[index];
      const token = tokenOf(id);
      if (token !== undefined) {
        flush();
        if (options.skipSpecial !== true) text += token;
      } else if (encoder.has(id)) {
        run.push(id);
      } else {
        throw new Emu3Error(`Id ${id} at position ${index} is not in the vocabulary of ${vocabularySize} tokens.`, {
          code: 'token',
          where: `ids[${index}]`,
          fix: 'Decode with the tokenizer that belongs to the model.',
        });
      }
    }
    flush();
    return text;
  }

  return {
    vocabularySize,
    special,
    specialTokens: named,
    encode,
    decode,
    idOf,
    tokenOf,
  };
}
