import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Argument, type Command } from 'commander';
import type { AdapterPreference } from '../../../engine/adapter/request.node.js';
import type { Device } from '../../../engine/device.js';
import type { StepMetrics } from '../../../engine/train/loop.js';
import { Emu3Error } from '../../../kernels/core/errors.js';
import { fileError } from '../../../loader/io-error.node.js';
import { transformerRecipe, visionRecipe, type StageRecipe } from '../../nano/train/recipe.js';
import { trainNanoTokenizer, type TrainStageOptions } from '../../nano/train/tokenizer.node.js';
import { trainNanoTransformer } from '../../nano/train/transformer.node.js';
import { visionFolderName } from '../model.js';
import { adapterOption, jsonOption, numberOption } from '../options.js';
import { jsonText, makeOutputFolder, writeOutput } from '../output.js';
import type { CurvePlot, CurvePoint } from '../plot.js';
import { withProgress } from '../progress.js';
import { formatSeconds } from '../report.js';
import { withDevice, type Terminal } from '../terminal.js';

/** One of the trainings that make the nano model. */
export interface Stage {
  name: 'tokenizer' | 'transformer';
  train: (device: Device, options: TrainStageOptions) => Promise<void>;
  recipe: Pick<StageRecipe, 'steps' | 'schedule'>;
  /** Where in the model's folder the stage writes its network. */
  output: (folder: string) => string;
  plot: CurvePlot;
}

const tokenizerStage: Stage = {
  name: 'tokenizer',
  train: trainNanoTokenizer,
  recipe: visionRecipe,
  output: (folder) => join(folder, visionFolderName),
  plot: {
    title: 'Vision tokenizer, training',
    left: { label: 'loss', logarithmic: true },
    right: { label: 'PSNR of the batch in dB' },
    series: [
      { field: 'loss', label: 'loss' },
      { field: 'reconstruction', label: 'reconstruction (L2)' },
      { field: 'commitment', label: 'commitment' },
      { field: 'psnr', label: 'PSNR', right: true },
    ],
  },
};

const transformerStage: Stage = {
  name: 'transformer',
  train: trainNanoTransformer,
  recipe: transformerRecipe,
  output: (folder) => folder,
  plot: {
    title: 'Transformer, pre-training',
    left: { label: 'cross-entropy in nats' },
    right: { label: 'gradient norm' },
    series: [
      { field: 'loss', label: 'loss' },
      { field: 'gradientNorm', label: 'gradient norm', right: true },
    ],
  },
};

const stagesOf: Readonly<Record<string, readonly Stage[]>> = {
  tokenizer: [tokenizerStage],
  transformer: [transformerStage],
  nano: [tokenizerStage, transformerStage],
};

export interface TrainOptions {
  run: string;
  output: string;
  steps?: number;
  checkpointEvery?: number;
  adapter?: AdapterPreference;
  json?: boolean;
}

export interface StageSummary {
  stage: Stage['name'];
  output: string;
  curve: string;
  plot: string;
  seconds: number;
  last: CurvePoint | undefined;
}

export function addTrain(program: Command, terminal: Terminal): void {
  const count = numberOption({ from: 1, whole: true });
  program
    .command('train')
    .description('train the nano model on emoji artwork from the npm packages; goes on where a run was stopped')
    .addArgument(
      new Argument('<what>', 'nano trains the tokenizer, then the transformer').choices(Object.keys(stagesOf)),
    )
    .requiredOption('--run <folder>', 'folder for checkpoints; a run found there is continued')
    .requiredOption('--output <folder>', 'model folder to write')
    .option('--steps <n>', 'optimiser steps of each stage (default: as the shipped model)', count)
    .option('--checkpoint-every <n>', 'steps between checkpoints', count)
    .addOption(adapterOption())
    .addOption(jsonOption())
    .action((what: string, options: TrainOptions) => train(terminal, stagesOf[what], options));
}

