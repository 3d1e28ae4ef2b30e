import { describe, expect, it } from 'vitest';
import { advanceCounters } from '../../kernels/advance/index.js';
import { advanceReference } from '../../kernels/advance/reference.js';
import { runKernelTyped } from '../support/kernel.js';

describe('advance', () => {
  it.each([1, 2, 7, 8, 9, 65, 130])('adds one to %i counters, past 2^32 too', async (count) => {
    const initial = Uint32Array.from({ length: count }, (_, index) => (index % 3 === 2 ? 0xffffffff : index * 77));
    for (const software of [true, false]) {
      const { counters } = await runKernelTyped({
        inputs: {},
        outputs: { counters: { shape: [count], dtype: 'u32', initial } },
        calls: (tensors, traits) => advanceCounters({ ...traits, software }, tensors),
      });
      expect(counters).toEqual(advanceReference(initial));
    }
  });
});
