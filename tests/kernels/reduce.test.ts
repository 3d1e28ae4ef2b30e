import { expect, test } from 'vitest';
import * as kernels from '../../kernels/reduce/index.js';
import * as references from '../../kernels/reduce/reference.js';
import * as ops from '../../engine/ops/reduce.js';
import {
  checkGradients,
  dtypesToTest,
  expectClose,
  pseudoRandom,
  roundToDtype,
  runKernel,
  testDevice,
} from '../support/kernel.js';

const counts = [1, 3, 31, 257, 4096, 4097, 20_001, 300_007];
const scratchShape = (count: number): number[] => [Math.max(1, kernels.reduceScratch(count))];

test.each(['sum', 'sum-of-squares', 'max-absolute'] as const)('%s of all elements', async (reduction) => {
  for (const dtype of await dtypesToTest()) {
    for (const count of counts) {
      const x = pseudoRandom(count, 3);
      const seen = roundToDtype(x, dtype);
      const expected = {
        sum: references.sumReference(seen) / 4,
        'sum-of-squares': references.sumReference(seen, true) / 4,
        'max-absolute': references.maxAbsoluteReference(seen) / 4,
      }[reduction];
      for (const software of [true, false]) {
        const { out } = await runKernel({
          inputs: { x: { shape: [count], data: x, dtype } },
          outputs: { out: { shape: [1] }, scratch: { shape: scratchShape(count) } },
          calls: (t, traits) => kernels.reduceAll({ ...traits, software }, { ...t, reduction, scale: 0.25 }),
        });
        const tolerance = { relative: 2e-6, absolute: 1e-6 * Math.sqrt(count) };
        expectClose(out, [expected], tolerance, `${count} ${dtype} software ${software}`);
      }
    }
  }
});

test('equal calls give equal bits', async () => {
  const x = pseudoRandom(100_003, 5);
  const run = () =>
    runKernel({
      inputs: { x: { shape: [x.length], data: x } },
      outputs: { out: { shape: [1] }, scratch: { shape: scratchShape(x.length) } },
      calls: (t, traits) => kernels.reduceAll(traits, { ...t, reduction: 'sum' }),
    });
  expect((await run()).out).toEqual((await run()).out);
});

test.each([
  [1, 1],
  [3, 5],
  [63, 65],
  [129, 33],
  [5000, 7],
  [70_001, 3],
  [300, 2049],
])('column sums of [%i, %i]', async (rows, columns) => {
  for (const dtype of await dtypesToTest()) {
    const x = pseudoRandom(rows * columns, 4);
    const expected = references.columnSumsReference(roundToDtype(x, dtype), rows, columns);
    for (const software of [true, false]) {
      const { out } = await runKernel({
        inputs: { x: { shape: [rows, columns], data: x, dtype } },
        outputs: {
          out: { shape: [columns] },
          scratch: { shape: [Math.max(1, kernels.columnSumsScratch(rows, columns))] },
        },
        calls: (t, traits) => kernels.columnSums({ ...traits, software }, t),
      });
      expectClose(out, expected, { absolute: 1e-6 * Math.sqrt(rows) + 1e-6, relative: 1e-6 }, `${dtype} ${software}`);
    }
  }
});

test('refuses shapes that do not fit and missing scratch', async () => {
  const { traits } = await testDevice();
  const of = (...shape: number[]) => ({ shape, dtype: 'f32' as const });
  expect(() => kernels.columnSums(traits, { x: of(4, 3), out: of(4) })).toThrow(/no columns to sum/);
  expect(() => kernels.columnSums(traits, { x: of(5000, 3), out: of(3) })).toThrow(/scratch/);
  expect(() => kernels.reduceAll(traits, { x: of(4), out: of(2), reduction: 'sum' })).toThrow(/not one element/);
  expect(() => kernels.reduceAll(traits, { x: of(9000), out: of(1), reduction: 'sum' })).toThrow(/scratch/);
});

test('gradients of the sum', async () => {
  await checkGradients({
    inputs: { x: { shape: [3, 5], data: pseudoRandom(15, 1) } },
    build: (graph, { x }) => ops.sum(graph, x, 0.5),
    reference: ({ x }) => Float64Array.of(references.sumReference(x) / 2),
  });
});
