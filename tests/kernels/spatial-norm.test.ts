import { describe, expect, test } from 'vitest';
import { spatialNormForward } from '../../kernels/spatial-norm/index.js';
import { spatialNormReference } from '../../kernels/spatial-norm/reference.js';
import { spatialNorm } from '../../engine/ops/spatial-norm.js';
import {
  checkGradients,
  dtypesToTest,
  expectClose,
  pseudoRandom,
  roundToDtype,
  runKernel,
  testDevice,
} from '../support/kernel.js';

const sizes: [number[], number[]][] = [
  [
    [1, 1, 1, 1, 1],
    [1, 1, 1, 1, 1],
  ],
  [
    [2, 3, 4, 6, 5],
    [2, 3, 4, 6, 5],
  ],
  [
    [2, 1, 32, 40, 9],
    [2, 1, 4, 5, 9],
  ],
  [
    [1, 2, 7, 9, 33],
    [1, 2, 3, 4, 33],
  ],
  [
    [1, 1, 2, 3, 4],
    [1, 1, 4, 5, 4],
  ],
];

function count(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

describe('spatial-norm', () => {
  test.each([true, false])('matches the reference (software: %s)', async (software) => {
    for (const dtype of await dtypesToTest()) {
      for (const [large, small] of sizes) {
        for (const silu of [false, true]) {
          const normal = roundToDtype(pseudoRandom(count(large), 1), dtype);
          const scale = roundToDtype(pseudoRandom(count(small), 2), dtype);
          const shift = roundToDtype(pseudoRandom(count(small), 3), dtype);
          const result = await runKernel({
            inputs: {
              normal: { shape: large, data: normal, dtype },
              scale: { shape: small, data: scale, dtype },
              shift: { shape: small, data: shift, dtype },
            },
            outputs: { out: { shape: large, dtype } },
            calls: (t, traits) => spatialNormForward({ ...traits, software }, { ...t, silu }),
          });
          const expected = spatialNormReference(normal, scale, shift, large, small, silu);
          const tolerance = dtype === 'f16' ? 1e-3 : 2e-6;
          expectClose(
            result.out,
            expected,
            { absolute: tolerance, relative: tolerance },
            `${dtype} [${large}] [${small}]`,
          );
        }
      }
    }
  });

  test.each([
    { large: [2, 1, 4, 6, 3], small: [2, 1, 2, 3, 3], silu: false },
    { large: [1, 2, 5, 4, 9], small: [1, 2, 2, 3, 9], silu: true },
    { large: [1, 1, 2, 3, 2], small: [1, 1, 3, 5, 2], silu: true },
  ])('gradients of $large conditioned on $small (SiLU: $silu)', async ({ large, small, silu }) => {
    await checkGradients({
      inputs: {
        normal: { shape: large, data: pseudoRandom(count(large), 1) },
        scale: { shape: small, data: pseudoRandom(count(small), 2) },
        shift: { shape: small, data: pseudoRandom(count(small), 3) },
      },
      build: (graph, t) => spatialNorm(graph, t.normal, t.scale, t.shift, { silu }),
      reference: ({ normal, scale, shift }) => spatialNormReference(normal, scale, shift, large, small, silu),
    });
  });

  test('refuses conditions of other frames or channels', async () => {
    const { traits } = await testDevice();
    const clip = (...shape: number[]): { shape: number[]; dtype: 'f32' } => ({ shape, dtype: 'f32' });
    const call = (scale: number[], shift: number[]) => () =>
      spatialNormForward(traits, {
        normal: clip(1, 2, 4, 4, 8),
        scale: clip(...scale),
        shift: clip(...shift),
        out: clip(1, 2, 4, 4, 8),
        silu: false,
      });
    expect(call([1, 2, 2, 2, 8], [1, 2, 2, 2, 8])).not.toThrow();
    expect(call([1, 1, 2, 2, 8], [1, 1, 2, 2, 8])).toThrow(/do not condition/);
    expect(call([1, 2, 2, 2, 8], [1, 2, 2, 1, 8])).toThrow(/do not condition/);
  });
});
