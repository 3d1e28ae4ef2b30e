import { describe, expect, it } from 'vitest';
import { spatialAttention } from '../../engine/ops/spatial-attention.js';
import { softmax } from '../../engine/ops/softmax.js';
import { softmaxForward } from '../../kernels/softmax/index.js';
import { softmaxReference } from '../../kernels/softmax/reference.js';
import { checkGradients, dtypesToTest, expectClose, pseudoRandom, roundToDtype, runKernel } from '../support/kernel.js';

function attentionReference(
  q: Float64Array,
  k: Float64Array,
  v: Float64Array,
  shape: { frames: number; tokens: number; channels: number },
): Float64Array {
  const { frames, tokens, channels } = shape;
  const out = new Float64Array(q.length);
  for (let frame = 0; frame < frames; frame++) {
    for (let i = 0; i < tokens; i++) {
      const scores = new Float64Array(tokens);
      for (let j = 0; j < tokens; j++) {
        for (let c = 0; c < channels; c++) {
          scores[j] += q[(frame * tokens + i) * channels + c] * k[(frame * tokens + j) * channels + c];
        }
      }
      const weights = softmaxReference(scores, tokens, 1 / Math.sqrt(channels));
      for (let j = 0; j < tokens; j++) {
        for (let c = 0; c < channels; c++) {
          out[(frame * tokens + i) * channels + c] += weights[j] * v[(frame * tokens + j) * channels + c];
        }
      }
    }
  }
  return out;
}

describe('softmax', () => {
  it.each([
    [1, 1],
    [3, 7],
    [5, 64],
    [2, 1025],
  ])('matches float64 on %i rows of %i, on both workgroup sizes', async (rows, columns) => {
    for (const dtype of await dtypesToTest()) {
      for (const software of [true, false]) {
        const data = pseudoRandom(rows * columns, columns).map((value) => value * 30);
        const { out } = await runKernel({
          inputs: { x: { shape: [rows, columns], data, dtype } },
          outputs: { out: { shape: [rows, columns], dtype } },
          calls: (t, traits) => softmaxForward({ ...traits, software }, { ...t, scale: 0.7 }),
        });
        const expected = softmaxReference(Float64Array.from(roundToDtype(data, dtype)), columns, 0.7);
        const tolerance = dtype === 'f16' ? { absolute: 1e-3, relative: 1e-3 } : { absolute: 2e-6, relative: 1e-5 };
        expectClose(out, expected, tolerance, `softmax ${dtype}`);
      }
    }
  });

  it('refuses an output of another shape', () => {
    const traits = { software: true, f16: false, subgroups: false, maxInvocations: 256, maxWorkgroupStorage: 16384 };
    const x = { shape: [2, 3], dtype: 'f32' } as const;
    expect(() => softmaxForward(traits, { x, out: { shape: [3, 2], dtype: 'f32' }, scale: 1 })).toThrow(/\[3, 2\]/);
  });

  it('has the right gradient', async () => {
    await checkGradients({
      inputs: { x: { shape: [3, 5], data: pseudoRandom(15, 3) } },
      build: (graph, { x }) => softmax(graph, x, 1.3),
      reference: ({ x }) => softmaxReference(x, 5, 1.3),
    });
  });

  it('attends over the positions of each frame, with gradients', async () => {
    const shape = { frames: 2, tokens: 3, channels: 4 };
    const input = (seed: number): { shape: readonly number[]; data: Float32Array } => ({
      shape: [2, 3, 4],
      data: pseudoRandom(24, seed),
    });
    await checkGradients({
      inputs: { q: input(1), k: input(2), v: input(3) },
      build: (graph, { q, k, v }) => spatialAttention(graph, q, k, v, shape),
      reference: ({ q, k, v }) => attentionReference(q, k, v, shape),
    });
  });
});
