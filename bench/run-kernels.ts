import type { Device } from '../engine/device.js';
import type { KernelTime } from '../engine/graph/index.js';
import { Emu3Error } from '../kernels/core/index.js';
import type { KernelCase } from './cases/index.js';
import { boundSeconds, streamCeiling, type CeilingProbe, type Ceilings, type DispatchCost } from './ceilings.js';
import { Stopwatch, timing } from './measure.js';
import type { KernelFigure, KernelTimes, Skipped } from './results.js';
import { Workbench } from './workbench.js';

export interface RunOptions {
  readonly rounds: number;
  /** Seconds of one measurement of a short kernel. */
  readonly seconds: number;
  readonly onProgress?: (done: number, total: number, what: string) => void;
}

/** What every measurement is held against. */
export interface Yardstick {
  readonly device: Device;
  readonly probe: CeilingProbe;
  readonly dispatch: DispatchCost;
}

/** Measures cases one after the other, ceilings and kernels in turn. Those the adapter's limits refuse are named. */
export async function runKernels(
  yardstick: Yardstick,
  cases: readonly KernelCase[],
  options: RunOptions,
): Promise<{ kernels: KernelFigure[]; skipped: Skipped[] }> {
  const stopwatch = new Stopwatch(yardstick.device);
  const kernels: KernelFigure[] = [];
  const skipped: Skipped[] = [];
  for (const [index, kernelCase] of cases.entries()) {
    const { op, sizes } = kernelCase;
    options.onProgress?.(index, cases.length, `${op}: ${sizes}`);
    try {
      const times = await runCase(yardstick, stopwatch, kernelCase, options);
      kernels.push(...times.map((figure) => ({ op, sizes, ...figure })));
    } catch (error) {
      if (!(error instanceof Emu3Error) || error.code !== 'limit') throw error;
      skipped.push({ what: `${op}: ${sizes}`, why: error.message });
    }
  }
  stopwatch.destroy();
  return { kernels, skipped };
}

async function runCase(
  yardstick: Yardstick,
  stopwatch: Stopwatch,
  kernelCase: KernelCase,
  { rounds, seconds }: RunOptions,
): Promise<KernelTimes[]> {
  const { device, probe, dispatch } = yardstick;
  const bench = new Workbench(device);
  try {
    const outputs = kernelCase.build(bench);
    const program = await bench.compile(kernelCase.op, outputs);
    try {
      const repeats = await stopwatch.repeatsFor(program, seconds);
      const profiles: KernelTime[][] = [];
      for (let round = 0; round < rounds; round++) {
        await probe.sample();
        const profile = await program.profile();
        // A kernel on its own is measured over many runs in one pass too: timestamps around a short one are coarse.
        const perRun = await stopwatch.secondsPerRun(program, repeats);
        const [only] = profile;
        if (profile.length === 1) only.time = Math.min(only.time, perRun * 1e9);
        profiles.push(profile);
      }
      return kernelTimes(profiles, probe.recent(), dispatch);
    } finally {
      program.destroy();
    }
  } finally {
    bench.destroy();
  }
}

/** Joins profiles of the same program, each multiplied by how often it runs, kernel by kernel; most time first. */
export function kernelTimes(
  profiles: readonly (readonly KernelTime[])[],
  ceilings: Ceilings,
  dispatch: DispatchCost,
  runs = 1,
): KernelTimes[] {
  const seconds = new Map<string, number[]>();
  for (const profile of profiles) {
    for (const { kernel, time } of profile) {
      seconds.set(kernel, [...(seconds.get(kernel) ?? []), (time * runs) / 1e9]);
    }
  }
  const [first] = profiles;
  return first
    .map(({ kernel, dispatches, bytes, flops }) => {
      const work = { bytes: bytes * runs, flops: flops * runs };
      const bound = boundSeconds(ceilings, work);
      const launches = dispatches * runs * dispatch.inOneSubmit;
      const inMemory = work.bytes / streamCeiling(ceilings) >= work.flops / ceilings.multiplyAdd;
      const limit = launches > bound ? 'dispatch' : inMemory ? 'memory' : 'arithmetic';
      const time = timing(seconds.get(kernel) ?? []);
      return { kernel, dispatches: dispatches * runs, time, ...work, bound, limit } as const;
    })
    .sort((a, b) => b.time.best - a.time.best);
}
