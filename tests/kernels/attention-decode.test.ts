import { describe, expect, it } from 'vitest';
import {
  attentionDecode,
  attentionDecodePartials,
  attentionDecodes,
  attentionTurnAndCache,
  cacheTypes,
  type CacheType,
} from '../../kernels/attention/index.js';
import { attentionReference } from '../../kernels/attention/reference.js';
import { rotaryFrequencies, rotaryTable } from '../../kernels/rotary/index.js';
import { rotaryReference } from '../../kernels/rotary/reference.js';
import { makeCaches, readVectors, withCache, type CachedRows, type CacheShape } from '../support/cache.js';
import { expectClose, pseudoRandom, runKernelTyped } from '../support/kernel.js';

/** New tokens of every row, and what they are written with. */
interface NewRows extends CacheShape {
  length: number;
  starts: readonly number[];
  positions: readonly number[];
}

interface NewRun {
  out: Float32Array;
  keyCache: Float32Array | Uint32Array;
  valueCache: Float32Array | Uint32Array;
}

const tableRows = 50;

function newTokens({ rows, heads, keyValueHeads, headDimension, length }: NewRows) {
  const tokens = rows * length;
  const config = { headDimension, base: 1e4, maxPositions: 64 };
  return {
    projected: pseudoRandom(tokens * (heads + 2 * keyValueHeads) * headDimension, 7).map((value) => value * 2),
    // Some past the table.
    rotaryPositions: Uint32Array.from({ length: tokens }, (_, token) => (token * 7 + 30) % 64),
    table: rotaryTable(config, tableRows),
    frequencies: rotaryFrequencies(config, tableRows),
  };
}

/** What tokens `of` every row leave in the caches and, of decoding, as attention; `apart` turns and caches only. */
async function runNewTokens(
  shape: NewRows,
  caches: Pick<CachedRows, 'keyCache' | 'valueCache'>,
  type: CacheType,
  software: boolean,
  { apart = false, of = Array.from({ length: shape.length }, (_, index) => index) } = {},
): Promise<NewRun> {
  const { rows, heads, keyValueHeads, headDimension, length, starts, positions } = shape;
  const { projected, rotaryPositions, table } = newTokens(shape);
  const features = (heads + 2 * keyValueHeads) * headDimension;
  const tokens = rows * of.length;
  const taken = Array.from({ length: rows }, (_, row) => of.map((index) => row * length + index)).flat();
  const { partials, ...run } = await runKernelTyped({
    inputs: {
      projected: {
        shape: [tokens, features],
        data: Float32Array.from(
          taken.flatMap((token) => [...projected.subarray(token * features, (token + 1) * features)]),
        ),
      },
      rotaryPositions: {
        shape: [tokens],
        dtype: 'u32',
        data: Uint32Array.from(taken, (token) => rotaryPositions[token]),
      },
      table: { shape: [tableRows, headDimension], data: table },
      start: { shape: [rows], dtype: 'u32', data: Uint32Array.from(starts) },
      position: { shape: [rows], dtype: 'u32', data: Uint32Array.from(positions, (position) => position + of[0]) },
    },
    outputs: {
      keyCache: { ...caches.keyCache, initial: caches.keyCache.data },
      valueCache: { ...caches.valueCache, initial: caches.valueCache.data },
      out: { shape: [tokens, heads * headDimension] },
      partials: { shape: [tokens, heads, 16, 4 + headDimension] },
    },
    calls: ({ start, partials, out, ...t }, deviceTraits) => {
      const traits = { ...deviceTraits, software };
      const operands = { ...withCache(t, type, headDimension), heads };
      if (apart) return attentionTurnAndCache(traits, { ...operands, query: out, queryScale: 1 });
      const wanted = attentionDecodePartials(traits, { tokens, heads, headDimension });
      expect(wanted).toEqual(software ? undefined : partials.shape);
      return attentionDecode(traits, { ...operands, start, out, partials: wanted && partials });
    },
  });
  expect(partials.length).toBe(tokens * heads * 16 * (4 + headDimension));
  return run as NewRun;
}

/** Compares every element; `toEqual` takes long over large arrays. */
function expectSame(actual: Float32Array | Uint32Array, expected: Float32Array | Uint32Array, label: string): void {
  expect(actual.length, label).toBe(expected.length);
  expect(
    actual.findIndex((value, index) => value !== expected[index]),
    label,
  ).toBe(-1);
}

/** The same caches with what a run has written. */
function withWritten(made: CachedRows, run: NewRun): CachedRows {
  return {
    ...made,
    keyCache: { ...made.keyCache, data: run.keyCache },
    valueCache: { ...made.valueCache, data: run.valueCache },
  };
}

