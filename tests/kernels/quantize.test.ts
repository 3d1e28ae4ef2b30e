import { describe, expect, test } from 'vitest';
import { elementCount } from '../../kernels/core/types.js';
import {
  dequantize,
  quantizationError,
  quantizationGroup,
  quantize,
  quantizedShapes,
  type QuantizationFormat,
} from '../../kernels/quantize/index.js';
import { dequantizeReference, groupScaleReference, unpackReference } from '../../kernels/quantize/reference.js';
import { expectClose, pseudoRandom, runKernelTyped, testDevice } from '../support/kernel.js';

const formats: QuantizationFormat[] = ['q4', 'q8'];
const levelRange = { q4: [-8, 7], q8: [-128, 127] } as const;

/** Bell-shaped values, as weights are, times a scale that differs from group to group. */
function weights(count: number, seed: number): Float32Array {
  const parts = [0, 1, 2, 3].map((part) => pseudoRandom(count, 10 * seed + part));
  return Float32Array.from({ length: count }, (_, index) => {
    const sum = parts.reduce((total, part) => total + part[index], 0);
    return sum * 0.02 * (1 + (Math.floor(index / quantizationGroup) % 5));
  });
}

/** bf16 patterns in pairs, as the bytes of a safetensors file read as u32; values are cut off, not rounded. */
function bf16Pairs(values: Float32Array): Uint32Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  return Uint32Array.from(
    { length: values.length / 2 },
    (_, i) => (bits[2 * i] >>> 16) | (bits[2 * i + 1] & 0xffff0000),
  );
}

function cutToBf16(values: Float32Array): Float32Array {
  const copy = values.slice();
  const bits = new Uint32Array(copy.buffer);
  for (let index = 0; index < bits.length; index++) bits[index] &= 0xffff0000;
  return copy;
}

interface PackRun {
  format: QuantizationFormat;
  n: number;
  k: number;
  values: Float32Array;
  bf16?: boolean;
  software?: boolean;
  /** [first row, rows]; default the whole weight. */
  tile?: [number, number];
  sourceRows?: number;
}

async function pack(run: PackRun) {
  const { format, n, k, values, bf16 = false, tile = [0, n], sourceRows = n } = run;
  const shapes = quantizedShapes(format, [n, k]);
  const results = await runKernelTyped({
    inputs: {
      source: bf16
        ? { shape: [sourceRows, k / 2], dtype: 'u32', data: bf16Pairs(values) }
        : { shape: [sourceRows, k], data: values },
      tile: { shape: [2], dtype: 'u32', data: Uint32Array.from(tile) },
    },
    outputs: {
      data: { shape: shapes.data, dtype: 'u32', initial: new Uint32Array(elementCount(shapes.data)).fill(0xabcdabcd) },
      scales: {
        shape: shapes.scales,
        dtype: 'u32',
        initial: new Uint32Array(elementCount(shapes.scales)).fill(0xabcdabcd),
      },
      statistics: { shape: [n, 4], initial: new Float32Array(4 * n).fill(-1) },
      out: { shape: [n, k] },
    },
    calls: (t, given) => {
      const traits = { ...given, ...(run.software === undefined ? {} : { software: run.software }) };
      const weight = { format, shape: [n, k], data: t.data, scales: t.scales };
      return [
        quantize(traits, { source: t.source, tile: t.tile, weight }),
        quantizationError(traits, { source: t.source, tile: t.tile, weight, statistics: t.statistics }),
        dequantize(traits, { weight, out: t.out }),
      ];
    },
  });
  const { data, scales, statistics, out } = results;
  return { data, scales, statistics, out, ...unpackReference(data, scales, { n, k, format }) };
}

const shapes = [
  [1, 32],
  [3, 96],
  [5, 160],
  [2, 64],
  [33, 32],
  [7, 256],
];

