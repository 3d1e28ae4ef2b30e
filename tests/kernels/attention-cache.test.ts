import { describe, expect, it } from 'vitest';
import {
  attentionCached,
  attentionTurnAndCache,
  cacheElement,
  cacheTypes,
  cacheWidth,
  type CacheType,
} from '../../kernels/attention/index.js';
import { attentionReference } from '../../kernels/attention/reference.js';
import { rotaryFrequencies, rotaryTable } from '../../kernels/rotary/index.js';
import { rotaryReference } from '../../kernels/rotary/reference.js';
import {
  makeCaches,
  readVectors,
  stale,
  storeVectors,
  withCache,
  type CachedRows,
  type CacheShape,
} from '../support/cache.js';
import { expectClose, pseudoRandom, runKernel, runKernelTyped } from '../support/kernel.js';

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

describe.each([true, false])('attention with a cache, software files %s', (software) => {
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
});

describe('turning and caching new tokens', () => {
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
    ['f16', true, [65504, -65504, 3, 0]],
    ['f16', false, [65504, -65504, 3, 0]],
    ['q8', true, [1e6, -1e6, 0, 0]],
    ['q8', false, [1e6, -1e6, 0, 0]],
  ] as const)('keeps zeros and large values in %s, software files %s', async (type, software, expected) => {
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
