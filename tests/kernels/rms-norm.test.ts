import { describe, expect, it } from 'vitest';
import { rmsNorm } from '../../engine/ops/rms-norm.js';
import { rmsNormAddForward, rmsNormForward } from '../../kernels/rms-norm/index.js';
import { rmsNormReference } from '../../kernels/rms-norm/reference.js';
import { checkGradients, dtypesToTest, expectClose, pseudoRandom, roundToDtype, runKernel } from '../support/kernel.js';

const epsilon = 1e-5;

describe('rms-norm', () => {
  it.each([
    [1, 1],
    [3, 7],
    [2, 64],
    [65, 33],
    [5, 257],
  ])('matches the reference at [%i, %i]', async (rows, features) => {
    for (const dtype of await dtypesToTest()) {
      for (const software of [true, false]) {
        const x = roundToDtype(pseudoRandom(rows * features, 1), dtype);
        const weight = pseudoRandom(features, 2);
        const { out } = await runKernel({
          inputs: { x: { shape: [rows, features], dtype, data: x }, weight: { shape: [features], data: weight } },
          outputs: { out: { shape: [rows, features], dtype }, inverseRms: { shape: [rows] } },
          calls: (t, traits) => rmsNormForward({ ...traits, software }, { ...t, epsilon }),
        });
        const expected = rmsNormReference(Float64Array.from(x), Float64Array.from(weight), epsilon);
        const tolerance = dtype === 'f16' ? { absolute: 1e-4, relative: 1e-3 } : { absolute: 1e-6, relative: 2e-6 };
        expectClose(out, expected, tolerance, `${dtype} software ${software}`);
      }
    }
  });

  it.each([
    [1, 1],
    [3, 7],
    [65, 33],
    [5, 257],
  ])('of a sum matches the reference at [%i, %i]', async (rows, features) => {
    const shape = [rows, features];
    for (const dtype of await dtypesToTest()) {
      for (const software of [true, false]) {
        const [x, delta] = [1, 3].map((seed) => roundToDtype(pseudoRandom(rows * features, seed), dtype));
        const weight = pseudoRandom(features, 2);
        const { sum, out } = await runKernel({
          inputs: {
            x: { shape, dtype, data: x },
            delta: { shape, dtype, data: delta },
            weight: { shape: [features], data: weight },
          },
          outputs: { sum: { shape, dtype }, out: { shape, dtype } },
          calls: (t, traits) => rmsNormAddForward({ ...traits, software }, { ...t, epsilon }),
        });
        const added = Float64Array.from(x, (value, index) => value + delta[index]);
        const expected = rmsNormReference(added, Float64Array.from(weight), epsilon);
        const tolerance = dtype === 'f16' ? { absolute: 1e-3, relative: 1e-3 } : { absolute: 1e-6, relative: 2e-6 };
        expectClose(sum, added, tolerance, `${dtype} sum, software ${software}`);
        expectClose(out, expected, tolerance, `${dtype} software ${software}`);
      }
    }
  });

  it.each([
    [1, 1],
    [3, 7],
    [66, 20],
  ])('has the gradients of the reference at [%i, %i]', async (rows, features) => {
    await checkGradients({
      inputs: {
        x: { shape: [rows, features], data: pseudoRandom(rows * features, 3) },
        weight: { shape: [features], data: pseudoRandom(features, 4) },
      },
      build: (graph, { x, weight }) => rmsNorm(graph, x, weight, epsilon),
      reference: ({ x, weight }) => rmsNormReference(x, weight, epsilon),
      // One feature leaves a gradient of the order of epsilon, far below what central differences of 1e-4 resolve.
      step: 1e-5,
    });
  });

  it('refuses a weight of another length', async () => {
    const wrong = runKernel({
      inputs: { x: { shape: [2, 4], data: pseudoRandom(8, 1) }, weight: { shape: [5], data: pseudoRandom(5, 2) } },
      outputs: { out: { shape: [2, 4] }, inverseRms: { shape: [2] } },
      calls: (t, traits) => rmsNormForward(traits, { ...t, epsilon }),
    });
    await expect(wrong).rejects.toMatchObject({
      code: 'shape',
      message: expect.stringMatching(/weight is \[5\]/) as string,
    });
  });
});
