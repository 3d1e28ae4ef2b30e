import { check, resolveConfig } from 'prettier';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { kernelCases, type KernelCase } from '../../bench/cases/index.js';
import { CeilingProbe } from '../../bench/ceilings.js';
import { streamUnit } from '../../bench/kernels/index.js';
import { Stopwatch } from '../../bench/measure.js';
import { markdownReport } from '../../bench/report/markdown.js';
import { plotRoofline } from '../../bench/report/plot.js';
import type { Header, KernelFigure, Results } from '../../bench/results.js';
import { runKernels, type Yardstick } from '../../bench/run-kernels.js';
import { runWorkload, type Workload } from '../../bench/run-workloads.js';
import { Workbench } from '../../bench/workbench.js';
import { requestAdapterNode } from '../../engine/adapter/request.node.js';
import { Device } from '../../engine/device.js';
import { add } from '../../engine/ops/elementwise.js';
import { linear } from '../../engine/ops/matmul.js';
import { testDevice } from '../support/gpu.js';

const options = { rounds: 2, seconds: 1e-4 };
const dispatch = { inOneSubmit: 1e-9, submittedAlone: 1e-9, waitedFor: 1e-9 };
let yardstick: Yardstick;

beforeAll(async () => {
  const device = await testDevice();
  const probe = await CeilingProbe.create(device, { seconds: 1e-4, streamBytes: 4 * streamUnit });
  yardstick = { device, probe, dispatch };
});
afterAll(() => yardstick.probe.destroy());

const addition: KernelCase = {
  op: 'add',
  sizes: '3 x 5',
  build: (bench) => [add(bench.graph, bench.values([3, 5]), bench.values([3, 5]))],
};
const product: KernelCase = {
  op: 'matmul with gradients',
  sizes: '32 x 32 x 32',
  build: (bench) => {
    const [x, weight] = [bench.values([32, 32]), bench.values([32, 32])];
    const out = linear(bench.graph, x, weight);
    return [out, ...bench.gradients(out, [x, weight])];
  },
};

/** A case whose tensors no binding of this device holds. */
function oversized(): KernelCase {
  const elements = yardstick.device.gpu.limits.maxStorageBufferBindingSize / 4 + 4;
  return { op: 'add', sizes: 'too large', build: (bench) => [bench.values([elements])] };
}

async function additionWorkload(): Promise<Workload> {
  const { device } = yardstick;
  const bench = new Workbench(device);
  const program = await bench.compile('two sums', addition.build(bench));
  return {
    section: 'vision',
    name: 'sums',
    products: [{ unit: 'sums', count: 6 }],
    programs: [{ program, runs: 3 }],
    run: async () => {
      for (let index = 0; index < 3; index++) program.run();
      await device.finish();
    },
    destroy: async () => {
      program.destroy();
      bench.destroy();
    },
  };
}

describe('kernels', () => {
  it('come with the work their calls declare and a share of the roofline', async () => {
    const { kernels, skipped } = await runKernels(yardstick, [addition, product], options);
    expect(skipped).toEqual([]);
    const [sum, ...products] = kernels;
    expect(sum).toMatchObject({ op: 'add', sizes: '3 x 5', kernel: 'add', dispatches: 1, bytes: 180, flops: 15 });
    expect(products.reduce((flops, kernel) => flops + kernel.flops, 0)).toBe(3 * 2 * 32 ** 3);
    for (const { time, bound } of kernels) {
      expect(time.best).toBeGreaterThan(0);
      expect(time.median).toBeGreaterThanOrEqual(time.best);
      expect(bound).toBeGreaterThan(0);
      expect(Number.isFinite(bound)).toBe(true);
    }
  });

  it('that the adapter cannot hold are named, and the rest is measured', async () => {
    const { kernels, skipped } = await runKernels(yardstick, [oversized(), addition], options);
    expect(kernels.map(({ op }) => op)).toEqual(['add']);
    expect(skipped).toHaveLength(1);
    expect(skipped[0]).toMatchObject({ what: 'add: too large' });
    expect(skipped[0].why).toMatch(/binding limit/);
  });

  it('leave no buffer behind', async () => {
    const before = yardstick.device.allocatedBytes;
    await runKernels(yardstick, [product, oversized()], { ...options, rounds: 1 });
    expect(yardstick.device.allocatedBytes).toBe(before);
  });

  it('have names of their own, on software adapters and GPUs', () => {
    const sizes = { hidden: 192, intermediate: 512, heads: 6, keyValueHeads: 2, headDimension: 32 };
    const nano = {
      sizes: { name: 'nano', ...sizes, vocabulary: 2688, visionIds: 2048 },
      batch: 8,
      length: 200,
      parameters: 1000,
      codes: 2048,
    };
    for (const software of [true, false]) {
      const cases = kernelCases({ ...yardstick.device.traits, software, f16: true }, nano);
      const names = cases.map(({ op, sizes: text }) => `${op}: ${text}`);
      expect(names.filter((name, index) => names.indexOf(name) !== index)).toEqual([]);
    }
  });
});

