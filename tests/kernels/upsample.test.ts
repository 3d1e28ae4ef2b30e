import { describe, expect, test } from 'vitest';
import { upsampleBackward, upsampleForward } from '../../kernels/upsample/index.js';
import { upsampleReference } from '../../kernels/upsample/reference.js';
import { resizeNearest, upsampleSpace, upsampleTime } from '../../engine/ops/upsample.js';
import {
  checkGradients,
  dtypesToTest,
  expectClose,
  pseudoRandom,
  roundToDtype,
  runKernel,
  testDevice,
} from '../support/kernel.js';

const resizes: [number[], number[]][] = [
  [
    [1, 1, 1, 1, 1],
    [1, 1, 1, 1, 1],
  ],
  [
    [2, 1, 3, 5, 9],
    [2, 1, 6, 10, 9],
  ],
  [
    [2, 3, 2, 3, 33],
    [2, 6, 2, 3, 33],
  ],
  [
    [1, 2, 3, 4, 4],
    [1, 3, 7, 9, 4],
  ],
  [
    [1, 4, 8, 6, 3],
    [1, 2, 3, 4, 3],
  ],
  [
    [1, 1, 4, 5, 4],
    [1, 1, 32, 40, 4],
  ],
];

function count(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

describe('upsample', () => {
  test.each([true, false])('matches the reference forward and backward (software: %s)', async (software) => {
    for (const dtype of await dtypesToTest()) {
      for (const [input, output] of resizes) {
        const data = roundToDtype(pseudoRandom(count(input), 1), dtype);
        const gradient = pseudoRandom(count(output), 2);
        const result = await runKernel({
          inputs: { x: { shape: input, data, dtype }, outGradient: { shape: output, data: gradient } },
          outputs: { out: { shape: output, dtype }, xGradient: { shape: input } },
          calls: (t, traits) => [
            upsampleForward({ ...traits, software }, t),
            upsampleBackward({ ...traits, software }, t),
          ],
        });
        const label = `${dtype} [${input}] to [${output}]`;
        expectClose(result.out, upsampleReference(data, input, output), {}, label);
        // The resize of the element numbers says where every copy came from.
        const sources = upsampleReference(
          Float64Array.from({ length: count(input) }, (_, i) => i),
          input,
          output,
        );
        const expected = new Float64Array(count(input));
        sources.forEach((source, index) => (expected[source] += gradient[index]));
        expectClose(result.xGradient, expected, { absolute: 1e-5, relative: 1e-6 }, `gradient ${label}`);
      }
    }
  });

  test('gradients of the ops', async () => {
    const shape = [1, 2, 3, 2, 5];
    const x = { shape, data: pseudoRandom(count(shape), 3) };
    await checkGradients({
      inputs: { x },
      build: (graph, t) => upsampleSpace(graph, upsampleTime(graph, t.x)),
      reference: ({ x }) => upsampleReference(x, shape, [1, 4, 6, 4, 5]),
    });
    await checkGradients({
      inputs: { x },
      build: (graph, t) => resizeNearest(graph, t.x, [1, 5, 4]),
      reference: ({ x }) => upsampleReference(x, shape, [1, 1, 5, 4, 5]),
    });
  });

  test('refuses another batch or channel count', async () => {
    const { traits } = await testDevice();
    const clip = (...shape: number[]): { shape: number[]; dtype: 'f32' } => ({ shape, dtype: 'f32' });
    expect(() => upsampleForward(traits, { x: clip(1, 1, 2, 2, 4), out: clip(2, 1, 4, 4, 4) })).toThrow(/resized/);
    expect(() => upsampleForward(traits, { x: clip(1, 1, 2, 2, 4), out: clip(1, 1, 4, 4, 5) })).toThrow(/resized/);
    expect(() => upsampleForward(traits, { x: clip(1, 2, 2, 4), out: clip(1, 1, 4, 4, 4) })).toThrow(/batch, time/);
  });
});
