import { cp, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Argument, type Command } from 'commander';
import type { AdapterPreference } from '../../../engine/adapter/request.node.js';
import type { StepMetrics } from '../../../engine/train/loop.js';
import type { Device } from '../../../engine/device.js';
import { Emu3Error } from '../../../kernels/core/errors.js';
import { fileError } from '../../../loader/io-error.node.js';
import type { WeightFormat } from '../../../loader/pipeline/weights.js';
import { noBase, type LoraTraining } from '../../nano/train/stage-model.node.js';
import { visionFolderName } from '../model.js';
import { adapterOption, jsonOption, numberOption, weightsOption } from '../options.js';
import { jsonText, makeOutputFolder, writeOutput } from '../output.js';
import type { CurvePoint } from '../plot.js';
import { withProgress } from '../progress.js';
import { formatSeconds } from '../report.js';
import { withDevice, type Terminal } from '../terminal.js';
import { commands, stages, type Stage, type StageFolders } from '../training-stages.js';

export interface TrainOptions {
  run: string;
  output: string;
  from?: string;
  steps?: number;
  checkpointEvery?: number;
  lora?: number;
  loraAlpha?: number;
  weights?: WeightFormat;
  adapter?: AdapterPreference;
  json?: boolean;
}

export interface StageSummary {
  stage: string;
  output: string;
  curve: string;
  plot: string;
  seconds: number;
  last: CurvePoint | undefined;
}

export function addTrain(program: Command, terminal: Terminal): void {
  const count = numberOption({ from: 1, whole: true });
  const positive = numberOption({ from: 0, exclusive: true });
  program
    .command('train')
    .description('train the nano model, or a stage of it, on the npm packages alone; goes on where a run was stopped')
    .addArgument(new Argument('<what>', 'nano is all stages, one after the other').choices(Object.keys(commands)))
    .requiredOption('--run <folder>', "folder for checkpoints and each stage's model; a run found there is continued")
    .requiredOption('--output <folder>', 'model folder to write')
    .option('--from <folder>', 'model folder to start from (default: that of the stage before, in the run folder)')
    .option('--steps <n>', 'optimiser steps of each stage (default: as the shipped model)', count)
    .option('--checkpoint-every <n>', 'steps between checkpoints', count)
    .option('--lora <rank>', 'train low-rank adapters of this rank beside the model, which stays as it is', count)
    .option('--lora-alpha <a>', 'scale of the adapters, times the rank (default: twice the rank)', positive)
    .addOption(weightsOption('form of the model beside adapters; q8 and q4 pack its matrices (default: f32)'))
    .addOption(adapterOption())
    .addOption(jsonOption())
    .action((what: string, options: TrainOptions) => train(terminal, commands[what], options));
}

async function train(terminal: Terminal, chosen: readonly Stage[], options: TrainOptions): Promise<void> {
  const lora = loraOf(options);
  const planned = plan(chosen, options);
  for (const { stage, folders } of planned) {
    checkSteps(stage, options.steps);
    if (lora) checkBase(stage, folders);
  }
  await makeOutputFolder(options.output);
  const summaries: StageSummary[] = [];
  for (const { stage, folders } of planned) {
    await checkStart(stage, folders);
    await makeOutputFolder(folders.run);
    // A device of its own for each stage, so that the first one's memory is free for the second.
    summaries.push(
      await withDevice(terminal, options, (device) => runStage(terminal, device, stage, folders, { ...options, lora })),
    );
  }
  const last = planned[planned.length - 1];
  const target = last.stage.makes === 'vision tokenizer' ? join(options.output, visionFolderName) : options.output;
  await cp(last.folders.product, target, { recursive: true });
  if (options.json) terminal.out(jsonText(summaries));
  else terminal.out(`the model is in ${options.output}\n`);
}

/** Stages to be run one after the other, the first from `from` where that is given, each of the others from the one before. */
export function plan(
  chosen: readonly Stage[],
  { run, from }: Pick<TrainOptions, 'run' | 'from'>,
): { stage: Stage; folders: StageFolders }[] {
  // Where a model is begun with, its vision tokenizer is that of all stages.
  const model = chosen[0].makes === 'model' ? from : undefined;
  return chosen.map((stage, index) => ({
    stage,
    folders: foldersOf(stage, run, index === 0 ? from : undefined, model),
  }));
}

/**
 * Where a stage keeps and finds its things, all in the run folder.
 *
 * @param from model folder to start from, in place of what the stage before has made.
 * @param model folder of the model whose vision tokenizer is used, in place of the run's own.
 */
export function foldersOf(stage: Stage, run: string, from: string | undefined, model = from): StageFolders {
  const before = stages[stages.indexOf(stage) - 1] as Stage | undefined;
  const productOf = ({ name }: Stage): string => join(run, name, 'model');
  const [vision] = stages.filter(({ makes }) => makes === 'vision tokenizer').slice(-1);
  return {
    run: join(run, stage.name),
    product: productOf(stage),
    vision: model === undefined ? productOf(vision) : join(model, visionFolderName),
    from: startOf(stage, from) ?? (before?.makes === stage.makes ? productOf(before) : undefined),
    cache: join(run, 'corpora'),
  };
}

