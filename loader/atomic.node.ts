import { mkdir, open, readdir, rename, rm, truncate } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { fileError } from './io-error.node.js';

/** The part of a file handle that saving uses. */
export interface WriteHandle {
  write(bytes: Uint8Array, offset: number, length: number): Promise<{ bytesWritten: number }>;
  sync(): Promise<void>;
  close(): Promise<void>;
}

/** The file-system calls that saving uses, so that a full disk or a kill can be rehearsed. */
export interface SaveFileSystem {
  /** Creates or empties the file. */
  create(path: string): Promise<WriteHandle>;
  /** Writes behind what the file holds, and creates it where there is none. */
  append(path: string): Promise<WriteHandle>;
  /** Cuts a file off after so many bytes. */
  truncate(path: string, bytes: number): Promise<void>;
  /** Makes the entries of a folder durable. */
  syncFolder(path: string): Promise<void>;
  makeFolder(path: string): Promise<void>;
  list(path: string): Promise<string[]>;
  rename(from: string, to: string): Promise<void>;
  /** Removes a file or folder; no error when it is not there. */
  remove(path: string): Promise<void>;
}

/** The real thing. */
export const diskFileSystem: SaveFileSystem = {
  create: (path) => open(path, 'w'),
  append: (path) => open(path, 'a'),
  truncate: (path, bytes) => truncate(path, bytes),
  syncFolder: async (path) => {
    let handle: FileHandle;
    try {
      handle = await open(path, 'r');
    } catch {
      // Windows cannot open folders; its renames are durable without this.
      return;
    }
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  },
  makeFolder: async (path) => {
    await mkdir(path, { recursive: true });
  },
  list: (path) => readdir(path),
  rename: (from, to) => rename(from, to),
  remove: (path) => rm(path, { recursive: true, force: true }),
};

/** Writes all of `bytes`, however short the single writes are. */
export async function writeFully(handle: WriteHandle, bytes: Uint8Array): Promise<void> {
  let position = 0;
  while (position < bytes.byteLength) {
    const { bytesWritten } = await handle.write(bytes, position, bytes.byteLength - position);
    position += bytesWritten;
  }
}

let temporaryCount = 0;

/** A name beside `path` that no other save of this machine uses. */
export function temporaryPath(path: string): string {
  return `${path}.${process.pid}-${temporaryCount++}.tmp`;
}

/**
 * Writes a new file and makes its bytes durable. On failure the part already written is removed.
 * @throws Emu3Error `disk-full`, `io`, or what `content` throws.
 */
export async function writeDurably(
  path: string,
  content: FileContent['content'],
  fileSystem: SaveFileSystem,
): Promise<void> {
  try {
    const handle = await fileSystem.create(path);
    try {
      for await (const piece of content) await writeFully(handle, piece);
      await handle.sync();
    } finally {
      await handle.close();
    }
  } catch (error) {
    await removeQuietly(path, fileSystem);
    throw fileError(error, path, 'write');
  }
}

/** What a file is to hold. */
export interface FileContent {
  readonly path: string;
  readonly content: AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
}

/**
 * Replaces `path` by `content` all at once: a reader, or the next start after a kill, sees the old file or the new one.
 * @throws Emu3Error `disk-full`, `io`, or what `content` throws; the old file is intact then and nothing else is left.
 */
export async function replaceFile(
  path: string,
  content: FileContent['content'],
  fileSystem: SaveFileSystem = diskFileSystem,
): Promise<void> {
  await replaceFiles([{ path, content }], fileSystem);
}

/**
 * Replaces files of one folder. All content is on disk under temporary names before the first old file is replaced, so
 * only a kill during the renames that follow can leave a mixture.
 * @throws Emu3Error as {@link replaceFile}.
 */
export async function replaceFiles(
  files: readonly FileContent[],
  fileSystem: SaveFileSystem = diskFileSystem,
): Promise<void> {
  const staged: { temporary: string; path: string }[] = [];
  try {
    for (const { path, content } of files) {
      const temporary = temporaryPath(path);
      staged.push({ temporary, path });
      await writeDurably(temporary, content, fileSystem);
    }
    for (const { temporary, path } of staged) await fileSystem.rename(temporary, path);
    for (const folder of new Set(files.map(({ path }) => dirname(path)))) await fileSystem.syncFolder(folder);
  } catch (error) {
    for (const { temporary } of staged) await removeQuietly(temporary, fileSystem);
    throw fileError(error, staged.at(-1)?.path ?? '', 'write');
  }
}

/** Clean-up after a failure must not hide the failure. */
export async function removeQuietly(path: string, fileSystem: SaveFileSystem): Promise<void> {
  try {
    await fileSystem.remove(path);
  } catch {
    // The first error is the one worth reporting.
  }
}
