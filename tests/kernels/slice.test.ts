import { describe, expect, it } from 'vitest';
import { concatenateForward, copyWindow, placeColumns } from '../../kernels/slice/index.js';
import { concatenateReference, copyWindowReference, placeColumnsReference } from '../../kernels/slice/reference.js';
import { concatenate, joinColumns, slice } from '../../engine/ops/slice.js';
import { checkGradients, dtypesToTest, expectClose, pseudoRandom, roundToDtype, runKernel } from '../support/kernel.js';

describe('slice', () => {
  it.each([
    [1, 1, 1, 0, 1, 0],
    [7, 12, 1, 3, 4, 2],
    [70, 65, 5, 0, 13, 1],
    [33, 129, 3, 32, 11, 0],
  ])('copies a window of %i elements into %i in %i rows', async (size, length, rows, start, count, offset) => {
    for (const dtype of await dtypesToTest()) {
      const data = pseudoRandom(size, size).map((value) => Math.round(value * 64) / 64);
      const { out } = await runKernel({
        inputs: { x: { shape: [size], data, dtype } },
        outputs: { out: { shape: [length], dtype } },
        calls: (t, traits) => copyWindow(traits, { x: t.x, out: t.out, rows, start, count, offset }),
      });
      expectClose(
        out,
        copyWindowReference(Float64Array.from(data), length, { rows, start, count, offset }),
        {},
        `window ${dtype}`,
      );
    }
  });

  it.each([
    [1, 1],
    [5, 64],
    [63, 66],
  ])('concatenates %i and %i elements', async (n, m) => {
    const [a, b] = [pseudoRandom(n, 1), pseudoRandom(m, 2)];
    const { out } = await runKernel({
      inputs: { a: { shape: [n], data: a }, b: { shape: [m], data: b } },
      outputs: { out: { shape: [n + m] } },
      calls: (t, traits) => concatenateForward(traits, t),
    });
    expectClose(out, concatenateReference(Float64Array.from(a), Float64Array.from(b)), {}, 'concatenate');
  });

  it.each([
    [1, 1, 1, 0],
    [7, 5, 9, 4],
    [3, 67, 130, 1],
    [65, 2, 5, 2],
  ])('places %i rows of %i columns among %i, from column %i', async (rows, columns, outColumns, start) => {
    for (const dtype of await dtypesToTest()) {
      const x = roundToDtype(pseudoRandom(rows * columns, 1), dtype);
      const initial = roundToDtype(pseudoRandom(rows * outColumns, 2), dtype);
      for (const software of [true, false]) {
        const { out } = await runKernel({
          inputs: { x: { shape: [rows, columns], data: x, dtype } },
          outputs: { out: { shape: [rows, outColumns], dtype, initial } },
          calls: (t, traits) => placeColumns({ ...traits, software }, { x: t.x, out: t.out, start }),
        });
        const expected = placeColumnsReference(Float64Array.from(x), Float64Array.from(initial), {
          columns,
          outColumns,
          start,
        });
        expectClose(out, expected, {}, `columns ${dtype}`);
      }
    }
  });

  it('refuses columns that do not fit', () => {
    const traits = { software: true, f16: false, subgroups: false, maxInvocations: 256, maxWorkgroupStorage: 16384 };
    const call = (shape: number[], start: number) =>
      placeColumns(traits, { x: { shape, dtype: 'f32' }, out: { shape: [2, 5], dtype: 'f32' }, start });
    expect(() => call([2, 3], 3)).toThrow(/does not fit/);
    expect(() => call([3, 3], 0)).toThrow(/does not fit/);
  });

  it('refuses a window that leaves its tensor', () => {
    const operand = { shape: [4], dtype: 'f32' } as const;
    const traits = { software: true, f16: false, subgroups: false, maxInvocations: 256, maxWorkgroupStorage: 16384 };
    expect(() => copyWindow(traits, { x: operand, out: operand, rows: 1, start: 2, count: 3, offset: 0 })).toThrow(
      /leave x or out/,
    );
  });

  it('joins columns, with the right gradients', async () => {
    const sizes = { a: 3, b: 1, c: 4 };
    await checkGradients({
      inputs: {
        a: { shape: [5, sizes.a], data: pseudoRandom(15, 1) },
        b: { shape: [5, sizes.b], data: pseudoRandom(5, 2) },
        c: { shape: [5, sizes.c], data: pseudoRandom(20, 3) },
      },
      build: (graph, { a, b, c }) => joinColumns(graph, [a, b, c]),
      reference: ({ a, b, c }) =>
        Float64Array.from({ length: 40 }, (_, index) => {
          const [row, column] = [Math.floor(index / 8), index % 8];
          if (column < 3) return a[row * 3 + column];
          return column < 4 ? b[row] : c[row * 4 + column - 4];
        }),
    });
  });

  it('has the right gradients', async () => {
    await checkGradients({
      inputs: { a: { shape: [2, 3], data: pseudoRandom(6, 1) }, b: { shape: [3, 3], data: pseudoRandom(9, 2) } },
      build: (graph, { a, b }) => slice(graph, slice(graph, concatenate(graph, a, b), 1, 3), 1, 2, 1),
      reference: ({ a, b }) =>
        concatenateReference(a, b).filter((_, index) => index >= 3 && index < 12 && index % 3 > 0),
    });
  });
});