/** Attention of the new tokens over what the caches hold with them: `[rows * length, heads * headDimension]`. */
function expectedNew(shape: NewRows, run: NewRun, type: CacheType): number[] {
  const { rows, heads, keyValueHeads, capacity, headDimension, length, starts, positions } = shape;
  const { projected, rotaryPositions, frequencies } = newTokens(shape);
  const allHeads = heads + 2 * keyValueHeads;
  const clipped = rotaryPositions.map((position) => Math.min(position, tableRows - 1));
  const turned = rotaryReference(Float64Array.from(projected), clipped, frequencies, allHeads);
  const [k, v] = [run.keyCache, run.valueCache].map((cache) => readVectors(type, cache, headDimension));
  return Array.from({ length: rows * length }, (_, token) => {
    const row = Math.floor(token / length);
    // All that is cached is visible to a token past it; nothing to a row that is idle.
    const slot = Math.min(positions[row] + (token % length), capacity - 1);
    const idle = positions[row] === 0xffffffff;
    const byPosition = (from: Float64Array): Float64Array =>
      Float64Array.from({ length: (slot + 1) * keyValueHeads * headDimension }, (_, index) => {
        const position = Math.floor(index / (keyValueHeads * headDimension));
        const head = Math.floor(index / headDimension) % keyValueHeads;
        return from[((row * keyValueHeads + head) * capacity + position) * headDimension + (index % headDimension)];
      });
    const q = new Float64Array((slot + 1) * heads * headDimension);
    q.set(
      turned.subarray(token * allHeads * headDimension, (token * allHeads + heads) * headDimension),
      slot * heads * headDimension,
    );
    // Only the last query is wanted.
    const start = Uint32Array.from({ length: slot + 1 }, (_, index) =>
      index === slot && !idle ? starts[row] : slot + 1,
    );
    const sizes = { batch: 1, length: slot + 1, heads, keyValueHeads, headDimension };
    return [
      ...attentionReference(q, byPosition(k), byPosition(v), start, sizes).subarray(slot * heads * headDimension),
    ];
  }).flat();
}

describe.each([true, false])('attention of one or two new tokens, software files %s', (software) => {
  it.each([
    { rows: 1, heads: 1, keyValueHeads: 1, capacity: 1, headDimension: 8, starts: [0], positions: [0] },
    { rows: 2, heads: 6, keyValueHeads: 2, capacity: 70, headDimension: 24, starts: [0, 3], positions: [69, 20] },
    {
      rows: 4,
      heads: 4,
      keyValueHeads: 2,
      capacity: 90,
      headDimension: 64,
      starts: [9, 0, 5, 20],
      positions: [89, 0, 4, 7],
    },
    { rows: 2, heads: 9, keyValueHeads: 1, capacity: 40, headDimension: 128, starts: [0, 0], positions: [17, 38] },
    {
      rows: 3,
      heads: 5,
      keyValueHeads: 1,
      capacity: 33,
      headDimension: 40,
      starts: [0, 31, 0],
      positions: [0xffffffff, 31, 33],
    },
  ])('decodes rows at positions $positions of $heads/$keyValueHeads heads of $headDimension', async (options) => {
    for (const type of cacheTypes) {
      for (const length of [1, 2]) {
        const shape = { ...options, length };
        const counts = shape.positions.map((position) => (position === 0xffffffff ? 3 : position));
        const made = makeCaches(shape, counts, type);
        const apart = await runNewTokens(shape, made, type, software, { apart: true });
        const decoded = await runNewTokens(shape, made, type, software);
        const label = `${type}, ${length} tokens a row`;
        expectSame(decoded.keyCache, apart.keyCache, `${label}: key cache`);
        expectSame(decoded.valueCache, apart.valueCache, `${label}: value cache`);
        expectClose(decoded.out, expectedNew(shape, apart, type), { absolute: 6e-6, relative: 6e-6 }, label);
      }
    }
  });

  it.each(cacheTypes)('decodes two tokens as one after the other over a cache of %s', async (type) => {
    const shape = { rows: 2, heads: 6, keyValueHeads: 2, capacity: 50, headDimension: 32 };
    const both = { ...shape, length: 2, starts: [0, 2], positions: [41, 13] };
    const made = makeCaches(shape, both.positions, type);
    const together = await runNewTokens(both, made, type, software);
    const first = await runNewTokens(both, made, type, software, { of: [0] });
    const second = await runNewTokens(both, withWritten(made, first), type, software, { of: [1] });
    const width = shape.heads * shape.headDimension;
    const apart = Float32Array.from(
      [0, 1].flatMap((row) => [first, second].flatMap(({ out }) => [...out.subarray(row * width, (row + 1) * width)])),
    );
    // The software file adds up in the same order; splits are cut by how many keys there are.
    if (software) expectSame(together.out, apart, 'out');
    else expectClose(together.out, apart, { absolute: 2e-6, relative: 2e-6 }, 'out');
    expectSame(together.keyCache, second.keyCache, 'key cache');
    expectSame(together.valueCache, second.valueCache, 'value cache');
  });

  it('refuses to decode more tokens, and heads that are filled up', async () => {
    expect([attentionDecodes(2, 40), attentionDecodes(3, 40), attentionDecodes(1, 12)]).toEqual([true, false, false]);
    const sizes = { rows: 1, heads: 2, keyValueHeads: 1, capacity: 8, starts: [0], positions: [1] };
    for (const wrong of [
      { length: 3, headDimension: 8 },
      { length: 1, headDimension: 12 },
    ]) {
      const shape = { ...sizes, ...wrong };
      await expect(runNewTokens(shape, makeCaches(shape, [1], 'f32'), 'f32', software)).rejects.toMatchObject({
        code: 'shape',
        message: expect.stringMatching(/1 or 2 in heads of a multiple of 8/) as string,
      });
    }
  });
});
