import { describe, expect, it } from 'vitest';
import { copyWindow, place } from '../../kernels/slice/index.js';
import { copyWindowReference, placeReference } from '../../kernels/slice/reference.js';
import { concatenate, slice } from '../../engine/ops/slice.js';
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
          calls: (t, traits) => place({ ...traits, software }, { x: t.x, out: t.out, axis: 1, start }),
        });
        const expected = placeReference(Float64Array.from(x), Float64Array.from(initial), {
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
    const call = (shape: number[], start: number, axis = 1) =>
      place(traits, { x: { shape, dtype: 'f32' }, out: { shape: [2, 5], dtype: 'f32' }, axis, start });
    expect(() => call([2, 3], 3)).toThrow(/does not fit/);
    expect(() => call([3, 3], 0)).toThrow(/does not fit/);
    expect(() => call([3, 5], 0, 0)).toThrow(/does not fit/);
    expect(() => call([5], 0)).toThrow(/does not fit/);
  });

  it('refuses a window that leaves its tensor', () => {
    const operand = { shape: [4], dtype: 'f32' } as const;
    const traits = { software: true, f16: false, subgroups: false, maxInvocations: 256, maxWorkgroupStorage: 16384 };
    expect(() => copyWindow(traits, { x: operand, out: operand, rows: 1, start: 2, count: 3, offset: 0 })).toThrow(
      /leave x or out/,
    );
  });

  it.each([0, 1, 2])('concatenates along axis %i, with the right gradients', async (axis) => {
    const shapeOf = (size: number): number[] => [3, 2, 4].map((own, at) => (at === axis ? size : own));
    const count = (size: number): number => shapeOf(size).reduce((product, own) => product * own, 1);
    const sizes = [3, 1, 5];
    const [a, b, c] = sizes.map((size, seed) => ({ shape: shapeOf(size), data: pseudoRandom(count(size), seed + 1) }));
    await checkGradients({
      inputs: { a, b, c },
      build: (graph, inputs) => concatenate(graph, [inputs.a, inputs.b, inputs.c], axis),
      reference: (inputs) => {
        // Rows of the axes before, each with what the three have of it.
        const rows = [1, 3, 6][axis];
        const parts = [inputs.a, inputs.b, inputs.c];
        const rowOf = (part: Float64Array, row: number): number[] => {
          const length = part.length / rows;
          return [...part.subarray(row * length, (row + 1) * length)];
        };
        return Float64Array.from(
          Array.from({ length: rows }, (_, row) => parts.flatMap((part) => rowOf(part, row))).flat(),
        );
      },
    });
  });

  it('has the right gradients', async () => {
    await checkGradients({
      inputs: { a: { shape: [2, 3], data: pseudoRandom(6, 1) }, b: { shape: [3, 3], data: pseudoRandom(9, 2) } },
      build: (graph, { a, b }) => slice(graph, slice(graph, concatenate(graph, [a, b]), 1, 3), 1, 2, 1),
      reference: ({ a, b }) =>
        Float64Array.from([...a, ...b]).filter((_, index) => index >= 3 && index < 12 && index % 3 > 0),
    });
  });
});
