import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ParameterStore } from '../../../engine/parameters.js';
import type { Optimization } from '../../../engine/train/optimization.js';
import { optimizerStateIndex } from '../../../engine/train/optimizer.js';
import { runTraining, type StepMetrics, type Trainer } from '../../../engine/train/loop.js';
import { Emu3Error } from '../../../kernels/core/errors.js';
import {
  latestCheckpoint,
  loadTrainingCheckpoint,
  replaceFile,
  saveTrainingCheckpoint,
  type HostTensor,
  type JsonValue,
} from '../../../loader/index.node.js';

/** Where a training run keeps its checkpoints and loss curve, and what of it belongs in a checkpoint. */
export interface RunState {
  store: ParameterStore;
  /** Other tensors of the model, by name and shape. */
  extra?: { shapes: ReadonlyMap<string, readonly number[]>; read: (name: string) => Promise<Float32Array> };
  optimization: Optimization;
  config: JsonValue;
}

export interface Position {
  step: number;
  dataPosition: JsonValue;
  randomState: JsonValue;
}

/** Saves weights, moments, optimiser state and positions as one atomic checkpoint. */
export async function saveRun(folder: string, state: RunState, position: Position): Promise<void> {
  const weights = new Map<string, HostTensor>();
  for (const [name, shape] of state.store.shapes) {
    weights.set(name, { shape, data: await state.store.tensor(name).readFloat32() });
  }
  for (const [name, shape] of state.extra?.shapes ?? []) {
    weights.set(name, { shape, data: (await state.extra?.read(name)) ?? new Float32Array() });
  }
  const snapshot = await state.optimization.snapshot();
  const withShapes = (moments: ReadonlyMap<string, Float32Array>): Map<string, HostTensor> =>
    new Map([...moments].map(([name, data]) => [name, { shape: state.store.shapes.get(name) ?? [], data }]));
  await mkdir(folder, { recursive: true });
  await saveTrainingCheckpoint(folder, {
    weights,
    firstMoments: withShapes(snapshot.firstMoments),
    secondMoments: withShapes(snapshot.secondMoments),
    trainer: {
      step: position.step,
      dataPosition: position.dataPosition,
      // f32 values survive JSON exactly: they are doubles there.
      randomState: { random: position.randomState, optimizer: [...snapshot.state] },
      config: state.config,
    },
  });
}

/** Puts the latest checkpoint of a run folder back, or returns undefined when there is none. */
export async function resumeRun(
  folder: string,
  state: RunState,
  writeExtra: (name: string, data: Float32Array) => void = () => undefined,
): Promise<Position | undefined> {
  await mkdir(folder, { recursive: true });
  const path = await latestCheckpoint(folder);
  if (path === undefined) return undefined;
  const { weights, firstMoments, secondMoments, trainer } = await loadTrainingCheckpoint(path);
  if (JSON.stringify(trainer.config) !== JSON.stringify(state.config)) {
    throw new Emu3Error('The run folder holds a run with another configuration.', {
      code: 'config',
      where: folder,
      fix: 'Give another run folder, or delete this one to start over.',
    });
  }
  for (const [name, { data }] of weights) {
    if (state.store.shapes.has(name)) state.store.tensor(name).write(data);
    else writeExtra(name, data);
  }
  const { random, optimizer } = parseRandomState(trainer.randomState, path);
  const data = (moments: ReadonlyMap<string, HostTensor>): Map<string, Float32Array> =>
    new Map([...moments].map(([name, tensor]) => [name, tensor.data]));
  state.optimization.restore({
    state: Float32Array.from(optimizer),
    firstMoments: data(firstMoments),
    secondMoments: data(secondMoments),
  });
  return { step: trainer.step, dataPosition: trainer.dataPosition, randomState: random };
}

function parseRandomState(state: JsonValue, where: string): { random: JsonValue; optimizer: number[] } {
  if (state !== null && typeof state === 'object' && !Array.isArray(state)) {
    const { random, optimizer } = state as { [name: string]: JsonValue };
    if (Array.isArray(optimizer) && random !== undefined) {
      const numbers = optimizer.filter((value): value is number => typeof value === 'number');
      if (numbers.length > optimizerStateIndex.accumulationScale) return { random, optimizer: numbers };
    }
  }
  throw new Emu3Error('The checkpoint has no optimiser state.', {
    code: 'format',
    where,
    fix: 'Resume from a checkpoint this command wrote.',
  });
}

/** A trainer that can go on from a checkpoint. */
interface ResumableTrainer<Batch> extends Trainer<Batch> {
  readonly optimization: Optimization;
  resumeAt: (step: number) => void;
}

interface RunOptions<Batch> {
  steps: number;
  next: () => Batch;
  metricsEvery?: number;
  checkpointEvery?: number | undefined;
  onMetrics: (metrics: StepMetrics, secondsPerStep: number) => void;
  /** Where the data stand, for a checkpoint. */
  save: () => Promise<Omit<Position, 'step'>>;
  signal?: AbortSignal | undefined;
}

/**
 * Puts a trainer where the run in a folder stands, if there is one.
 *
 * @param name of the stage, and of its curve.
 * @param state config: all that decides the run, as JSON would have it.
 * @returns where the run stands, and `train`, which goes on from there with checkpoints and curve in the folder.
 * @throws Emu3Error as {@link resumeRun}.
 */
export async function openRun<Batch>(
  folder: string,
  name: string,
  trainer: ResumableTrainer<Batch>,
  state: Omit<RunState, 'optimization' | 'config'> & { config: object },
  writeExtra?: (name: string, data: Float32Array) => void,
): Promise<{ position: Position | undefined; train: (options: RunOptions<Batch>) => Promise<void> }> {
  const { optimization } = trainer;
  const config = JSON.parse(JSON.stringify(state.config)) as JsonValue;
  const runState: RunState = { ...state, optimization, config };
  const curve = new LossCurve(folder, `${name}-curve`);
  const position = await resumeRun(folder, runState, writeExtra);
  if (position) {
    trainer.resumeAt(position.step);
    await curve.continueFrom(position.step);
  }
  const train = async (options: RunOptions<Batch>): Promise<void> =>
    runTraining(trainer, {
      steps: options.steps,
      next: options.next,
      metricsEvery: options.metricsEvery ?? 10,
      onMetrics: (metrics, seconds) => {
        curve.add(metrics);
        options.onMetrics(metrics, seconds);
      },
      checkpointEvery: options.checkpointEvery ?? 100,
      checkpoint: async () => {
        await saveRun(folder, runState, { step: trainer.step, ...(await options.save()) });
        await curve.save();
      },
      signal: options.signal,
    });
  return { position, train };
}

/** The figures of a run, kept as JSON beside its checkpoints. */
class LossCurve {
  readonly points: StepMetrics[] = [];
  private readonly path: string;

  constructor(folder: string, name: string) {
    this.path = join(folder, `${name}.json`);
  }

  add(metrics: StepMetrics): void {
    this.points.push(metrics);
  }

  /** Takes over what was kept up to a step, when a run is resumed. */
  async continueFrom(step: number): Promise<void> {
    const kept = JSON.parse(await readFile(this.path, 'utf8').catch(() => '[]')) as StepMetrics[];
    this.points.push(...kept.filter((point) => point.step <= step));
  }

  async save(): Promise<void> {
    await replaceFile(this.path, [new TextEncoder().encode(JSON.stringify(this.points))]);
  }
}
