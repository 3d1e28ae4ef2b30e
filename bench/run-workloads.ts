import type { KernelTime, Program } from '../engine/graph/index.js';
import { timing } from './measure.js';
import type { KernelTimes, Section, WorkloadFigure } from './results.js';
import { kernelTimes, type RunOptions, type Yardstick } from './run-kernels.js';

/** Something whole to be timed: what it runs on the GPU, and what comes out of it. */
export interface Workload {
  readonly section: Section;
  readonly name: string;
  readonly products: readonly { readonly unit: string; readonly count: number }[];
  /** Programs it replays and how often in one run. */
  readonly programs: readonly { readonly program: Program; readonly runs: number }[];
  /** Does the work once and waits for it. */
  readonly run: () => Promise<void>;
  readonly destroy: () => Promise<void>;
}

/** Times a workload as its user would, the ceilings in turn with it, then profiles its programs kernel by kernel. */
export async function runWorkload(
  { device, probe, dispatch }: Yardstick,
  workload: Workload,
  { rounds }: RunOptions,
): Promise<WorkloadFigure> {
  const { programs, products, section, name } = workload;
  // The first run compiles what the driver left for later and grows buffers that stay.
  await workload.run();
  const before = { ...device.counters };
  await workload.run();
  const created = {
    buffers: device.counters.buffers - before.buffers,
    bindGroups: device.counters.bindGroups - before.bindGroups,
  };
  const seconds: number[] = [];
  const profiles = programs.map((): KernelTime[][] => []);
  for (let round = 0; round < rounds; round++) {
    await probe.sample();
    const start = performance.now();
    await workload.run();
    seconds.push((performance.now() - start) / 1000);
    for (const [index, { program }] of programs.entries()) profiles[index].push(await program.profile());
  }
  const ceilings = probe.recent();
  const kernels = merged(programs.flatMap(({ runs }, index) => kernelTimes(profiles[index], ceilings, dispatch, runs)));
  const time = timing(seconds);
  return {
    section,
    name,
    time,
    products: products.map(({ unit, count }) => ({ unit, perSecond: count / time.best })),
    programs: programs.map(({ program, runs }) => ({ name: program.label, runs, dispatches: program.dispatches })),
    created,
    bound: kernels.reduce((sum, { bound }) => sum + bound, 0),
    kernels,
  };
}

/** Adds up the times of kernels that several programs use. */
function merged(times: readonly KernelTimes[]): KernelTimes[] {
  const byKernel = new Map<string, KernelTimes>();
  for (const next of times) {
    const known = byKernel.get(next.kernel);
    byKernel.set(next.kernel, known === undefined ? next : sum(known, next));
  }
  return [...byKernel.values()].sort((a, b) => b.time.best - a.time.best);
}

function sum(a: KernelTimes, b: KernelTimes): KernelTimes {
  return {
    kernel: a.kernel,
    dispatches: a.dispatches + b.dispatches,
    time: { best: a.time.best + b.time.best, median: a.time.median + b.time.median },
    bytes: a.bytes + b.bytes,
    flops: a.flops + b.flops,
    bound: a.bound + b.bound,
    limit: a.bound > b.bound ? a.limit : b.limit,
  };
}
