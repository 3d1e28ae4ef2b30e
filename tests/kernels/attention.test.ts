import { describe, expect, it } from 'vitest';
import { attention } from '../../engine/ops/attention.js';
import type { Graph } from '../../engine/graph/index.js';
import { attentionForward, type AttentionShape } from '../../kernels/attention/index.js';
import { attentionReference } from '../../kernels/attention/reference.js';
import { checkGradients, dtypesToTest, expectClose, pseudoRandom, roundToDtype, runKernel } from '../support/kernel.js';

// batch, length, heads, key-value heads, head dimension, with dropout and in f16 too (each is another compilation)
const shapes: [number, number, number, number, number, boolean][] = [
  [1, 1, 1, 1, 4, false],
  [2, 41, 3, 1, 12, true],
  [1, 33, 4, 2, 16, false],
  [2, 37, 2, 2, 32, false],
  [1, 67, 6, 2, 64, false],
  [1, 35, 4, 4, 128, true],
];

/** Left padding in row 0, two packed documents in the others. */
function makeStart(batch: number, length: number): Uint32Array {
  const padding = Math.floor(length / 5);
  return Uint32Array.from({ length: batch * length }, (_, index) => {
    const t = index % length;
    if (index < length) return padding;
    return t < length / 2 ? 0 : Math.ceil(length / 2);
  });
}

function makeInputs(shape: AttentionShape): { q: Float32Array; k: Float32Array; v: Float32Array; start: Uint32Array } {
  const tokens = shape.batch * shape.length;
  return {
    q: pseudoRandom(tokens * shape.heads * shape.headDimension, 1).map((value) => value * 3),
    k: pseudoRandom(tokens * shape.keyValueHeads * shape.headDimension, 2).map((value) => value * 2),
    v: pseudoRandom(tokens * shape.keyValueHeads * shape.headDimension, 3),
    start: makeStart(shape.batch, shape.length),
  };
}

/** The same graph for ops that ask it for traits, with one of them changed. */
function withTraits(graph: Graph, software: boolean): Graph {
  return new Proxy(graph, {
    get: (target, property) => {
      if (property === 'traits') return { ...target.traits, software };
      const value: unknown = Reflect.get(target, property, target);
      return typeof value === 'function' ? (value as (...args: unknown[]) => unknown).bind(target) : value;
    },
  });
}

const dropoutKey = { rate: 0.3, seed: 0x12345678, step: 9, site: 3 };
const state = { shape: [2], dtype: 'u32', data: Uint32Array.of(dropoutKey.seed, dropoutKey.step) } as const;

describe.each([true, false])('attention, software files %s', (software) => {
  it.each(shapes)('matches the reference, batch %i length %i heads %i/%i of %i', async (...sizes) => {
    const [batch, length, heads, keyValueHeads, headDimension, thorough] = sizes;
    const shape = { batch, length, heads, keyValueHeads, headDimension };
    const inputs = makeInputs(shape);
    const tokens = batch * length;
    for (const dtype of thorough ? await dtypesToTest() : (['f32'] as const)) {
      const q = roundToDtype(inputs.q, dtype);
      const k = roundToDtype(inputs.k, dtype);
      const v = roundToDtype(inputs.v, dtype);
      for (const dropout of thorough && dtype === 'f32' ? [undefined, dropoutKey] : [undefined]) {
        const { out } = await runKernel({
          inputs: {
            q: { shape: [tokens, heads * headDimension], dtype, data: q },
            k: { shape: [tokens, keyValueHeads * headDimension], dtype, data: k },
            v: { shape: [tokens, keyValueHeads * headDimension], dtype, data: v },
            start: { shape: [tokens], dtype: 'u32', data: inputs.start },
            state,
          },
          outputs: {
            out: { shape: [tokens, heads * headDimension], dtype },
            logsumexp: { shape: [tokens, heads] },
          },
          calls: (t, traits) =>
            attentionForward(
              { ...traits, software },
              { ...t, shape, dropout: dropout && { ...dropout, state: t.state } },
            ),
        });
        const [q64, k64, v64] = [q, k, v].map((data) => Float64Array.from(data));
        const expected = attentionReference(q64, k64, v64, inputs.start, shape, dropout);
        const tolerance = dtype === 'f16' ? { absolute: 1e-3, relative: 1e-3 } : { absolute: 3e-6, relative: 3e-6 };
        expectClose(out, expected, tolerance, `${dtype}${dropout ? ' with dropout' : ''}`);
        const padded = Math.floor(length / 5) * heads * headDimension;
        expect(out.slice(0, padded).every((value) => value === 0)).toBe(true);
      }
    }
  });

  it.each([
    [1, 34, 2, 1, 4, true],
    [1, 9, 2, 1, 36, false],
  ])('has the gradients of the reference, batch %i length %i heads %i/%i of %i', async (...sizes) => {
    const [batch, length, heads, keyValueHeads, headDimension, withDropout] = sizes;
    const shape = { batch, length, heads, keyValueHeads, headDimension };
    const tokens = batch * length;
    const { q, k, v, start } = makeInputs(shape);
    await checkGradients({
      inputs: {
        q: { shape: [tokens, heads * headDimension], data: q },
        k: { shape: [tokens, keyValueHeads * headDimension], data: k },
        v: { shape: [tokens, keyValueHeads * headDimension], data: v },
      },
      constants: { start: { shape: [tokens], dtype: 'u32', data: start }, state },
      build: (deviceGraph, tensors, constants) => {
        const graph = withTraits(deviceGraph, software);
        const dropout = withDropout ? { ...dropoutKey, state: constants['state'] } : undefined;
        return attention(graph, tensors.q, tensors.k, tensors.v, constants['start'], { ...shape, dropout });
      },
      reference: (values) =>
        attentionReference(values.q, values.k, values.v, start, shape, withDropout ? dropoutKey : undefined),
    });
  });
});
