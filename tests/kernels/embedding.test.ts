import { describe, expect, it } from 'vitest';
import { embedding } from '../../engine/ops/embedding.js';
import { embeddingGather, embeddingGatherQuantized, embeddingGradient } from '../../kernels/embedding/index.js';
import { embeddingGradientReference, embeddingReference } from '../../kernels/embedding/reference.js';
import { quantizedShapes } from '../../kernels/quantize/index.js';
import { dequantizeReference } from '../../kernels/quantize/reference.js';
import { checkGradients, dtypesToTest, expectClose, pseudoRandom, roundToDtype, runKernel } from '../support/kernel.js';

function makeIds(rows: number, vocabulary: number): Uint32Array {
  return Uint32Array.from(pseudoRandom(rows, 7), (value) => Math.floor(((value + 1) / 2) * 0.999 * vocabulary));
}

describe('embedding', () => {
  it.each([
    [1, 1, 1],
    [9, 5, 3],
    [70, 31, 65],
    [130, 300, 12],
  ])('matches the reference with %i rows of %i ids and %i features', async (rows, vocabulary, features) => {
    const ids = makeIds(rows, vocabulary);
    for (const dtype of await dtypesToTest()) {
      const table = roundToDtype(pseudoRandom(vocabulary * features, 1), dtype);
      for (const software of [true, false]) {
        const { out } = await runKernel({
          inputs: {
            ids: { shape: [rows], dtype: 'u32', data: ids },
            table: { shape: [vocabulary, features], dtype, data: table },
          },
          outputs: { out: { shape: [rows, features] } },
          calls: (t, traits) => embeddingGather({ ...traits, software }, t),
        });
        expectClose(out, embeddingReference(ids, Float64Array.from(table), features), {}, `${dtype} gather`);
      }
    }
    const outGradient = pseudoRandom(rows * features, 2);
    for (const paddingId of [undefined, ids[0]]) {
      for (const software of [true, false]) {
        const { tableGradient } = await runKernel({
          inputs: {
            ids: { shape: [rows], dtype: 'u32', data: ids },
            outGradient: { shape: [rows, features], data: outGradient },
          },
          outputs: {
            // Loud scratch: entries of ids that do not occur are never written.
            head: { shape: [vocabulary], dtype: 'u32', initial: new Uint32Array(vocabulary).fill(rows - 1) },
            next: { shape: [rows], dtype: 'u32' },
            tableGradient: { shape: [vocabulary, features] },
          },
          calls: (t, traits) => embeddingGradient({ ...traits, software }, { ...t, paddingId }),
        });
        const expected = embeddingGradientReference(
          ids,
          Float64Array.from(outGradient),
          vocabulary,
          features,
          paddingId,
        );
        expectClose(tableGradient, expected, { absolute: 1e-6, relative: 1e-5 }, 'table gradient');
        const padding = (paddingId ?? vocabulary) * features;
        expect([...tableGradient.slice(padding, padding + features)].every((value) => value === 0)).toBe(true);
      }
    }
  });

  it.each([
    ['q4', 1, 1, 32, 0],
    ['q4', 9, 5, 96, 3],
    ['q8', 9, 5, 160, 2],
    ['q4', 70, 31, 1056, 11],
    ['q8', 130, 40, 64, 9],
  ] as const)(
    'looks up in %s rows: %i ids of %i rows of %i features, from id %i',
    async (format, rows, n, k, first) => {
      const shapes = quantizedShapes(format, [n, k]);
      const words = (count: number, seed: number): Uint32Array =>
        Uint32Array.from(pseudoRandom(count, seed), (value) => Math.floor((value + 1) * 0x7fffffff));
      const data = words(shapes.data[0] * shapes.data[1], n + k);
      // Halves between 2^-8 and 2^-4, of either sign.
      const scales = words(shapes.scales[0] * shapes.scales[1], k).map((word) => (word & 0x8fff8fff) | 0x20002000);
      // Some ids lie before and some behind these rows of the table.
      const ids = makeIds(rows, first + n + 4);
      const table = dequantizeReference(data, scales, { n, k, format });
      const initial = pseudoRandom(rows * k, 5);
      for (const software of [true, false]) {
        for (const clear of [true, false]) {
          const { out } = await runKernel({
            inputs: {
              ids: { shape: [rows], dtype: 'u32', data: ids },
              data: { shape: shapes.data, dtype: 'u32', data },
              scales: { shape: shapes.scales, dtype: 'u32', data: scales },
            },
            outputs: { out: { shape: [rows, k], initial } },
            calls: (t, traits) =>
              embeddingGatherQuantized(
                { ...traits, software },
                {
                  ids: t.ids,
                  table: { format, shape: [n, k], data: t.data, scales: t.scales },
                  out: t.out,
                  first,
                  clear,
                },
              ),
          });
          const expected = Float64Array.from({ length: rows * k }, (_, index) => {
            const id = ids[Math.floor(index / k)] - first;
            if (id >= 0 && id < n) return table[id * k + (index % k)];
            return clear ? 0 : initial[index];
          });
          expectClose(out, expected, {}, `${format} gather`);
        }
      }
    },
  );

  it('gives zeros for an id outside the table', async () => {
    const { out } = await runKernel({
      inputs: {
        ids: { shape: [2], dtype: 'u32', data: Uint32Array.of(3, 1) },
        table: { shape: [3, 2], data: Float32Array.of(1, 2, 3, 4, 5, 6) },
      },
      outputs: { out: { shape: [2, 2] } },
      calls: (t, traits) => embeddingGather(traits, t),
    });
    expect([...out]).toEqual([0, 0, 3, 4]);
  });

  it('has the gradients of the reference', async () => {
    const ids = makeIds(20, 6);
    await checkGradients({
      inputs: { table: { shape: [6, 5], data: pseudoRandom(30, 3) } },
      constants: { ids: { shape: [20], dtype: 'u32', data: ids } },
      build: (graph, { table }, constants) => embedding(graph, constants['ids'], table),
      reference: ({ table }) => embeddingReference(ids, table, 5),
    });
  });

  it('refuses a table that is not two-dimensional', async () => {
    const wrong = runKernel({
      inputs: {
        ids: { shape: [1], dtype: 'u32', data: Uint32Array.of(0) },
        table: { shape: [4], data: pseudoRandom(4, 1) },
      },
      outputs: { out: { shape: [1, 4] } },
      calls: (t, traits) => embeddingGather(traits, t),
    });
    await expect(wrong).rejects.toMatchObject({
      code: 'shape',
      message: expect.stringMatching(/vocabulary, features/) as string,
    });
  });
});
