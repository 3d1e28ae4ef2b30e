import { describe, expect, it } from 'vitest';
import { dropout } from '../../engine/ops/dropout.js';
import { dropoutApply } from '../../kernels/dropout/index.js';
import { dropoutMask } from '../../kernels/dropout/reference.js';
import { checkGradients, dtypesToTest, expectClose, pseudoRandom, roundToDtype, runKernel } from '../support/kernel.js';

const key = { seed: 0xdeadbeef, step: 41, site: 6 };
const state = { shape: [2], dtype: 'u32', data: Uint32Array.of(key.seed, key.step) } as const;

describe('dropout', () => {
  it.each([[1], [255], [1025]])('drops exactly the elements of the reference, %i of them', async (count) => {
    for (const dtype of await dtypesToTest()) {
      const x = roundToDtype(pseudoRandom(count, 1), dtype);
      const { out } = await runKernel({
        inputs: { x: { shape: [count], dtype, data: x }, state },
        outputs: { out: { shape: [count], dtype } },
        calls: (t, traits) => dropoutApply(traits, { ...t, rate: 0.3, site: key.site }),
      });
      const mask = dropoutMask(key, 0.3, count);
      expect([...out].map((value) => value === 0)).toEqual([...mask].map((value) => value === 0));
      const expected = x.map((value, index) => value * (mask[index] ?? 0));
      expectClose(out, expected, { relative: dtype === 'f16' ? 1e-3 : 1e-6 }, dtype);
    }
  });

  it('drops at the rate asked for, differently at every step, site and seed', () => {
    const count = 40_000;
    const base = dropoutMask(key, 0.1, count);
    expect(base.filter((value) => value === 0).length / count).toBeCloseTo(0.1, 2);
    for (const other of [{ step: 42 }, { site: 7 }, { seed: 1 }]) {
      const mask = dropoutMask({ ...key, ...other }, 0.1, count);
      const both = mask.filter((value, index) => value === 0 && base[index] === 0).length / count;
      expect(both).toBeCloseTo(0.01, 2);
    }
  });

  it('passes gradients through the same mask', async () => {
    await checkGradients({
      inputs: { x: { shape: [9, 11], data: pseudoRandom(99, 3) } },
      constants: { state },
      build: (graph, { x }, constants) => dropout(graph, x, { rate: 0.4, site: key.site, state: constants['state'] }),
      reference: ({ x }) => {
        const mask = dropoutMask(key, 0.4, 99);
        return x.map((value, index) => value * (mask[index] ?? 0));
      },
    });
  });

  it('refuses a rate of one', async () => {
    const wrong = runKernel({
      inputs: { x: { shape: [4], data: pseudoRandom(4, 1) }, state },
      outputs: { out: { shape: [4] } },
      calls: (t, traits) => dropoutApply(traits, { ...t, rate: 1, site: 0 }),
    });
    await expect(wrong).rejects.toMatchObject({
      code: 'argument',
      message: expect.stringMatching(/rate 1 is outside/) as string,
    });
  });
});