describe('workloads', () => {
  it('give rates, dispatches and the kernels of all their runs', async () => {
    const workload = await additionWorkload();
    const figure = await runWorkload(yardstick, workload, options);
    await workload.destroy();
    expect(figure.products[0].perSecond).toBeCloseTo(6 / figure.time.best, 6);
    expect(figure.programs).toEqual([{ name: 'two sums', runs: 3, dispatches: 1 }]);
    expect(figure.created).toEqual({ buffers: 0, bindGroups: 0 });
    expect(figure.kernels).toHaveLength(1);
    expect(figure.kernels[0]).toMatchObject({ kernel: 'add', dispatches: 3, bytes: 540, flops: 45 });
    expect(figure.bound).toBe(figure.kernels[0].bound);
  });
});

describe('stopwatch', () => {
  it('measures by waiting where the device has no timestamps', async () => {
    const device = await Device.create(await requestAdapterNode(), { tier: 'default' });
    const bench = new Workbench(device);
    const program = await bench.compile('sum', addition.build(bench));
    const stopwatch = new Stopwatch(device);
    expect(device.gpu.features.has('timestamp-query')).toBe(false);
    const repeats = await stopwatch.repeatsFor(program, 1e-6, 3);
    expect(repeats).toBeGreaterThanOrEqual(1);
    expect(repeats).toBeLessThanOrEqual(3);
    const seconds = await stopwatch.secondsPerRun(program, 2);
    expect(seconds).toBeGreaterThan(0);
    expect(seconds).toBeLessThan(60);
    device.destroy();
  });
});

describe('report', () => {
  const header: Header = {
    date: '2026-01-02T03:04:05.000Z',
    commit: 'abc1234',
    adapter: 'Some GPU (driver 1)',
    kind: 'gpu',
    driver: 'maker, family, 1.2',
    features: 'shader-f16',
    node: 'v20.19.0',
    processor: 'Some CPU',
    cores: 2,
    loadAtStart: 0,
    rounds: 7,
  };
  const figure = (op: string, seconds: number): KernelFigure => ({
    op,
    sizes: '4 x 4',
    kernel: `${op} | fast`,
    dispatches: 2,
    time: { best: seconds, median: 2 * seconds },
    bytes: 1e6,
    flops: 1e7,
    bound: seconds / 2,
    limit: 'memory',
  });
  const results: Results = {
    header,
    roofline: {
      ceilings: { copy: 1e10, read: 2e10, multiplyAdd: 5e10, multiplyAddF16: 0 },
      median: { copy: 9e9, read: 1e10, multiplyAdd: 4e10, multiplyAddF16: 0 },
      samples: 3,
      dispatch: { inOneSubmit: 2e-5, submittedAlone: 1e-4, waitedFor: 3e-4 },
    },
    kernels: [figure('matmul', 1e-3), figure('attention', 2e-6)],
    workloads: [
      {
        section: 'train',
        name: 'transformer',
        time: { best: 0.5, median: 0.6 },
        products: [{ unit: 'steps', perSecond: 2 }],
        programs: [{ name: 'training', runs: 1, dispatches: 300 }],
        created: { buffers: 0, bindGroups: 0 },
        bound: 0.25,
        kernels: [figure('matmul', 0.4)],
      },
    ],
    skipped: [{ what: 'matmul: 8B', why: 'too large.' }],
  };

  it('states speeds, shares and where they were measured', () => {
    const text = markdownReport(results, 'plot.svg');
    for (const wanted of [
      '# Speed on Some GPU (driver 1)',
      'commit abc1234',
      '![Kernels under the roofline](plot.svg)',
      '**2.00 steps/s**',
      '50.0 % reached',
      '20.0 GB/s',
      '2.00 µs',
      '- matmul: 8B: too large.',
    ]) {
      expect(text).toContain(wanted);
    }
    const rows = text.split('\n').filter((line) => line.startsWith('| 4 x 4'));
    expect(rows).toHaveLength(2);
    expect(rows[0]).toMatch(/matmul \\\| fast .* 10\.0 .* 1\.00 .* 50\.0 % .* memory/);
  });

  it('is formatted as the repository is', async () => {
    const settings = await resolveConfig(new URL('../../bench/main.ts', import.meta.url));
    expect(await check(markdownReport(results), { ...settings, parser: 'markdown' })).toBe(true);
    expect(await check(`${JSON.stringify(results, undefined, 2)}\n`, { ...settings, parser: 'json' })).toBe(true);
  });

  it('draws every group of kernels and the roofline', () => {
    const svg = plotRoofline(results);
    expect(svg).toMatch(/^<svg /);
    for (const name of ['roofline', 'matmul', 'attention', 'operations per byte', 'GFLOP/s']) {
      expect(svg).toContain(`>${name}<`);
    }
    expect(svg).not.toContain('NaN');
  });
});
