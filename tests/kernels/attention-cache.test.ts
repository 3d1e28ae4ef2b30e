import { describe, expect, it } from 'vitest';
import {
  attentionCached,
  attentionDecode,
  attentionDecodePartials,
  attentionDecodes,
  attentionTurnAndCache,
  cacheElement,
  cacheTypes,
  cacheWidth,
  type CacheOperands,
  type CacheType,
} from '../../kernels/attention/index.js';
import { attentionReference } from '../../kernels/attention/reference.js';
import { rotaryFrequencies, rotaryTable } from '../../kernels/rotary/index.js';
import { rotaryReference } from '../../kernels/rotary/reference.js';
import type { Tensor } from '../../engine/graph/index.js';
import { readVectors, storeVectors } from '../support/cache.js';
import { expectClose, pseudoRandom, runKernel, runKernelTyped, type TestTensor } from '../support/kernel.js';

/** Loud: what lies in the cache outside the visible positions must not be read. */
const stale = 1e4;

interface CachedRows {
  /** Whole rows of `total` tokens, of which the last `length` are queries. */
  q: Float32Array;
  /** What the cache stands for. */
  k: Float64Array;
  v: Float64Array;
  keyCache: TestTensor;
  valueCache: TestTensor;
}

interface CacheShape {
  rows: number;
  heads: number;
  keyValueHeads: number;
  capacity: number;
  headDimension: number;
}

/** Caches `[rows, keyValueHeads, capacity, cacheWidth]` holding `counts[row]` tokens, and the tokens row-major. */
function makeCaches(shape: CacheShape, counts: readonly number[], type: CacheType): CachedRows {
  const { rows, heads, keyValueHeads, capacity, headDimension } = shape;
  const tokens = rows * capacity;
  const q = pseudoRandom(tokens * heads * headDimension, 1).map((value) => value * 3);
  const width = cacheWidth(type, headDimension);
  const made = [2, 3].map((seed) => {
    const values = pseudoRandom(tokens * keyValueHeads * headDimension, seed).map((value) => value * (4 - seed));
    const stored = storeVectors(type, values, headDimension);
    const cache = storeVectors(type, new Float32Array(values.length).fill(stale), headDimension);
    for (let row = 0; row < rows; row++) {
      for (let position = 0; position < (counts[row] ?? 0); position++) {
        for (let head = 0; head < keyValueHeads; head++) {
          const from = ((row * capacity + position) * keyValueHeads + head) * width;
          const to = ((row * keyValueHeads + head) * capacity + position) * width;
          cache.set(stored.subarray(from, from + width), to);
        }
      }
    }
    const tensor = { shape: [rows, keyValueHeads, capacity, width], dtype: cacheElement(type), data: cache };
    return { kept: readVectors(type, stored, headDimension), tensor };
  });
  const [keys, values] = made;
  return { q, k: keys.kept, v: values.kept, keyCache: keys.tensor, valueCache: values.tensor };
}

/** The tensors of a run with both caches in one. */
function withCache<T extends { keyCache: Tensor; valueCache: Tensor }>(
  { keyCache: keys, valueCache: values, ...others }: T,
  type: CacheType,
  headDimension: number,
): Omit<T, 'keyCache' | 'valueCache'> & { cache: CacheOperands<Tensor> } {
  return { ...others, cache: { keys, values, type, headDimension } };
}

/** The reference over whole rows, with one start for all queries of a row: `[rows, capacity, heads * headDimension]`. */
function expectedRows(shape: CacheShape, made: CachedRows, starts: readonly number[]): Float64Array {
  const start = Uint32Array.from({ length: shape.rows * shape.capacity }, (_, index) => {
    return starts[Math.floor(index / shape.capacity)] ?? 0;
  });
  const [q, k, v] = [made.q, made.k, made.v].map((data) => Float64Array.from(data));
  return attentionReference(q, k, v, start, { ...shape, batch: shape.rows, length: shape.capacity });
}

/** How far elements of a vector may be from what was cached, f32 arithmetic included. */
function allowedError(type: CacheType, vector: readonly number[]): number {
  const largest = Math.max(...vector.map(Math.abs));
  return { f32: 0, f16: largest * 2 ** -11, q8: largest / 254 }[type] + 1e-6;
}

