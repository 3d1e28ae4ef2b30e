import { join } from 'node:path';
import { Emu3Error, throwIfAborted } from '../kernels/core/errors.js';
import { diskFileSystem, removeQuietly, replaceFile, writeDurably } from './atomic.node.js';
import type { SaveFileSystem } from './atomic.node.js';
import { OPTIMIZER_FILE, TRAINER_FILE, WEIGHTS_FILE, checkpointFiles, readTrainingCheckpoint } from './checkpoint.js';
import type { TrainingCheckpoint } from './checkpoint.js';
import { diskFolder } from './folder.node.js';
import { fileError, isNotFound } from './io-error.node.js';
import { encodeLayout, layoutSafetensors } from './safetensors/writer.js';

/** Text file naming the checkpoint to resume from. */
const POINTER = 'latest';
/** Complete checkpoints: a running number that only grows, then the step. A folder gets this name when it is durable. */
const COMPLETE = /^(\d{6,})-step-\d{8,}$/;
const UNFINISHED = '.saving-';
const UNFINISHED_POINTER = /^latest\..*\.tmp$/;

export interface SaveOptions {
  /** How many checkpoints stay, the new one included. Default 2. */
  keep?: number;
  signal?: AbortSignal;
  fileSystem?: SaveFileSystem;
}

/**
 * Saves a checkpoint as `FOLDER/NNNNNN-step-SSSSSSSS/` (model.safetensors, optimizer.safetensors, trainer.json), moves
 * the `latest` pointer to it and removes the oldest ones. The folder is written under a temporary name, made durable
 * and renamed, so a kill at any moment leaves the earlier checkpoints and the pointer usable. One writer at a time.
 * @returns the path of the new checkpoint
 * @throws Emu3Error `disk-full`, `io`, `argument`, `aborted`; no part of the failed checkpoint is left.
 */
export async function saveTrainingCheckpoint(
  folder: string,
  checkpoint: TrainingCheckpoint,
  options: SaveOptions = {},
): Promise<string> {
  const { keep = 2, signal, fileSystem = diskFileSystem } = options;
  if (!Number.isSafeInteger(keep) || keep < 1) {
    throw new Emu3Error(`Cannot keep ${keep} checkpoints.`, {
      code: 'argument',
      where: 'keep',
      fix: 'Keep 1 or more.',
    });
  }
  throwIfAborted(signal, folder);
  const files = checkpointFiles(checkpoint);
  const weights = layoutSafetensors(files.weights, { metadata: { format: 'pt' } });
  const optimizer = layoutSafetensors(files.optimizer, { metadata: { format: 'pt' } });

  let temporary: string | undefined;
  let complete: string;
  try {
    await fileSystem.makeFolder(folder);
    const names = await fileSystem.list(folder);
    for (const name of names) {
      const leftOver = name.startsWith(UNFINISHED) || UNFINISHED_POINTER.test(name);
      if (leftOver) await fileSystem.remove(join(folder, name));
    }
    const sequence = 1 + Math.max(0, ...names.map(sequenceOf));
    complete = `${String(sequence).padStart(6, '0')}-step-${String(checkpoint.trainer.step).padStart(8, '0')}`;
    temporary = join(folder, UNFINISHED + complete);
    await fileSystem.makeFolder(temporary);
    await writeDurably(join(temporary, WEIGHTS_FILE), encodeLayout(weights, signal), fileSystem);
    await writeDurably(join(temporary, OPTIMIZER_FILE), encodeLayout(optimizer, signal), fileSystem);
    await writeDurably(join(temporary, TRAINER_FILE), [new TextEncoder().encode(files.trainerJson)], fileSystem);
    await fileSystem.syncFolder(temporary);
    await fileSystem.rename(temporary, join(folder, complete));
    await fileSystem.syncFolder(folder);
  } catch (error) {
    if (temporary !== undefined) await removeQuietly(temporary, fileSystem);
    throw fileError(error, folder, 'write');
  }
  await replaceFile(join(folder, POINTER), [new TextEncoder().encode(`${complete}\n`)], fileSystem);
  await prune(folder, complete, keep, fileSystem);
  return join(folder, complete);
}

async function prune(folder: string, newest: string, keep: number, fileSystem: SaveFileSystem): Promise<void> {
  try {
    const complete = (await fileSystem.list(folder)).filter((name) => sequenceOf(name) > 0 && name !== newest);
    complete.sort((a, b) => sequenceOf(b) - sequenceOf(a));
    for (const name of complete.slice(keep - 1)) {
      // Renamed first, so that a kill half-way through the removal leaves no folder that looks complete.
      const doomed = join(folder, UNFINISHED + name);
      await fileSystem.rename(join(folder, name), doomed);
      await fileSystem.remove(doomed);
    }
  } catch (error) {
    throw fileError(error, folder, 'write');
  }
}

function sequenceOf(name: string): number {
  return Number(COMPLETE.exec(name)?.[1] ?? 0);
}

/**
 * Path of the checkpoint to resume from: the one `latest` names, or, when that pointer or its target is gone, the
 * newest complete one; undefined when there is none.
 * @throws Emu3Error `io`.
 */
export async function latestCheckpoint(
  folder: string,
  fileSystem: SaveFileSystem = diskFileSystem,
): Promise<string | undefined> {
  let names: string[];
  try {
    names = await fileSystem.list(folder);
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw fileError(error, folder, 'read');
  }
  const complete = names.filter((name) => sequenceOf(name) > 0).sort((a, b) => sequenceOf(b) - sequenceOf(a));
  const pointed = names.includes(POINTER) ? (await diskFolder(folder).readText(POINTER)).trim() : undefined;
  const chosen = complete.find((name) => name === pointed) ?? complete.at(0);
  return chosen === undefined ? undefined : join(folder, chosen);
}

/**
 * Loads a checkpoint: `path` is one checkpoint, or the folder of a run, of which the latest is taken.
 * @throws Emu3Error `missing` when there is no checkpoint, and as readTrainingCheckpoint.
 */
export async function loadTrainingCheckpoint(path: string, signal?: AbortSignal): Promise<TrainingCheckpoint> {
  const single = await diskFolder(path).exists(TRAINER_FILE);
  const chosen = single ? path : await latestCheckpoint(path);
  if (chosen === undefined) {
    throw new Emu3Error('There is no checkpoint to resume from.', {
      code: 'missing',
      where: path,
      fix: 'Check the folder, or start a new run.',
    });
  }
  return readTrainingCheckpoint(diskFolder(chosen), signal);
}
