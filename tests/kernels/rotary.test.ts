import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { rotary } from '../../engine/ops/rotary.js';
import { rotaryFrequencies, rotaryRotate, rotaryTable } from '../../kernels/rotary/index.js';
import { rotaryReference } from '../../kernels/rotary/reference.js';
import { checkGradients, dtypesToTest, expectClose, pseudoRandom, roundToDtype, runKernel } from '../support/kernel.js';

function config(headDimension: number): { headDimension: number; base: number; maxPositions: number } {
  return { headDimension, base: 1e6, maxPositions: 4096 };
}

describe('rotary', () => {
  it.each([
    [1, 1, 2],
    [7, 3, 12],
    [5, 9, 32],
    [33, 2, 128],
  ])('matches the reference with %i rows, %i heads of %i', async (rows, heads, headDimension) => {
    const table = rotaryTable(config(headDimension), 300);
    const positions = Uint32Array.from({ length: rows }, (_, row) => (row * 71 + 5) % 300);
    const shape = [rows, heads * headDimension];
    for (const dtype of await dtypesToTest()) {
      const x = roundToDtype(pseudoRandom(rows * heads * headDimension, 1), dtype);
      for (const software of [true, false]) {
        for (const direction of [1, -1] as const) {
          const { out } = await runKernel({
            inputs: {
              x: { shape, dtype, data: x },
              positions: { shape: [rows], dtype: 'u32', data: positions },
              table: { shape: [300, headDimension], data: table },
            },
            outputs: { out: { shape, dtype } },
            calls: (t, traits) => rotaryRotate({ ...traits, software }, { ...t, direction }),
          });
          const frequencies = rotaryFrequencies(config(headDimension), 300);
          const expected = rotaryReference(Float64Array.from(x), positions, frequencies, heads, direction);
          const tolerance = dtype === 'f16' ? { absolute: 1e-3, relative: 1e-3 } : { absolute: 5e-7 };
          expectClose(out, expected, tolerance, `${dtype} software ${software} direction ${direction}`);
        }
      }
    }
  });

  it('has the gradients of the reference', async () => {
    const positions = Uint32Array.of(0, 3, 17, 250);
    await checkGradients({
      inputs: { x: { shape: [4, 36], data: pseudoRandom(144, 3) } },
      constants: {
        positions: { shape: [4], dtype: 'u32', data: positions },
        table: { shape: [256, 12], data: rotaryTable(config(12), 256) },
      },
      build: (graph, { x }, constants) => rotary(graph, x, constants['positions'], constants['table']),
      reference: ({ x }) => rotaryReference(x, positions, rotaryFrequencies(config(12), 256), 3),
    });
  });

  it('is as exact at position 131,071 as at the start', () => {
    const table = rotaryTable({ headDimension: 2, base: 1e6, maxPositions: 131072 }, 131072);
    expect(table[2 * 131071]).toBeCloseTo(Math.cos(131071), 7);
    expect(table[2 * 131071 + 1]).toBeCloseTo(Math.sin(131071), 7);
  });

  it('scales linearly by dividing positions', () => {
    const plain = rotaryTable(config(16), 8);
    const halved = rotaryTable({ ...config(16), scaling: { type: 'linear', factor: 2 } }, 16);
    expectClose(halved.slice(6 * 16, 7 * 16), plain.slice(3 * 16, 4 * 16), { absolute: 1e-7 }, 'position 6 of 2x');
  });

  it('scales dynamically as recorded, only beyond the trained length, and forgets', () => {
    const file = readFileSync(new URL('../golden/lm/rope_scaling.safetensors', import.meta.url));
    const headerLength = Number(file.readBigUInt64LE(0));
    const header = JSON.parse(file.toString('utf8', 8, 8 + headerLength)) as Record<string, { data_offsets: number[] }>;
    const [begin = 0, end = 0] = header['dynamic.inv_freq']?.data_offsets ?? [];
    const bytes = file.subarray(8 + headerLength + begin, 8 + headerLength + end);
    const recorded = new Float32Array(Uint8Array.from(bytes).buffer);
    const dynamic = {
      headDimension: 32,
      base: 1e6,
      maxPositions: 24,
      scaling: { type: 'dynamic', factor: 2 },
    } as const;
    expectClose(rotaryFrequencies(dynamic, 40), recorded, { relative: 2e-6 }, 'frequencies at length 40');
    const plain = rotaryFrequencies({ ...dynamic, scaling: undefined }, 24);
    expect(rotaryFrequencies(dynamic, 24)).toEqual(plain);
  });

  it('refuses odd head dimensions and factors below one', () => {
    expect(() => rotaryTable({ ...config(7) }, 4)).toThrow(/head dimension 7/);
    expect(() => rotaryTable({ ...config(8), scaling: { type: 'linear', factor: 0 } }, 4)).toThrow(/factor 0/);
  });
});