describe.each(formats)('%s', (format) => {
  const [low, high] = levelRange[format];

  test.each([
    ['f32', false, true],
    ['f32', false, false],
    ['bf16', true, true],
    ['bf16', true, false],
  ])(
    'from %s keeps every value within half a step, with as good a scale as the reference',
    async (_, bf16, software) => {
      for (const [n, k] of shapes) {
        const raw = weights(n * k, n + k);
        const values = bf16 ? cutToBf16(raw) : raw;
        const found = await pack({ format, n, k, values: raw, bf16, software });
        expectClose(
          found.out,
          dequantizeReference(found.data, found.scales, { n, k, format }),
          { relative: 1e-7 },
          `dequantized ${n} x ${k}`,
        );
        for (let group = 0; group < (n * k) / quantizationGroup; group++) {
          const from = group * quantizationGroup;
          const scale = found.groupScales[group];
          const members = values.subarray(from, from + quantizationGroup);
          let squared = 0;
          const wrong: string[] = [];
          members.forEach((value, index) => {
            const level = found.levels[from + index];
            const error = Math.abs(value - scale * level);
            squared += error * error;
            const clipped = value / scale < low - 0.5 ? low : value / scale > high + 0.5 ? high : undefined;
            const right = clipped === undefined ? error <= Math.abs(scale) * 0.500001 : level === clipped;
            if (!right || level < low || level > high)
              wrong.push(`${value} is ${level} of ${scale} at ${from + index}`);
          });
          expect(wrong).toEqual([]);
          // A scale one rounding off is as good as the reference's; a worse choice is not.
          expect(squared).toBeLessThanOrEqual(groupScaleReference(members, format).squaredError * 1.01);
        }
      }
    },
  );

  test('gives the statistics of its errors, row by row', async () => {
    for (const software of [true, false]) {
      const [n, k] = [5, 160];
      const values = weights(n * k, 3);
      const { statistics, out } = await pack({ format, n, k, values, software });
      const expected = new Float64Array(4 * n);
      for (let row = 0; row < n; row++) {
        for (let index = row * k; index < (row + 1) * k; index++) {
          const error = Math.abs(values[index] - out[index]);
          expected[4 * row] = Math.max(expected[4 * row], error);
          expected[4 * row + 1] += error * error;
          expected[4 * row + 2] += values[index] ** 2;
        }
      }
      expectClose(statistics, expected, { relative: 1e-5 }, `software ${software}`);
    }
  });

  test('packs tile by tile what it packs at once, and nothing beside the tile', async () => {
    const [n, k] = [7, 96];
    const values = weights(n * k, 4);
    const whole = await pack({ format, n, k, values });
    const [dataWords, scaleWords] = [whole.data.length / n, whole.scales.length / n];
    for (const [first, rows] of [
      [0, 3],
      [3, 3],
      [6, 1],
    ]) {
      // The source holds three rows; those past the tile's count and past the weight's end are not for packing.
      const source = new Float32Array(3 * k).fill(123);
      source.set(values.subarray(first * k, (first + rows) * k));
      const part = await pack({ format, n, k, values: source, tile: [first, rows], sourceRows: 3 });
      for (let row = 0; row < n; row++) {
        const inside = row >= first && row < first + rows;
        const words = [...part.data.subarray(row * dataWords, (row + 1) * dataWords)];
        const pairs = [...part.scales.subarray(row * scaleWords, (row + 1) * scaleWords)];
        const expectedWords = [...whole.data.subarray(row * dataWords, (row + 1) * dataWords)];
        const expectedPairs = [...whole.scales.subarray(row * scaleWords, (row + 1) * scaleWords)];
        expect(words).toEqual(inside ? expectedWords : expectedWords.map(() => 0xabcdabcd));
        expect(pairs).toEqual(inside ? expectedPairs : expectedPairs.map(() => 0xabcdabcd));
        expect(part.statistics[4 * row]).toBe(inside ? whole.statistics[4 * row] : -1);
      }
    }
    const past = await pack({ format, n, k, values: values.subarray(0, 3 * k), tile: [6, 3], sourceRows: 3 });
    expect([...past.data.subarray(0, 6 * dataWords)].every((word) => word === 0xabcdabcd)).toBe(true);
    expect([...past.data.subarray(6 * dataWords)]).toEqual([...whole.data.subarray(0, dataWords)]);
  });

  test('gives the same bits every time', async () => {
    const [n, k] = [9, 160];
    const values = weights(n * k, 5);
    const [first, second] = [await pack({ format, n, k, values }), await pack({ format, n, k, values })];
    expect(first.data).toEqual(second.data);
    expect(first.scales).toEqual(second.scales);
    expect(first.statistics).toEqual(second.statistics);
  });

  test('leaves zeros zero, takes values that are not finite as zeros and counts them', async () => {
    const [n, k] = [3, 64];
    const values = new Float32Array(n * k);
    values.set([0.5, NaN, Infinity, -Infinity, -0.25], k);
    for (const bf16 of [false, true]) {
      for (const software of [true, false]) {
        const { out, statistics } = await pack({ format, n, k, values, bf16, software });
        expect([...out.subarray(0, k)].every((value) => Math.abs(value) === 0)).toBe(true);
        expect(out[k]).toBeCloseTo(0.5, format === 'q4' ? 1 : 3);
        expect(Math.abs(out[k + 1]) + Math.abs(out[k + 2]) + Math.abs(out[k + 3])).toBe(0);
        expect([statistics[3], statistics[7], statistics[11]]).toEqual([0, 3, 0]);
        expect(statistics[6]).toBeCloseTo(0.3125, 6);
      }
    }
  });

  test('keeps very small and very large weights', async () => {
    const k = 32;
    const pattern = pseudoRandom(k, 6);
    for (const size of [1e-6, 1e-4, 1e5]) {
      const values = pattern.map((value) => value * size);
      const { out } = await pack({ format, n: 1, k, values });
      // Steps of subnormal scales are known to 2^-24 only. q4 may clip the extremum by a level where that serves the rest.
      const absolute = format === 'q4' ? size / 8 + 4 * 2 ** -24 : (0.5001 * size) / 127 + 2 ** -24;
      expectClose(out, values, { absolute }, `values of ${size}`);
    }
  });
});

