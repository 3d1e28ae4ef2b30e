import { Emu3Error } from '../../kernels/core/errors.js';
import { assertInsideFolder, describePath } from '../folder.js';
import type { ModelFolder } from '../folder.js';
import { isRecord, parseJsonObject, shorten } from '../json.js';
import type { TensorInfo } from './header.js';
import { SafetensorsFile, missingTensor } from './reader.js';
import type { FloatReadOptions, ReadOptions, TensorTile } from './reader.js';

export const SINGLE_FILE = 'model.safetensors';
export const INDEX_FILE = 'model.safetensors.index.json';

/** The tensors of a model, in one file or several shards. Only headers are read until a tensor is asked for. */
export interface Checkpoint {
  /** The folder, for messages. */
  readonly name: string;
  /** File by file, in the order of their bytes. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly metadata: ReadonlyMap<string, string>;
  /** Tells this content of the files from any other; undefined where their place cannot. */
  readonly version: string | undefined;
  /** The tensor's bytes as stored. */
  readRaw(name: string, options?: ReadOptions): Promise<Uint8Array>;
  /** The tensor's bytes in order, at most `tileBytes` at a time, cut at whole elements. */
  stream(name: string, tileBytes: number, options?: ReadOptions): AsyncGenerator<TensorTile>;
  /** The tensor widened exactly to float32; with `checkFinite`, NaN and infinities are refused by name and index. */
  readFloat32(name: string, options?: FloatReadOptions): Promise<Float32Array>;
  /** An integer tensor as int32. */
  readInt32(name: string, options?: ReadOptions): Promise<Int32Array>;
  /**
   * To be called when all has been read that is wanted: compares the files with the hashes that their place tells, if any.
   * @throws Emu3Error `format` for another content, `io`, `aborted`.
   */
  verify(options?: ReadOptions): Promise<void>;
  close(): Promise<void>;
}

export interface OpenOptions extends ReadOptions {
  /** The file to open instead of looking for `model.safetensors` or its index. */
  file?: string;
}

/**
 * Opens the checkpoint of a model folder: `model.safetensors` where it exists, else the shards of
 * `model.safetensors.index.json`, else the only `.safetensors` file of a folder that can be listed.
 * @throws Emu3Error `missing` (no checkpoint, shard or tensor), `duplicate` (a tensor in two shards), and whatever the
 *   header check of a shard reports. Every file is closed again then.
 */
export async function openCheckpoint(folder: ModelFolder, options: OpenOptions = {}): Promise<Checkpoint> {
  const { signal } = options;
  const file = options.file ?? (await findFile(folder, signal));
  if (!file.endsWith('.json')) {
    const single = await SafetensorsFile.open(await folder.open(file, signal), signal);
    return checkpointOf(folder.name, [single]);
  }
  const where = describePath(folder, file);
  const weightMap = parseIndex(await folder.readText(file, signal), where);
  const shards = new Map<string, SafetensorsFile>();
  try {
    for (const shard of new Set(weightMap.values())) {
      shards.set(shard, await openShard(folder, shard, where, signal));
    }
    for (const [tensor, shard] of weightMap) {
      if (!shards.get(shard)?.tensors.has(tensor)) {
        throw new Emu3Error(`The index places "${shorten(tensor)}" in ${shard}, which does not hold it.`, {
          code: 'missing',
          where,
          fix: 'Download the shard and the index again, from the same revision.',
        });
      }
    }
    return checkpointOf(folder.name, [...shards.values()]);
  } catch (error) {
    for (const shard of shards.values()) await shard.close();
    throw error;
  }
}

async function findFile(folder: ModelFolder, signal: AbortSignal | undefined): Promise<string> {
  if (await folder.exists(SINGLE_FILE, signal)) return SINGLE_FILE;
  if (await folder.exists(INDEX_FILE, signal)) return INDEX_FILE;
  const others = ((await folder.list?.()) ?? []).filter((name) => name.endsWith('.safetensors'));
  const only = others.at(0);
  if (only !== undefined && others.length === 1) return only;
  throw new Emu3Error(`There is neither ${SINGLE_FILE} nor ${INDEX_FILE}.`, {
    code: 'missing',
    where: folder.name,
    fix: 'Point to the folder that holds the weights, or name the file.',
  });
}

function parseIndex(text: string, where: string): Map<string, string> {
  const index = parseJsonObject(text, where);
  const weightMap = index['weight_map'];
  if (!isRecord(weightMap)) {
    throw new Emu3Error('The index has no "weight_map" object.', {
      code: 'format',
      where,
      fix: 'Download the index again.',
    });
  }
  const result = new Map<string, string>();
  for (const [tensor, shard] of Object.entries(weightMap)) {
    if (typeof shard !== 'string') {
      throw new Emu3Error(`The index names no file for "${shorten(tensor)}".`, {
        code: 'format',
        where,
        fix: 'Download the index again.',
      });
    }
    assertInsideFolder(shard, where);
    result.set(tensor, shard);
  }
  return result;
}

async function openShard(
  folder: ModelFolder,
  shard: string,
  index: string,
  signal: AbortSignal | undefined,
): Promise<SafetensorsFile> {
  try {
    return await SafetensorsFile.open(await folder.open(shard, signal), signal);
  } catch (error) {
    if (!(error instanceof Emu3Error) || error.code !== 'missing') throw error;
    throw new Emu3Error(`The shard ${shard} of ${index} is missing.`, {
      code: 'missing',
      where: describePath(folder, shard),
      fix: 'Download the missing shard into the folder.',
      cause: error,
    });
  }
}

function checkpointOf(name: string, files: readonly SafetensorsFile[]): Checkpoint {
  const tensors = new Map<string, TensorInfo>();
  const owners = new Map<string, SafetensorsFile>();
  const metadata = new Map<string, string>();
  for (const file of files) {
    for (const [key, value] of file.metadata) metadata.set(key, value);
    for (const [tensor, info] of file.tensors) {
      const other = tensors.get(tensor);
      if (other) {
        throw new Emu3Error(`The tensor "${shorten(tensor)}" lies in ${other.file} and in ${info.file}.`, {
          code: 'duplicate',
          where: name,
          fix: 'Remove the shard that does not belong to this model.',
        });
      }
      tensors.set(tensor, info);
      owners.set(tensor, file);
    }
  }
  const owner = (tensor: string): SafetensorsFile => {
    const file = owners.get(tensor);
    if (!file) throw missingTensor(name, tensor);
    return file;
  };
  return {
    name,
    tensors,
    metadata,
    version: versionOf(files),
    readRaw: async (tensor, options) => owner(tensor).readRaw(tensor, options),
    stream: (tensor, tileBytes, options) => owner(tensor).stream(tensor, tileBytes, options),
    readFloat32: async (tensor, options) => owner(tensor).readFloat32(tensor, options),
    readInt32: async (tensor, options) => owner(tensor).readInt32(tensor, options),
    verify: async (options) => {
      for (const file of files) await file.verify(options);
    },
    close: async () => {
      for (const file of files) await file.close();
    },
  };
}

function versionOf(files: readonly SafetensorsFile[]): string | undefined {
  const versions = files.map(({ version }) => version);
  return versions.includes(undefined) ? undefined : versions.join('\n');
}
