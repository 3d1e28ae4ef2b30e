import { describe, expect, it } from 'vitest';
import type { TokenClass } from '../../tokenizer/document/grammar.js';
import {
  allowedClass,
  allowedIds,
  allowedVideoClass,
  generatedLength,
  PrefixGrammar,
} from '../../tokenizer/document/grammar.js';
import { videoSegments } from '../../tokenizer/document/segments.js';
import { isVisual, roleOf } from '../../tokenizer/special.js';
import { specialTokens, type RecordedTokens } from '../parity/special.js';
import { readGoldenJson } from '../support/golden.js';
import { errorCode } from './golden.js';

interface Recorded {
  sizes: { h: number; w: number; classes: string }[];
  large: { h: number; w: number; rle: [string, number][]; total: number; counts: Record<string, number> }[];
  batch: { heights: number[]; widths: number[]; rows: string[] }[];
  two_img_tokens: { h: number; w: number; img_positions: [number, number]; length: number; allowed: string };
}

const recorded = readGoldenJson('generate/prefix_constraint.json') as Recorded;
const special = specialTokens(readGoldenJson('lm/tokens.json') as RecordedTokens);

const letters: Record<TokenClass, string> = { visual: 'v', eol: 'l', eof: 'f', eoi: 'i', eos: 's', pad: 'p' };

function classes(height: number, width: number, length: number): string {
  return Array.from({ length }, (_, index) => letters[allowedClass(index + 1, height, width)]).join('');
}

describe('recorded prefix constraint', () => {
  it.each(recorded.sizes)('$h x $w', ({ h, w, classes: expected }) => {
    expect(classes(h, w, expected.length)).toBe(expected);
    expect(expected.length).toBe(generatedLength({ height: h, width: w }) + 10);
  });

  it.each(recorded.large)('$h x $w, counted', ({ h, w, rle, total, counts }) => {
    const all = classes(h, w, total);
    for (const [letter, count] of Object.entries(counts)) expect(all.split(letter).length - 1).toBe(count);
    const runs = Array.from(all.matchAll(/(.)\1*/g), ([run]): [string, number] => [run[0], run.length]);
    const pairs = Math.floor((rle.length - 4) / 2) * 2;
    expect(runs.slice(0, pairs)).toEqual(rle.slice(0, pairs));
    expect(runs.slice(-4)).toEqual(rle.slice(-4));
  });

  it.each(recorded.batch)('batch of $heights x $widths', ({ heights, widths, rows }) => {
    const sizes = heights.map((height, index) => ({ height, width: widths[index] }));
    const grammar = new PrefixGrammar(special, sizes);
    for (const [row, expected] of rows.entries()) {
      const ids = [special.bos, ...new Array<number>(row).fill(7), special.img];
      for (const letter of expected) {
        expect(letters[grammar.allowedClass(row, ids)]).toBe(letter);
        ids.push(grammar.allowedIds(row, ids).first);
      }
    }
  });

  it('counts from the first image token', () => {
    const { h, w, img_positions: places, length, allowed } = recorded.two_img_tokens;
    const ids = Array.from({ length }, (_, index) => (places.includes(index) ? special.img : 5));
    const grammar = new PrefixGrammar(special, [{ height: h, width: w }]);
    expect(letters[grammar.allowedClass(0, ids)]).toBe(allowed);
  });
});

it('gives the ids of each class in a toy vocabulary', () => {
  expect(allowedIds('visual', special)).toEqual({ first: 363, count: 512 });
  expect(allowedIds('eol', special)).toEqual({ first: 355, count: 1 });
  expect(allowedIds('eos', special)).toEqual({ first: 359, count: 1 });
  expect([362, 363, 874, 875].map((id) => isVisual(id, special))).toEqual([false, true, true, false]);
  expect([352, 363, 3].map((id) => roleOf(id, special))).toEqual(['pad', 'visual', undefined]);
});

it.each([
  [1, 1, 1],
  [2, 3, 4],
  [3, 1, 2],
])('a video of %s x %s x %s follows its own layout', (frames, height, width) => {
  const codes = new Array<number>(frames * height * width).fill(0);
  const expected = videoSegments({ frames, height, width, framesPerSecond: 24, codes })
    .slice(3)
    .flatMap((segment): TokenClass[] => {
      if ('visual' in segment) return segment.visual.map((): TokenClass => 'visual');
      return 'special' in segment ? [segment.special as TokenClass] : [];
    })
    .concat('eos', 'pad', 'pad');
  expect(expected.map((_, index) => allowedVideoClass(index + 1, frames, height, width))).toEqual(expected);
});

it('refuses places before the picture, rows without size and rows without image token', async () => {
  const grammar = new PrefixGrammar(special, [
    { height: 1, width: 1 },
    { height: 1, width: 1 },
  ]);
  expect(await errorCode(() => allowedClass(0, 2, 2))).toBe('argument');
  expect(await errorCode(() => allowedVideoClass(0.5, 1, 2, 2))).toBe('argument');
  expect(await errorCode(() => grammar.allowedClass(2, [special.img]))).toBe('argument');
  expect(await errorCode(() => grammar.allowedClass(-1, [special.img]))).toBe('argument');
  expect(await errorCode(() => grammar.allowedClass(0, [1, 2]))).toBe('token');
});
