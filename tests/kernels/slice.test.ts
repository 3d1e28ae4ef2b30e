import { describe, expect, it } from 'vitest';
import { concatenateForward, copyWindow } from '../../kernels/slice/index.js';
import { concatenateReference, copyWindowReference } from '../../kernels/slice/reference.js';
import { concatenate, slice } from '../../engine/ops/slice.js';
import { checkGradients, dtypesToTest, expectClose, pseudoRandom, runKernel } from '../support/kernel.js';

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

  it('refuses a window that leaves its tensor', () => {
    const operand = { shape: [4], dtype: 'f32' } as const;
    const traits = { software: true, f16: false, subgroups: false, maxInvocations: 256, maxWorkgroupStorage: 16384 };
    expect(() => copyWindow(traits, { x: operand, out: operand, rows: 1, start: 2, count: 3, offset: 0 })).toThrow(
      /leave x or out/,
    );
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
