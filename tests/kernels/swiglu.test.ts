import { describe, expect, it } from 'vitest';
import { swiglu } from '../../engine/ops/swiglu.js';
import { swigluForward, swigluJoined } from '../../kernels/swiglu/index.js';
import { swigluReference } from '../../kernels/swiglu/reference.js';
import { checkGradients, dtypesToTest, expectClose, pseudoRandom, roundToDtype, runKernel } from '../support/kernel.js';

describe('swiglu', () => {
  it.each([[1], [63], [257], [1030]])('matches the reference on %i elements', async (count) => {
    for (const dtype of await dtypesToTest()) {
      const gate = roundToDtype(
        pseudoRandom(count, 1).map((value) => value * 6),
        dtype,
      );
      const up = roundToDtype(pseudoRandom(count, 2), dtype);
      const { out } = await runKernel({
        inputs: { gate: { shape: [count], dtype, data: gate }, up: { shape: [count], dtype, data: up } },
        outputs: { out: { shape: [count], dtype } },
        calls: (t, traits) => swigluForward(traits, t),
      });
      const expected = swigluReference(Float64Array.from(gate), Float64Array.from(up));
      const tolerance = dtype === 'f16' ? { absolute: 1e-3, relative: 1e-3 } : { absolute: 2e-6, relative: 4e-6 };
      expectClose(out, expected, tolerance, dtype);
    }
  });

  it.each([
    [1, 1],
    [3, 7],
    [5, 257],
  ])('reads halves side by side, %i rows of %i', async (rows, features) => {
    for (const dtype of await dtypesToTest()) {
      const halves = roundToDtype(
        pseudoRandom(2 * rows * features, 5).map((value) => value * 6),
        dtype,
      );
      const { out } = await runKernel({
        inputs: { halves: { shape: [rows, 2 * features], dtype, data: halves } },
        outputs: { out: { shape: [rows, features], dtype } },
        calls: (t, traits) => swigluJoined(traits, t),
      });
      const half = (second: number): Float64Array =>
        Float64Array.from({ length: rows * features }, (_, index) => {
          const row = Math.floor(index / features);
          return halves[(2 * row + second) * features + (index % features)];
        });
      const tolerance = dtype === 'f16' ? { absolute: 2e-2, relative: 1e-3 } : { absolute: 1e-5, relative: 4e-6 };
      expectClose(out, swigluReference(half(0), half(1)), tolerance, dtype);
    }
  });

  it('stays finite far out', async () => {
    const gate = Float32Array.of(-1e30, -1000, -90, 90, 1000, 1e30);
    const { out } = await runKernel({
      inputs: { gate: { shape: [6], data: gate }, up: { shape: [6], data: new Float32Array(6).fill(1) } },
      outputs: { out: { shape: [6] } },
      calls: (t, traits) => swigluForward(traits, t),
    });
    expectClose(out.slice(1), [0, 0, 90, 1000, 1e30], { absolute: 1e-6, relative: 1e-6 }, 'out');
    expect(Number.isFinite(out[0])).toBe(true);
  });

  it('has the gradients of the reference', async () => {
    const shape = [5, 13];
    await checkGradients({
      inputs: {
        gate: { shape, data: pseudoRandom(65, 3).map((value) => value * 4) },
        up: { shape, data: pseudoRandom(65, 4) },
      },
      build: (graph, { gate, up }) => swiglu(graph, gate, up),
      reference: ({ gate, up }) => swigluReference(gate, up),
    });
  });

  it('refuses halves of different shapes', async () => {
    const wrong = runKernel({
      inputs: { gate: { shape: [4], data: pseudoRandom(4, 1) }, up: { shape: [5], data: pseudoRandom(5, 2) } },
      outputs: { out: { shape: [4] } },
      calls: (t, traits) => swigluForward(traits, t),
    });
    await expect(wrong).rejects.toMatchObject({
      code: 'shape',
      message: expect.stringMatching(/up is \[5\]/) as string,
    });
  });
});