test('packs levels where the format says', async () => {
  // Step 1/4, the extremum on the lowest level: every value is a level, so the scale is -extremum / 8 or extremum / 127.
  const q4 = Float32Array.from({ length: 32 }, (_, index) => ((index % 16) - 8) / 4);
  const four = await pack({ format: 'q4', n: 1, k: 32, values: q4 });
  expect([...four.data]).toEqual([0x76543210, 0xfedcba98, 0x76543210, 0xfedcba98]);
  expect([...four.scales]).toEqual([0x3400]);
  const q8 = Float32Array.from({ length: 32 }, (_, index) => (index === 31 ? -127 : index * 3 - 40) / 4);
  const eight = await pack({ format: 'q8', n: 1, k: 32, values: q8 });
  expect([...eight.levels]).toEqual([...q8].map((value) => value * 4));
  expect([...new Int8Array(Uint32Array.from(eight.data).buffer)]).toEqual([...q8].map((value) => value * 4));
  expect([...eight.scales]).toEqual([0x3400]);
});

test('q4 leaves less error than the plain symmetric scale', async () => {
  const [n, k] = [64, 256];
  const values = weights(n * k, 7);
  const { out } = await pack({ format: 'q4', n, k, values });
  let [found, plain] = [0, 0];
  for (let from = 0; from < n * k; from += quantizationGroup) {
    const members = values.subarray(from, from + quantizationGroup);
    const scale = members.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0) / 7;
    members.forEach((value, index) => {
      found += (value - out[from + index]) ** 2;
      plain += (value - scale * Math.round(value / scale)) ** 2;
    });
  }
  expect(Math.sqrt(found / plain)).toBeLessThan(0.9);
});

test('refuses what cannot be packed, naming the limit', async () => {
  const { traits } = await testDevice();
  const of = (shape: number[], dtype: 'f32' | 'f16' | 'u32' = 'u32') => ({ shape, dtype });
  expect(() => quantizedShapes('q4', [3, 40])).toThrow(/\[3, 40\].*groups of 32/);
  expect(() => quantizedShapes('q8', [32])).toThrow(/matrix/);
  expect(() => quantizedShapes('q8', [0, 32])).toThrow(/above 0/);
  const weight = { format: 'q4' as const, shape: [3, 64], data: of([3, 8]), scales: of([3, 1]) };
  const tile = of([2]);
  expect(() => quantize(traits, { source: of([3, 32], 'f32'), weight, tile })).toThrow(/source is \[3, 32\]/);
  expect(() => quantize(traits, { source: of([3, 64], 'f16'), weight, tile })).toThrow(/source is f16/);
  expect(() => quantize(traits, { source: of([3, 64], 'f32'), weight, tile: of([1]) })).toThrow(/tile is \[1\]/);
  const wrong = { ...weight, data: of([3, 16]) };
  expect(() => dequantize(traits, { weight: wrong, out: of([3, 64], 'f32') })).toThrow(
    /q4 weight \[3,64\] is \[3,16\]/,
  );
  expect(() => dequantize(traits, { weight, out: of([64, 3], 'f32') })).toThrow(/out is \[64, 3\]/);
});
