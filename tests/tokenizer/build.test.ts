import { describe, expect, it } from 'vitest';
import { Emu3Error } from '../../kernels/core/errors.js';
import { buildTokenizerJson } from '../../tokenizer/build/tokenizer-json.js';
import { trainBytePairs } from '../../tokenizer/build/byte-pair-training.js';
import { textTokenizerFromJson } from '../../tokenizer/text/tokenizer-json.js';

const nouns = ['tiger face', 'red apple', 'house with garden', 'woman dancing', 'umbrella on ground', 'smiling cat'];
const corpus = nouns.flatMap((noun) => [`a ${noun}, noto style`, `${noun}, fluent style`, `the ${noun}'s tail`]);

describe('byte-pair training', () => {
  it('merges the most frequent pair first, ties to the smaller ids', () => {
    const { tokens, merges } = trainBytePairs(['abab abab', 'cdcd'], 3);
    expect(merges[0]).toEqual(['a', 'b']);
    expect(merges[1]).toEqual(['c', 'd']);
    expect(merges[2]).toEqual(['ab', 'ab']);
    expect(tokens).toHaveLength(259);
    expect(tokens[0]).toBe('!');
  });

  it('merges a run of equal letters from the left', () => {
    expect(trainBytePairs(['aaaaa', 'aaaaa'], 2).merges).toEqual([
      ['a', 'a'],
      ['aa', 'a'],
    ]);
  });

  it('stops when no pair occurs twice', () => {
    expect(trainBytePairs(['abc'], 10).merges).toEqual([]);
  });

  it('never merges across pieces', () => {
    expect(trainBytePairs(['1 2 1 2 1 2 1 2'], 10).merges).toEqual([]);
  });
});

describe('buildTokenizerJson', () => {
  const built = buildTokenizerJson(corpus, {
    vocabularySize: 400,
    visualCount: 64,
  });
  const tokenizer = textTokenizerFromJson(JSON.stringify(built.json));

  it('lays the ids out like the released vocabulary', () => {
    const { special, vocabularySize } = built;
    expect(vocabularySize).toBe(400);
    expect(tokenizer.vocabularySize).toBe(400);
    expect(tokenizer.special).toEqual(special);
    const pad = 400 - 64 - 11;
    expect(special).toEqual({
      pad,
      eol: pad + 3,
      eof: pad + 4,
      bos: pad + 6,
      eos: pad + 7,
      img: pad + 8,
      boi: pad + 9,
      eoi: pad + 10,
      visualStart: pad + 11,
      visualCount: 64,
    });
  });

  it('learns the words of the corpus and still spells everything else', () => {
    expect(tokenizer.encode(' style')).toHaveLength(1);
    for (const text of [...corpus, '90*90', 'Zebra? naïve 🐯 你好\n\u0000']) {
      expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
    }
  });

  it('splits like the trainer: the merges it learned are the merges used', () => {
    const used = new Set(corpus.flatMap((text) => tokenizer.encode(text)));
    const letters = corpus.join('').length;
    const ids = corpus.flatMap((text) => tokenizer.encode(text)).length;
    expect(used.size).toBeGreaterThan(20);
    expect(letters / ids).toBeGreaterThan(3);
  });

  it('is the same file for the same corpus', () => {
    const again = buildTokenizerJson(corpus, {
      vocabularySize: 400,
      visualCount: 64,
    });
    expect(JSON.stringify(again.json)).toBe(JSON.stringify(built.json));
  });

  it('gives a smaller vocabulary when the corpus runs out of pairs', () => {
    expect(buildTokenizerJson(['ab'], { vocabularySize: 5000, visualCount: 8 }).vocabularySize).toBe(256 + 11 + 8);
  });

  it.each([
    [100, 8],
    [5000, 0],
    [5000.5, 8],
  ])('refuses sizes %s and %s', (vocabularySize, visualCount) => {
    expect(() => buildTokenizerJson(corpus, { vocabularySize, visualCount })).toThrow(Emu3Error);
  });
});
