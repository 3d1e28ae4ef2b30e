import { dirname, join } from 'node:path';
import { Emu3Error } from '../../kernels/core/errors.js';
import { diskFileSystem, replaceFile, replaceFiles } from '../atomic.node.js';
import type { FileContent, SaveFileSystem } from '../atomic.node.js';
import { fileError } from '../io-error.node.js';
import { INDEX_FILE, SINGLE_FILE } from './checkpoint.js';
import { encodeLayout, layoutSafetensors, storedBytes } from './writer.js';
import type { TensorToWrite, WriteOptions } from './writer.js';

export interface FileWriteOptions extends WriteOptions {
  fileSystem?: SaveFileSystem;
}

/**
 * Writes one safetensors file, tensor by tensor, and puts it in place of an older one only when it is complete.
 * @throws Emu3Error `disk-full`, `io`, and as layoutSafetensors and encodeLayout; an older file is unchanged then.
 */
export async function writeSafetensors(
  path: string,
  tensors: readonly TensorToWrite[],
  options: FileWriteOptions = {},
): Promise<void> {
  const layout = layoutSafetensors(tensors, options);
  const fileSystem = options.fileSystem ?? diskFileSystem;
  await makeFolder(dirname(path), fileSystem);
  await replaceFile(path, encodeLayout(layout, options.signal), fileSystem);
}

export interface ModelWriteOptions extends FileWriteOptions {
  /** Most bytes of tensor data a file may hold; a model above it is cut into shards with an index. Default 5e9. */
  maxShardBytes?: number;
}

const SHARD_NAME = /^model-\d{5}-of-\d{5}\.safetensors$/;
/** What a writer that was killed has left behind. */
const LEFT_OVER = /^model(?:-\d{5}-of-\d{5})?\.safetensors.*\.tmp$/;

/**
 * Writes a model folder's weights: `model.safetensors`, or `model-0000i-of-0000n.safetensors` and their index.
 * All data is on disk under temporary names before the first file of an older model is replaced; files of the older
 * model that no longer belong are removed last. (A kill during the final renames of several shards may leave a mixture;
 * training checkpoints, which replace whole folders, do not have that gap.)
 * @returns the names of the files written
 * @throws Emu3Error as {@link writeSafetensors}, `limit` when one tensor exceeds `maxShardBytes`.
 */
export async function writeModel(
  folder: string,
  tensors: readonly TensorToWrite[],
  options: ModelWriteOptions = {},
): Promise<string[]> {
  const fileSystem = options.fileSystem ?? diskFileSystem;
  const shards = cutIntoShards(tensors, options.maxShardBytes ?? 5e9);
  const count = String(shards.length).padStart(5, '0');
  const names =
    shards.length === 1
      ? [SINGLE_FILE]
      : shards.map((_, index) => `model-${String(index + 1).padStart(5, '0')}-of-${count}.safetensors`);
  const layouts = shards.map((shard) => layoutSafetensors(shard, options));
  const weightMap: [string, string][] = shards.flatMap((shard, index) =>
    shard.map((tensor): [string, string] => [tensor.name, names[index] ?? SINGLE_FILE]),
  );
  if (new Set(weightMap.map(([tensor]) => tensor)).size !== weightMap.length) {
    // Equal names inside one shard were refused above; this finds them across shards.
    layoutSafetensors(tensors, options);
  }
  const files = layouts.map((layout, index): FileContent => {
    return { path: join(folder, names[index] ?? SINGLE_FILE), content: encodeLayout(layout, options.signal) };
  });
  if (shards.length > 1) {
    files.push({ path: join(folder, INDEX_FILE), content: [indexJson(tensors, weightMap)] });
    names.push(INDEX_FILE);
  }
  await makeFolder(folder, fileSystem);
  await replaceFiles(files, fileSystem);
  try {
    await removeStale(folder, names, fileSystem);
    await fileSystem.syncFolder(folder);
  } catch (error) {
    throw fileError(error, folder, 'write');
  }
  return names;
}

function cutIntoShards(tensors: readonly TensorToWrite[], limit: number): TensorToWrite[][] {
  const shards: TensorToWrite[][] = [[]];
  let filled = 0;
  for (const tensor of tensors) {
    const size = storedBytes(tensor);
    if (!(size <= limit)) {
      throw new Emu3Error(`The tensor has ${size} bytes, more than a shard may hold (${limit}).`, {
        code: 'limit',
        where: tensor.name,
        fix: 'Raise maxShardBytes; a tensor lies in one file.',
      });
    }
    if (filled > 0 && filled + size > limit) {
      shards.push([]);
      filled = 0;
    }
    shards.at(-1)?.push(tensor);
    filled += size;
  }
  return shards;
}

function indexJson(tensors: readonly TensorToWrite[], weightMap: readonly [string, string][]): Uint8Array {
  const totalSize = tensors.reduce((sum, tensor) => sum + storedBytes(tensor), 0);
  const index = { metadata: { total_size: totalSize }, weight_map: Object.fromEntries(weightMap) };
  return new TextEncoder().encode(`${JSON.stringify(index, null, 2)}\n`);
}

async function removeStale(folder: string, written: readonly string[], fileSystem: SaveFileSystem): Promise<void> {
  for (const name of await fileSystem.list(folder)) {
    const ofModel = name === SINGLE_FILE || name === INDEX_FILE || SHARD_NAME.test(name) || LEFT_OVER.test(name);
    if (ofModel && !written.includes(name)) await fileSystem.remove(join(folder, name));
  }
}

async function makeFolder(folder: string, fileSystem: SaveFileSystem): Promise<void> {
  try {
    await fileSystem.makeFolder(folder);
  } catch (error) {
    throw fileError(error, folder, 'write');
  }
}
