import type { Device } from '../engine/device.js';
import { pretrainStages } from '../demos/nano/train/recipe.js';
import { kernelCases } from './cases/index.js';
import { bestCeilings, CeilingProbe, measureDispatchCost, type Ceilings } from './ceilings.js';
import { timing } from './measure.js';
import { decodeWorkload } from './models/decode.js';
import { nanoSizes, openNanoModel, parameterCount, type NanoModel } from './models/nano.js';
import { transformerTraining, visionTraining } from './models/training.js';
import { visionDecoding, visionEncoding } from './models/vision.js';
import type { Results, Section, WorkloadFigure } from './results.js';
import { runKernels, type RunOptions, type Yardstick } from './run-kernels.js';
import { runWorkload, type Workload } from './run-workloads.js';

export const sections = ['all', 'roofline', 'kernels', 'decode', 'train', 'vision'] as const;
export type BenchSection = (typeof sections)[number];

export function isSection(text: string): text is BenchSection {
  return sections.some((section) => section === text);
}

export interface BenchOptions extends RunOptions {
  /** Folder of the nano model. */
  readonly model: string;
  /** Measure only kernels and workloads whose name or sizes contain this. */
  readonly only?: string | undefined;
  /** Bytes of the buffers that are streamed; default what no cache holds. */
  readonly streamBytes?: number;
}

/** Measures a section, or all of them, on a device. */
export async function runBench(
  device: Device,
  section: BenchSection,
  options: BenchOptions,
): Promise<Omit<Results, 'header'>> {
  const { streamBytes } = options;
  const probe = await CeilingProbe.create(device, {
    seconds: options.seconds / 2,
    ...(streamBytes !== undefined && { streamBytes }),
  });
  const dispatch = await measureDispatchCost(device, options.rounds);
  const yardstick = { device, probe, dispatch };
  for (let round = 0; round < options.rounds; round++) await probe.sample();
  const wants = (part: BenchSection): boolean => section === 'all' || section === part;
  const workloads: WorkloadFigure[] = [];
  // Training changes the weights, so it comes last.
  for (const part of ['decode', 'vision', 'train'] as const) {
    if (wants(part)) workloads.push(...(await runSection(yardstick, part, options)));
  }
  const found = wants('kernels') ? await runCases(yardstick, options) : { kernels: [], skipped: [] };
  const { samples } = probe;
  const roofline = {
    ceilings: bestCeilings(samples),
    median: medianCeilings(samples),
    samples: samples.length,
    dispatch,
  };
  probe.destroy();
  return { roofline, workloads, ...found };
}

async function runCases(yardstick: Yardstick, options: BenchOptions): Promise<Pick<Results, 'kernels' | 'skipped'>> {
  const { device } = yardstick;
  const model = await openNanoModel(device, options.model, { training: false });
  const { batch, length } = pretrainStages[0];
  const sizes = nanoSizes(model);
  const nano = { sizes, batch, length, parameters: parameterCount(model), codes: sizes.visionIds };
  model.destroy();
  const { only = '' } = options;
  const cases = kernelCases(device.traits, nano).filter(({ op, sizes: text }) => `${op}: ${text}`.includes(only));
  return runKernels(yardstick, cases, options);
}

const makers: Record<Section, readonly ((device: Device, model: NanoModel) => Promise<Workload>)[]> = {
  decode: [1, 8].map((pictures) => (device, model) => decodeWorkload(device, model, pictures)),
  vision: [1, 16].flatMap((batch) => [
    (device, model) => visionEncoding(device, model, batch),
    (device, model) => visionDecoding(device, model, batch),
  ]),
  train: [transformerTraining, visionTraining],
};

async function runSection(yardstick: Yardstick, section: Section, options: BenchOptions): Promise<WorkloadFigure[]> {
  const { device } = yardstick;
  const model = await openNanoModel(device, options.model, { training: section === 'train' });
  const figures: WorkloadFigure[] = [];
  for (const [index, make] of makers[section].entries()) {
    const workload = await make(device, model);
    const { name } = workload;
    if (name.includes(options.only ?? '')) {
      options.onProgress?.(index, makers[section].length, `${section}: ${name}`);
      const figure = await runWorkload(yardstick, workload, options);
      figures.push({ ...figure, name: `${name}, ${model.origin}` });
    }
    await workload.destroy();
  }
  model.destroy();
  return figures;
}

function medianCeilings(samples: readonly Ceilings[]): Ceilings {
  const median = (figure: keyof Ceilings): number => timing(samples.map((sample) => sample[figure])).median;
  return {
    copy: median('copy'),
    read: median('read'),
    multiplyAdd: median('multiplyAdd'),
    multiplyAddF16: median('multiplyAddF16'),
  };
}