async function train(terminal: Terminal, chosen: readonly Stage[], options: TrainOptions): Promise<void> {
  for (const stage of chosen) checkSteps(stage, options.steps);
  await makeOutputFolder(options.output);
  const summaries: StageSummary[] = [];
  for (const stage of chosen) {
    await makeOutputFolder(join(options.run, stage.name));
    // A device of its own for each stage, so that the first one's memory is free for the second.
    summaries.push(await withDevice(terminal, options, (device) => runStage(terminal, device, stage, options)));
  }
  if (options.json) terminal.out(jsonText(summaries));
}

/** Refuses what the optimiser would refuse later, after the artwork has been rendered. */
function checkSteps({ name, recipe }: Stage, steps = recipe.steps): void {
  const { warmupSteps: warmup = 0 } = recipe.schedule(steps);
  if (steps > warmup) return;
  throw new Emu3Error(`${steps} steps do not outlast the ${warmup} steps of warm-up.`, {
    code: 'argument',
    where: `--steps of the ${name}`,
    fix: `Give ${warmup + 1} steps or more.`,
  });
}

/** Trains one stage to its end, then puts its curves into the model's folder. */
export async function runStage(
  terminal: Terminal,
  device: Device,
  stage: Stage,
  options: TrainOptions,
): Promise<StageSummary> {
  const { name } = stage;
  const steps = options.steps ?? stage.recipe.steps;
  const run = join(options.run, name);
  const output = stage.output(options.output);
  const { signal } = terminal;
  const started = performance.now();
  let reached = 0;
  try {
    await withProgress(terminal, name.padEnd(11), steps, async (bar) => {
      bar.update(0, 'preparing');
      const onMetrics = (metrics: StepMetrics, secondsPerStep: number): void => {
        reached = metrics.step;
        bar.update(metrics.step, progressNote(metrics, secondsPerStep, steps));
      };
      const { checkpointEvery } = options;
      const every = checkpointEvery === undefined ? {} : { checkpointEvery };
      await stage.train(device, { run, output, steps, ...every, onMetrics, signal });
    });
  } catch (error) {
    throw error instanceof Emu3Error && error.code === 'aborted' ? stopped(run, error) : error;
  }
  const points = await readCurve(join(run, `${name}-curve.json`));
  const curve = join(options.output, `${name}-curve.json`);
  const plot = join(options.output, `${name}-curve.svg`);
  const { plotCurve } = await import('../plot.js');
  await writeOutput(curve, `[\n${points.map((point) => JSON.stringify(point)).join(',\n')}\n]\n`);
  await writeOutput(plot, plotCurve(points, stage.plot));
  const seconds = (performance.now() - started) / 1000;
  const trained = reached === 0 ? 'was trained already' : `trained to step ${reached} in ${formatSeconds(seconds)}`;
  if (!options.json) terminal.out(`${name} ${trained} -> ${output}\n  curves: ${curve}, ${plot}\n`);
  return { stage: name, output, curve, plot, seconds, last: points.at(-1) };
}

function progressNote(metrics: StepMetrics, secondsPerStep: number, steps: number): string {
  const { step, loss, psnr, codesUsed } = metrics as StepMetrics & { psnr?: number; codesUsed?: number };
  const parts = [`loss ${loss.toFixed(4)}`];
  if (psnr !== undefined) parts.push(`${psnr.toFixed(1)} dB`);
  if (codesUsed !== undefined) parts.push(`${codesUsed} codes`);
  parts.push(`${(1 / secondsPerStep).toFixed(2)} steps/s`, `${formatSeconds((steps - step) * secondsPerStep)} left`);
  return parts.join(', ');
}

function stopped(run: string, cause: Emu3Error): Emu3Error {
  return new Emu3Error('Training was stopped.', {
    code: 'aborted',
    where: `${cause.where}, ${run}`,
    fix: 'Run the same command again to go on from the checkpoint.',
    cause,
  });
}

async function readCurve(path: string): Promise<CurvePoint[]> {
  try {
    return JSON.parse(await readFile(path, 'utf8')) as CurvePoint[];
  } catch (error) {
    throw fileError(error, path, 'read');
  }
}
