import { Emu3Error } from '../kernels/core/errors.js';
import { describePath } from './folder.js';
import type { ModelFolder } from './folder.js';
import { assertJsonValue, parseJsonObject, quote, shorten } from './json.js';
import type { JsonValue } from './json.js';
import { SafetensorsFile, assertFinite } from './safetensors/reader.js';
import type { TensorToWrite } from './safetensors/writer.js';

/** A tensor on the host: row-major float32. */
export interface HostTensor {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** Everything beside tensors that a run needs to go on as if it had never stopped. */
export interface TrainerState {
  /** Optimiser steps done. */
  readonly step: number;
  /** Where the data order stands (epoch, index, …), as the trainer defines it. */
  readonly dataPosition: JsonValue;
  /** Keys and counters of every random stream, as the trainer defines them. */
  readonly randomState: JsonValue;
  /** Model and training configuration, to be compared on resume. */
  readonly config: JsonValue;
}

/** A training run at one moment. */
export interface TrainingCheckpoint {
  readonly weights: ReadonlyMap<string, HostTensor>;
  /** AdamW's running means of the gradient and of its square, for the trained tensors (a subset of the weights). */
  readonly firstMoments: ReadonlyMap<string, HostTensor>;
  readonly secondMoments: ReadonlyMap<string, HostTensor>;
  readonly trainer: TrainerState;
}

const CHECKPOINT_FORMAT_VERSION = 1;
export const WEIGHTS_FILE = 'model.safetensors';
export const OPTIMIZER_FILE = 'optimizer.safetensors';
export const TRAINER_FILE = 'trainer.json';
const FIRST_MOMENT = 'm.';
const SECOND_MOMENT = 'v.';

/**
 * The files of a checkpoint, ready to be written.
 * @throws Emu3Error `argument` (trainer state that JSON cannot hold, bad step), `not-finite` (named tensor), `shape`,
 *   `missing` (moments that do not go with the weights or with each other).
 */
export function checkpointFiles(checkpoint: TrainingCheckpoint): {
  weights: TensorToWrite[];
  optimizer: TensorToWrite[];
  trainerJson: string;
} {
  const { weights, firstMoments, secondMoments, trainer } = checkpoint;
  checkMoments(weights, firstMoments, secondMoments, 'training checkpoint');
  // A diverged run must not push the last good checkpoint out of the folder.
  for (const tensors of [weights, firstMoments, secondMoments]) checkFinite(tensors, 'training checkpoint');
  checkStep(trainer.step, 'argument', 'training checkpoint: step');
  const { step, dataPosition, randomState, config } = trainer;
  const state = { formatVersion: CHECKPOINT_FORMAT_VERSION, step, dataPosition, randomState, config };
  assertJsonValue(state, 'trainer');
  return {
    weights: toTensors(weights, ''),
    optimizer: [...toTensors(firstMoments, FIRST_MOMENT), ...toTensors(secondMoments, SECOND_MOMENT)],
    trainerJson: `${JSON.stringify(state, null, 2)}\n`,
  };
}

function toTensors(tensors: ReadonlyMap<string, HostTensor>, prefix: string): TensorToWrite[] {
  return [...tensors].map(([name, { shape, data }]) => ({ name: prefix + name, dtype: 'F32', shape, values: data }));
}

/**
 * Reads one checkpoint folder back and checks it: format version, moments matching weights, finite weights.
 * @throws Emu3Error `missing`, `format`, `unsupported` (newer version), `shape`, `not-finite` (named tensor), `io`.
 */
export async function readTrainingCheckpoint(folder: ModelFolder, signal?: AbortSignal): Promise<TrainingCheckpoint> {
  const trainer = parseTrainer(await folder.readText(TRAINER_FILE, signal), describePath(folder, TRAINER_FILE));
  const weights = await readAll(folder, WEIGHTS_FILE, signal);
  const optimizer = await readAll(folder, OPTIMIZER_FILE, signal);
  checkFinite(weights, describePath(folder, WEIGHTS_FILE));
  checkFinite(optimizer, describePath(folder, OPTIMIZER_FILE));
  const firstMoments = new Map<string, HostTensor>();
  const secondMoments = new Map<string, HostTensor>();
  const where = describePath(folder, OPTIMIZER_FILE);
  for (const [name, tensor] of optimizer) {
    if (name.startsWith(FIRST_MOMENT)) firstMoments.set(name.slice(FIRST_MOMENT.length), tensor);
    else if (name.startsWith(SECOND_MOMENT)) secondMoments.set(name.slice(SECOND_MOMENT.length), tensor);
    else {
      throw new Emu3Error(`The tensor "${shorten(name)}" is no optimiser state.`, {
        code: 'format',
        where,
        fix: 'Resume from an earlier checkpoint.',
      });
    }
  }
  checkMoments(weights, firstMoments, secondMoments, where);
  return { weights, firstMoments, secondMoments, trainer };
}

function checkFinite(tensors: ReadonlyMap<string, HostTensor>, where: string): void {
  for (const [name, { data }] of tensors) assertFinite(data, `${where}: ${shorten(name)}`);
}

async function readAll(
  folder: ModelFolder,
  path: string,
  signal: AbortSignal | undefined,
): Promise<Map<string, HostTensor>> {
  const options = signal === undefined ? {} : { signal };
  const file = await SafetensorsFile.open(await folder.open(path, signal), signal);
  try {
    const tensors = new Map<string, HostTensor>();
    for (const [name, { shape }] of file.tensors) {
      tensors.set(name, { shape, data: await file.readFloat32(name, options) });
    }
    return tensors;
  } finally {
    await file.close();
  }
}

function parseTrainer(text: string, where: string): TrainerState {
  const json = parseJsonObject(text, where);
  const version = json['formatVersion'];
  if (version !== CHECKPOINT_FORMAT_VERSION) {
    throw new Emu3Error(`The checkpoint has format version ${quote(version)}.`, {
      code: 'unsupported',
      where,
      fix: `This release reads version ${CHECKPOINT_FORMAT_VERSION}; resume with the release that wrote it.`,
    });
  }
  const { step, dataPosition, randomState, config } = json;
  checkStep(step, 'format', where);
  return {
    step,
    dataPosition: requireField(dataPosition, 'dataPosition', where),
    randomState: requireField(randomState, 'randomState', where),
    config: requireField(config, 'config', where),
  };
}

function requireField(value: unknown, name: string, where: string): JsonValue {
  if (value === undefined) {
    throw new Emu3Error(`The field "${name}" is missing.`, {
      code: 'format',
      where,
      fix: 'Resume from an earlier checkpoint.',
    });
  }
  assertJsonValue(value, name);
  return value;
}

function checkStep(step: unknown, code: 'argument' | 'format', where: string): asserts step is number {
  if (typeof step === 'number' && Number.isSafeInteger(step) && step >= 0) return;
  throw new Emu3Error(`The step ${quote(step)} is not a whole number, 0 or more.`, {
    code,
    where,
    fix: 'A checkpoint counts the optimiser steps done.',
  });
}

function checkMoments(
  weights: ReadonlyMap<string, HostTensor>,
  first: ReadonlyMap<string, HostTensor>,
  second: ReadonlyMap<string, HostTensor>,
  where: string,
): void {
  const pairs: [string, ReadonlyMap<string, HostTensor>, ReadonlyMap<string, HostTensor>][] = [
    ['first moment without a weight', first, weights],
    ['first moment without a second', first, second],
    ['second moment without a first', second, first],
  ];
  for (const [what, from, to] of pairs) {
    for (const [name, { shape }] of from) {
      const other = to.get(name);
      if (other && other.shape.length === shape.length && other.shape.every((size, axis) => size === shape[axis])) {
        continue;
      }
      throw new Emu3Error(`"${shorten(name)}" is a ${what}${other ? ' of its shape' : ''}.`, {
        code: other ? 'shape' : 'missing',
        where,
        fix: 'Weights and optimiser state must come from the same run.',
      });
    }
  }
}
