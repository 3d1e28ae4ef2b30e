import type { Device } from '../engine/device.js';
import type { Program, Tensor } from '../engine/graph/index.js';
import type { KernelCall } from '../kernels/core/index.js';
import {
  copyStream,
  emptyDispatch,
  multiplyAdd,
  readStream,
  readSums,
  streamUnit,
  type StreamForm,
} from './kernels/index.js';
import { Stopwatch } from './measure.js';
import { Workbench } from './workbench.js';

/** What an adapter can do at most, as small kernels that do nothing else reach it. */
export interface Ceilings {
  /** Bytes per second of copying a buffer too large for any cache, read and written ones counted. */
  readonly copy: number;
  /** Bytes per second of reading it. */
  readonly read: number;
  /** Floating-point operations per second of multiply-adds in registers, one of which counts as two. */
  readonly multiplyAdd: number;
  /** The same in f16; 0 without f16. */
  readonly multiplyAddF16: number;
}

/** Seconds per dispatch of a kernel that does nothing. */
export interface DispatchCost {
  /** Among many in one submit. */
  readonly inOneSubmit: number;
  /** Each in a submit of its own, waited for once at the end. */
  readonly submittedAlone: number;
  /** Each in a submit of its own that is waited for. */
  readonly waitedFor: number;
}

/** Bytes per second that the roofline allows: the faster of the two streams. */
export function streamCeiling(ceilings: Ceilings): number {
  return Math.max(ceilings.copy, ceilings.read);
}

/** The roofline: seconds that the ceilings ask for this work at least. */
export function boundSeconds(ceilings: Ceilings, work: { bytes: number; flops: number }): number {
  return Math.max(work.bytes / streamCeiling(ceilings), work.flops / ceilings.multiplyAdd);
}

/** The best of several measurements, figure by figure. */
export function bestCeilings(samples: readonly Ceilings[]): Ceilings {
  const best = (figure: keyof Ceilings): number => Math.max(0, ...samples.map((sample) => sample[figure]));
  return {
    copy: best('copy'),
    read: best('read'),
    multiplyAdd: best('multiplyAdd'),
    multiplyAddF16: best('multiplyAddF16'),
  };
}

export interface ProbeOptions {
  /** Bytes of each streamed buffer; default 64 MiB on software adapters, 256 MiB on GPUs, less where a binding is. */
  streamBytes?: number;
  /** Seconds that one measurement of one ceiling takes, about. */
  seconds: number;
}

/** A kernel that reaches for one ceiling. */
interface Probe {
  readonly bench: Workbench;
  readonly program: Program;
  readonly repeats: number;
  /** Bytes or operations of a run. */
  readonly work: number;
}

type Build = (bench: Workbench) => { output: Tensor; call: KernelCall<Tensor>; work: number };

const softwareForms: readonly StreamForm[] = [
  { workgroupSize: 8, vectors: 64 },
  { workgroupSize: 64, vectors: 16 },
  { workgroupSize: 64, vectors: 64 },
];
const gpuForms: readonly StreamForm[] = [
  { workgroupSize: 256, vectors: 2 },
  { workgroupSize: 256, vectors: 8 },
  { workgroupSize: 128, vectors: 16 },
];
const multiplyAddIterations = 1024;
/** Samples that count as of the same minutes: of a case and of those just before it. */
const recentSamples = 24;

/**
 * Programs that measure an adapter's ceilings again and again, quickly: between the kernels that are held against them,
 * so that a machine's slow minutes slow both.
 */
export class CeilingProbe {
  private readonly stopwatch: Stopwatch;
  private readonly probes: ReadonlyMap<keyof Ceilings, Probe>;
  private readonly taken: Ceilings[] = [];

  private constructor(stopwatch: Stopwatch, probes: ReadonlyMap<keyof Ceilings, Probe>) {
    this.stopwatch = stopwatch;
    this.probes = probes;
  }

  /** Tries each ceiling's kernel in a few forms and keeps the fastest. */
  static async create(device: Device, options: ProbeOptions): Promise<CeilingProbe> {
    const { traits } = device;
    const stopwatch = new Stopwatch(device);
    const elements = streamElements(device, options.streamBytes);
    const forms = traits.software ? softwareForms : gpuForms;
    const copies = forms.map((form): Build => (bench) => {
      const [source, destination] = [bench.values([elements]), bench.values([elements])];
      const call = copyStream(form, { source, destination });
      return { output: destination, call, work: call.bytes };
    });
    const reads = forms.map((form): Build => (bench) => {
      const [source, sums] = [bench.values([elements]), bench.values([readSums(form, elements)])];
      const call = readStream(form, { source, sums });
      return { output: sums, call, work: call.bytes };
    });
    const arithmetic = (dtype: 'f32' | 'f16'): Build[] =>
      (traits.software ? [8, 32] : [64, 256]).map((workgroupSize) => (bench) => {
        const values = bench.values([traits.software ? 1 << 13 : 1 << 20]);
        const call = multiplyAdd(workgroupSize, { values, iterations: multiplyAddIterations, dtype });
        return { output: values, call, work: call.flops };
      });
    const fastest = (builds: readonly Build[]): Promise<Probe> => fastestProbe(device, stopwatch, builds, options);
    const probes = new Map<keyof Ceilings, Probe>([
      ['copy', await fastest(copies)],
      ['read', await fastest(reads)],
      ['multiplyAdd', await fastest(arithmetic('f32'))],
    ]);
    if (traits.f16) probes.set('multiplyAddF16', await fastest(arithmetic('f16')));
    return new CeilingProbe(stopwatch, probes);
  }

