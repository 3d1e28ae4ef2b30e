import { describe, expect, test } from 'vitest';
import { softmaxForward } from '../../kernels/softmax/index.js';
import { softmaxReference } from '../../kernels/softmax/reference.js';
import { softmax } from '../../engine/ops/softmax.js';
import { spatialAttention } from '../../engine/ops/spatial-attention.js';
import {
  checkGradients,
  dtypesToTest,
  expectClose,
  pseudoRandom,
  roundToDtype,
  runKernel,
  testDevice,
} from '../support/kernel.js';

describe('softmax', () => {
  test.each([true, false])('matches the reference (software: %s)', async (software) => {
    for (const dtype of await dtypesToTest()) {
      for (const [rows, columns] of [
        [1, 1],
        [3, 5],
        [2, 129],
        [70, 64],
        [2, 1027],
      ]) {
        // Scores far apart, all above or below zero by row, so that a missing maximum overflows.
        const x = roundToDtype(
          pseudoRandom(rows * columns, 1).map((value, index) => 40 * value + (index < columns ? 500 : -500)),
          dtype,
        );
        const result = await runKernel({
          inputs: { x: { shape: [rows, columns], data: x, dtype } },
          outputs: { out: { shape: [rows, columns], dtype } },
          calls: (t, traits) => softmaxForward({ ...traits, software }, { ...t, scale: 0.5 }),
        });
        const tolerance = dtype === 'f16' ? 1e-3 : 3e-5;
        const expected = softmaxReference(x, columns, 0.5);
        expectClose(result.out, expected, { absolute: 1e-6, relative: tolerance }, `${dtype} [${rows}, ${columns}]`);
      }
    }
  });

  test('gradients', async () => {
    await checkGradients({
      inputs: { x: { shape: [3, 2, 9], data: pseudoRandom(54, 1).map((value) => 3 * value) } },
      build: (graph, t) => softmax(graph, t.x, 0.7),
      reference: ({ x }) => softmaxReference(x, 9, 0.7),
    });
  });

  test('refuses an output of another size', async () => {
    const { traits } = await testDevice();
    expect(() =>
      softmaxForward(traits, { x: { shape: [2, 3], dtype: 'f32' }, out: { shape: [3, 3], dtype: 'f32' }, scale: 1 }),
    ).toThrow(/out is \[3, 3\]/);
  });
});

describe('spatial attention', () => {
  /** softmax(q kT / sqrt(channels)) v of every frame, row by row. */
  function reference(
    { q, k, v }: Record<'q' | 'k' | 'v', Float64Array>,
    frames: number,
    tokens: number,
    channels: number,
  ): Float64Array {
    const out = new Float64Array(q.length);
    for (let frame = 0; frame < frames; frame++) {
      const base = frame * tokens * channels;
      for (let i = 0; i < tokens; i++) {
        const scores = Float64Array.from({ length: tokens }, (_, j) => {
          let dot = 0;
          for (let c = 0; c < channels; c++) dot += q[base + i * channels + c] * k[base + j * channels + c];
          return dot;
        });
        softmaxReference(scores, tokens, 1 / Math.sqrt(channels)).forEach((weight, j) => {
          for (let c = 0; c < channels; c++) out[base + i * channels + c] += weight * v[base + j * channels + c];
        });
      }
    }
    return out;
  }

  test.each([
    { frames: 1, tokens: 1, channels: 3 },
    { frames: 3, tokens: 6, channels: 5 },
  ])('output and gradients of $frames frames of $tokens tokens', async ({ frames, tokens, channels }) => {
    const shape = [frames, 1, 1, tokens, channels];
    const count = frames * tokens * channels;
    const input = (seed: number): { shape: number[]; data: Float32Array } => ({
      shape,
      data: pseudoRandom(count, seed).map((value) => 2 * value),
    });
    await checkGradients({
      inputs: { q: input(1), k: input(2), v: input(3) },
      build: (graph, t) => spatialAttention(graph, t.q, t.k, t.v, { frames, tokens, channels }),
      reference: (values) => reference(values, frames, tokens, channels),
    });
  });
});