/** Rows `first[row] .. first[row] + length` of `[rows, capacity, width]`. */
function take(
  data: Float32Array | Float64Array,
  shape: CacheShape,
  first: readonly number[],
  length: number,
): number[] {
  const width = shape.heads * shape.headDimension;
  return first.flatMap((from, row) => {
    const begin = (row * shape.capacity + from) * width;
    return [...data.subarray(begin, begin + length * width)];
  });
}

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

describe.each([true, false])('attention with a cache, software files %s', (software) => {
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

  it.each(cacheTypes)('prefills a chunk behind what a cache of %s holds', async (type) => {
    const shape = { rows: 2, heads: 4, keyValueHeads: 2, capacity: 60, headDimension: 12 };
    const { rows, heads, keyValueHeads, headDimension } = shape;
    const [length, starts, positions] = [37, [2, 0], [7, 21]];
    const made = makeCaches(shape, [44, 58], type);
    const width = heads * headDimension;
    const { out } = await runKernel({
      inputs: {
        q: { shape: [rows * length, width], data: Float32Array.from(take(made.q, shape, positions, length)) },
        keyCache: made.keyCache,
        valueCache: made.valueCache,
        start: { shape: [rows], dtype: 'u32', data: Uint32Array.from(starts) },
        position: { shape: [rows], dtype: 'u32', data: Uint32Array.from(positions) },
      },
      outputs: { out: { shape: [rows * length, width] }, logsumexp: { shape: [rows * length, heads] } },
      calls: (t, traits) =>
        attentionCached(
          { ...traits, software },
          {
            ...withCache(t, type, headDimension),
            shape: { batch: rows, length, heads, keyValueHeads, headDimension },
          },
        ),
    });
    const expected = take(expectedRows(shape, made, starts), shape, positions, length);
    expectClose(out, expected, { absolute: 4e-6, relative: 4e-6 }, 'out');
  });

  it.each([
    [2, 1, 3, 12, 12, 8],
    [4, 2, 1, 10, 12, 8],
    [6, 2, 2, 2, 4, 8],
    [9, 3, 5, 66, 68, 11],
  ])(
    'turns %i heads and caches %i of them, %i tokens a row, heads of %i in %i',
    async (heads, keyValueHeads, length, headDimension, padded, capacity) => {
      // The second row's last tokens and all of the third's are past the capacity.
      const positions = [2, capacity - 1, 0xffffffff];
      const rows = positions.length;
      const tokens = rows * length;
      const allHeads = heads + 2 * keyValueHeads;
      const config = { headDimension, base: 1e4, maxPositions: 64 };
      const rotaryPositions = Uint32Array.from({ length: tokens }, (_, token) => (token * 7 + 3) % 50);
      const untouched = new Float32Array(rows * keyValueHeads * capacity * padded).fill(stale);
      for (const type of cacheTypes) {
        const cacheShape = [rows, keyValueHeads, capacity, cacheWidth(type, padded)];
        const initial = storeVectors(type, untouched, padded);
        for (const software of [true, false]) {
          const projected = pseudoRandom(tokens * allHeads * headDimension, 1);
          const { query, keyCache, valueCache } = await runKernelTyped({
            inputs: {
              projected: { shape: [tokens, allHeads * headDimension], data: projected },
              rotaryPositions: { shape: [tokens], dtype: 'u32', data: rotaryPositions },
              table: { shape: [50, headDimension], data: rotaryTable(config, 50) },
              position: { shape: [rows], dtype: 'u32', data: Uint32Array.from(positions) },
            },
            outputs: {
              query: { shape: [tokens, heads * padded] },
              keyCache: { shape: cacheShape, dtype: cacheElement(type), initial },
              valueCache: { shape: cacheShape, dtype: cacheElement(type), initial },
            },
            calls: (t, traits) => {
              const operands = { ...withCache(t, type, padded), heads, queryScale: 1.25 };
              return attentionTurnAndCache({ ...traits, software }, operands);
            },
          });
          const frequencies = rotaryFrequencies(config, 50);
          const turned = rotaryReference(Float64Array.from(projected), rotaryPositions, frequencies, allHeads);
          const head = (from: ArrayLike<number>, token: number, index: number): number[] =>
            Array.from(from).slice(
              (token * allHeads + index) * headDimension,
              (token * allHeads + index + 1) * headDimension,
            );
          const filling = new Array<number>(padded - headDimension).fill(0);
          const queries: number[] = [];
          const caches = [0, 1].map(() => readVectors(type, initial, padded));
          const bounds = [0, 1].map(() => new Float64Array(untouched.length));
          for (let token = 0; token < tokens; token++) {
            for (let index = 0; index < heads; index++) {
              queries.push(...head(turned, token, index).map((value) => value * 1.25), ...filling);
            }
            const row = Math.floor(token / length);
            const slot = positions[row] + (token % length);
            if (slot >= capacity) continue;
            for (let index = 0; index < keyValueHeads; index++) {
              const to = ((row * keyValueHeads + index) * capacity + slot) * padded;
              [head(turned, token, heads + index), head(projected, token, heads + keyValueHeads + index)].forEach(
                (vector, which) => {
                  caches[which].set([...vector, ...filling], to);
                  bounds[which].fill(allowedError(type, vector), to, to + padded);
                },
              );
            }
          }
          expectClose(query, queries, { absolute: 1e-6 }, `queries, software ${software}`);
          [keyCache, valueCache].forEach((words, which) => {
            if (words instanceof Int32Array) throw new Error('no cache is of i32');
            const off = readVectors(type, words, padded).map((value, at) => Math.abs(value - caches[which][at]));
            const beyond = off.findIndex((error, at) => !(error <= bounds[which][at]));
            expect(beyond, `${type} ${which === 0 ? 'keys' : 'values'}, software ${software}`).toBe(-1);
          });
        }
      }
    },
  );

  it.each([
    ['f16', [65504, -65504, 3, 0]],
    ['q8', [1e6, -1e6, 0, 0]],
  ] as const)('keeps zeros and large values in %s', async (type, expected) => {
    const projected = Float32Array.of(1, 1, 1, 1, 0, 0, 0, 0, 1e6, -1e6, 3, 0);
    const shape = [1, 1, 1, cacheWidth(type, 4)];
    const { keyCache, valueCache } = await runKernelTyped({
      inputs: {
        projected: { shape: [1, 12], data: projected },
        rotaryPositions: { shape: [1], dtype: 'u32', data: new Uint32Array(1) },
        table: { shape: [1, 4], data: Float32Array.of(1, 1, 0, 0) },
        position: { shape: [1], dtype: 'u32', data: new Uint32Array(1) },
      },
      outputs: { query: { shape: [1, 4] }, keyCache: { shape, dtype: 'u32' }, valueCache: { shape, dtype: 'u32' } },
      calls: (t, traits) => {
        const operands = { ...withCache(t, type, 4), heads: 1, queryScale: 1 };
        return attentionTurnAndCache({ ...traits, software }, operands);
      },
    });
    expect([...readVectors(type, Uint32Array.from(keyCache), 4)].map(Math.abs)).toEqual([0, 0, 0, 0]);
    expectClose(readVectors(type, Uint32Array.from(valueCache), 4), expected, { relative: 1e-6 }, 'values');
  });

  it('refuses projections of other sizes and tables of odd ones', async () => {
    const run = (width: number, dimension: number): Promise<unknown> =>
      runKernel({
        inputs: {
          projected: { shape: [2, width], data: pseudoRandom(2 * width, 1) },
          rotaryPositions: { shape: [2], dtype: 'u32', data: new Uint32Array(2) },
          table: { shape: [4, dimension], data: pseudoRandom(4 * dimension, 2) },
          position: { shape: [2], dtype: 'u32', data: new Uint32Array(2) },
        },
        outputs: {
          query: { shape: [2, 16] },
          keyCache: { shape: [2, 1, 4, 8] },
          valueCache: { shape: [2, 1, 4, 8] },
        },
        calls: (t, traits) => attentionTurnAndCache(traits, { ...withCache(t, 'f32', 8), heads: 2, queryScale: 1 }),
      });
    await expect(run(24, 8)).rejects.toMatchObject({
      code: 'shape',
      message: expect.stringMatching(/projected is \[2, 24\]/) as string,
    });
    for (const dimension of [7, 10]) {
      await expect(run(4 * dimension, dimension)).rejects.toMatchObject({
        code: 'shape',
        message: expect.stringMatching(/even head dimension up to 8/) as string,
      });
    }
  });
});