  /** Measures every ceiling once. */
  async sample(): Promise<Ceilings> {
    const found = { copy: 0, read: 0, multiplyAdd: 0, multiplyAddF16: 0 };
    for (const [figure, { program, repeats, work }] of this.probes) {
      found[figure] = work / (await this.stopwatch.secondsPerRun(program, repeats));
    }
    this.taken.push(found);
    return found;
  }

  /** The best of the last samples: what the machine could do while the latest measurements were made. */
  recent(): Ceilings {
    return bestCeilings(this.taken.slice(-recentSamples));
  }

  /** All samples so far, in order. */
  get samples(): readonly Ceilings[] {
    return this.taken;
  }

  destroy(): void {
    this.probes.forEach(release);
    this.stopwatch.destroy();
  }
}

function release({ program, bench }: Probe): void {
  program.destroy();
  bench.destroy();
}

async function fastestProbe(
  device: Device,
  stopwatch: Stopwatch,
  builds: readonly Build[],
  options: ProbeOptions,
): Promise<Probe> {
  const tried: { probe: Probe; rate: number }[] = [];
  for (const build of builds) {
    const bench = new Workbench(device);
    const { output, call, work } = build(bench);
    bench.graph.node({ name: call.kernel.name, inputs: [], outputs: [output], calls: [call] });
    const program = await bench.compile(call.kernel.name);
    const repeats = await stopwatch.repeatsFor(program, options.seconds);
    const seconds: number[] = [];
    for (let round = 0; round < 3; round++) seconds.push(await stopwatch.secondsPerRun(program, repeats));
    tried.push({ probe: { bench, program, repeats, work }, rate: work / Math.min(...seconds) });
  }
  const [best, ...others] = tried.sort((a, b) => b.rate - a.rate);
  for (const { probe } of others) release(probe);
  return best.probe;
}

/** As many elements as wanted, or as fit one binding, in whole units of the streaming kernels. */
function streamElements(device: Device, wanted = device.traits.software ? 64 << 20 : 256 << 20): number {
  const bytes = Math.min(wanted, device.gpu.limits.maxStorageBufferBindingSize);
  return Math.max(1, Math.floor(bytes / 4 / streamUnit)) * streamUnit;
}

/** Measures the cost of dispatches, the best of `rounds`. */
export async function measureDispatchCost(device: Device, rounds: number, dispatches = 256): Promise<DispatchCost> {
  const stopwatch = new Stopwatch(device);
  const bench = new Workbench(device);
  const untouched = bench.integers([4], 2);
  const calls = Array.from({ length: dispatches }, () => emptyDispatch({ untouched }));
  bench.graph.node({ name: 'empty', inputs: [], outputs: [untouched], calls });
  const program = await bench.compile('empty dispatches');
  const single = new Workbench(device);
  const alone = single.integers([4], 2);
  single.graph.node({ name: 'empty', inputs: [], outputs: [alone], calls: [emptyDispatch({ untouched: alone })] });
  const one = await single.compile('empty dispatch');
  const best = { inOneSubmit: Infinity, submittedAlone: Infinity, waitedFor: Infinity };
  const waits = Math.ceil(dispatches / 16);
  for (let round = 0; round <= rounds; round++) {
    const together = await stopwatch.secondsPerRun(program, 1);
    let start = performance.now();
    program.runUnreplayed();
    await device.finish();
    const separate = (performance.now() - start) / 1000;
    start = performance.now();
    for (let index = 0; index < waits; index++) {
      one.run();
      await device.finish();
    }
    const waited = (performance.now() - start) / 1000;
    // The first round warms up.
    if (round === 0) continue;
    best.inOneSubmit = Math.min(best.inOneSubmit, together / dispatches);
    best.submittedAlone = Math.min(best.submittedAlone, separate / dispatches);
    best.waitedFor = Math.min(best.waitedFor, waited / waits);
  }
  program.destroy();
  one.destroy();
  bench.destroy();
  single.destroy();
  stopwatch.destroy();
  return best;
}