function startOf({ makes }: Stage, from: string | undefined): string | undefined {
  return from === undefined || makes === 'model' ? from : join(from, visionFolderName);
}

/** @throws Emu3Error `argument` for options that only adapters have. */
function loraOf({ lora: rank, loraAlpha, weights }: TrainOptions): LoraTraining | undefined {
  if (rank !== undefined) return { rank, alpha: loraAlpha ?? 2 * rank, weights: weights ?? 'f32' };
  const alone = loraAlpha !== undefined ? '--lora-alpha' : weights !== undefined ? '--weights' : undefined;
  if (alone === undefined) return undefined;
  throw new Emu3Error('A model that is trained itself is f32 and has no adapters.', {
    code: 'argument',
    where: alone,
    fix: 'Give --lora with the rank of the adapters to train.',
  });
}

/** @throws Emu3Error `argument` for a stage that has no model for adapters to go beside. */
function checkBase({ name, makes }: Stage, { from }: StageFolders): void {
  if (makes === 'model' && from !== undefined) return;
  throw noBase(name);
}

/** Refuses what the optimiser would refuse later, after the artwork has been rendered. */
function checkSteps({ name, recipe }: Stage, steps = recipe.steps): void {
  const { warmupSteps: warmup = 0, holdSteps: hold = 0 } = recipe.schedule(steps);
  if (steps > warmup + hold) return;
  throw new Emu3Error(`${steps} steps do not outlast the ${warmup + hold} steps before the rate goes down.`, {
    code: 'argument',
    where: `--steps of ${name}`,
    fix: `Give ${warmup + hold + 1} steps or more.`,
  });
}

/** @throws Emu3Error `missing` when what the stage starts from has not been trained. */
async function checkStart(stage: Stage, { vision, from }: StageFolders): Promise<void> {
  const needed = [...(stage.makes === 'model' ? [vision] : []), ...(from === undefined ? [] : [from])];
  for (const folder of needed) {
    if (await exists(join(folder, 'config.json'))) continue;
    throw new Emu3Error('The model that this stage starts from is missing.', {
      code: 'missing',
      where: folder,
      fix: 'Train the stages before with the same --run, or give --from a model folder.',
    });
  }
}

async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined)) !== undefined;
}

/** Trains one stage to its end, unless that is done, then puts its curves into the model's folder. */
export async function runStage(
  terminal: Terminal,
  device: Device,
  stage: Stage,
  folders: StageFolders,
  options: Pick<TrainOptions, 'output' | 'steps' | 'checkpointEvery' | 'json'> & { lora?: LoraTraining | undefined },
): Promise<StageSummary> {
  const { name } = stage;
  const steps = options.steps ?? stage.recipe.steps;
  const { signal } = terminal;
  const started = performance.now();
  let reached = 0;
  if (!(await exists(join(folders.product, 'config.json')))) {
    try {
      await withProgress(terminal, name.padEnd(11), steps, async (bar) => {
        bar.update(0, 'preparing');
        const onMetrics = (metrics: StepMetrics, secondsPerStep: number): void => {
          reached = metrics.step;
          bar.update(metrics.step, progressNote(metrics, secondsPerStep, steps));
        };
        const { checkpointEvery, lora } = options;
        const every = checkpointEvery === undefined ? {} : { checkpointEvery };
        const onPreparing = (what: string): void => bar.update(0, what);
        await stage.train(device, { ...folders, steps, ...every, lora, onMetrics, onPreparing, signal });
      });
    } catch (error) {
      throw error instanceof Emu3Error && error.code === 'aborted' ? stopped(folders.run, error) : error;
    }
  }
  const points = await readCurve(join(folders.run, `${name}-curve.json`));
  const curve = join(options.output, `${name}-curve.json`);
  const plot = join(options.output, `${name}-curve.svg`);
  const { plotCurve } = await import('../plot.js');
  await writeOutput(curve, `[\n${points.map((point) => JSON.stringify(point)).join(',\n')}\n]\n`);
  await writeOutput(plot, plotCurve(points, stage.plot));
  const seconds = (performance.now() - started) / 1000;
  const trained = reached === 0 ? 'was trained already' : `trained to step ${reached} in ${formatSeconds(seconds)}`;
  if (!options.json) terminal.out(`${name} ${trained} -> ${folders.product}\n  curves: ${curve}, ${plot}\n`);
  return { stage: name, output: folders.product, curve, plot, seconds, last: points.at(-1) };
}

function progressNote(metrics: StepMetrics, secondsPerStep: number, steps: number): string {
  const { step, loss, psnr, codesUsed, accuracy } = metrics as StepMetrics & Partial<Record<string, number>>;
  const parts = [`loss ${loss.toFixed(4)}`];
  if (psnr !== undefined) parts.push(`${psnr.toFixed(1)} dB`);
  if (codesUsed !== undefined) parts.push(`${codesUsed} codes`);
  if (accuracy !== undefined) parts.push(`${(100 * accuracy).toFixed(0)} % of pairs`);
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
