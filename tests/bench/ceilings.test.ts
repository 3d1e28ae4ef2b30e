import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bestCeilings, boundSeconds, CeilingProbe, measureDispatchCost } from '../../bench/ceilings.js';
import { copyStream, multiplyAdd, readStream, readSums, streamUnit } from '../../bench/kernels/index.js';
import { timing } from '../../bench/measure.js';
import { pseudoRandom, runKernel, testDevice } from '../support/kernel.js';

const forms = [
  { workgroupSize: 8, vectors: 64 },
  { workgroupSize: 256, vectors: 2 },
];

describe('kernels of the ceilings', () => {
  it.each(forms)('copy every element, $workgroupSize lanes of $vectors vectors', async (form) => {
    const data = pseudoRandom(2 * streamUnit, 5);
    const { destination } = await runKernel({
      inputs: { source: { shape: [2 * streamUnit], data } },
      outputs: { destination: { shape: [2 * streamUnit] } },
      calls: ({ source, destination: out }) => copyStream(form, { source, destination: out }),
    });
    expect(destination).toEqual(data);
  });

  it.each(forms)('read every element once, $workgroupSize lanes of $vectors vectors', async (form) => {
    const data = Float32Array.from({ length: streamUnit }, (_, index) => index % 7);
    const { sums } = await runKernel({
      inputs: { source: { shape: [streamUnit], data } },
      outputs: { sums: { shape: [readSums(form, streamUnit)] } },
      calls: ({ source, sums: out }) => readStream(form, { source, sums: out }),
    });
    const total = (values: Float32Array): number => values.reduce((sum, value) => sum + value, 0);
    expect(total(sums)).toBe(total(data));
  });

  it('multiply and add as often as they say', async () => {
    const { values } = await runKernel({
      inputs: {},
      outputs: { values: { shape: [64], initial: new Float32Array(64) } },
      calls: ({ values: out }) => multiplyAdd(32, { values: out, iterations: 4, dtype: 'f32' }),
    });
    // Eight chains from 0 to 7, each drawn a quarter of the way to 1 four times.
    const chains = [0, 1, 2, 3, 4, 5, 6, 7].map((start) => 1 + (start - 1) * 0.75 ** 4);
    const expected = chains.reduce((sum, chain) => sum + chain, 0);
    for (const value of values) expect(value).toBeCloseTo(expected, 4);
  });

  it('refuse buffers that do not fill whole workgroups', () => {
    const source = { shape: [streamUnit + 4], dtype: 'f32' } as const;
    expect(() => copyStream(forms[0], { source, destination: source })).toThrow(/multiple of/);
  });
});

describe('ceilings', () => {
  let probe: CeilingProbe;
  beforeAll(async () => {
    probe = await CeilingProbe.create(await testDevice(), { seconds: 1e-4, streamBytes: 4 * streamUnit });
  });
  afterAll(() => probe.destroy());

  it('are finite and above 0, f16 where the adapter has it', async () => {
    const { traits } = await testDevice();
    const sample = await probe.sample();
    for (const figure of [sample.copy, sample.read, sample.multiplyAdd]) {
      expect(figure).toBeGreaterThan(0);
      expect(figure).toBeLessThan(1e16);
    }
    expect(sample.multiplyAddF16 > 0).toBe(traits.f16);
    expect(probe.samples).toEqual([sample]);
  });

  it('include what a dispatch costs', async () => {
    const cost = await measureDispatchCost(await testDevice(), 1, 8);
    for (const seconds of [cost.inOneSubmit, cost.submittedAlone, cost.waitedFor]) {
      expect(seconds).toBeGreaterThan(0);
      expect(seconds).toBeLessThan(60);
    }
  });
});

describe('roofline', () => {
  const ceilings = { copy: 10, read: 20, multiplyAdd: 100, multiplyAddF16: 0 };

  it('asks for the longer of moving and computing', () => {
    expect(boundSeconds(ceilings, { bytes: 40, flops: 100 })).toBe(2);
    expect(boundSeconds(ceilings, { bytes: 40, flops: 300 })).toBe(3);
  });

  it('takes the best of several samples, figure by figure', () => {
    const other = { copy: 12, read: 2, multiplyAdd: 101, multiplyAddF16: 7 };
    expect(bestCeilings([ceilings, other])).toEqual({ copy: 12, read: 20, multiplyAdd: 101, multiplyAddF16: 7 });
  });

  it('keeps best and median of times', () => {
    expect(timing([5, 1, 3])).toEqual({ best: 1, median: 3 });
  });
});
