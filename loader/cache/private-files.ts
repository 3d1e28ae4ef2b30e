import { Emu3Error } from '../../kernels/core/errors.js';
import { blobSource } from '../source.js';
import { entryFile, entryKey, type CacheEntry, type CacheStore } from './store.js';

/**
 * Packed models in the browser's origin-private file system (File System Standard, WHATWG).
 *
 * @param folder name of a folder at its top.
 * @throws Emu3Error `unsupported` where the browser has none, as outside secure contexts.
 */
export async function privateFileCache(folder = 'emu3-webgpu'): Promise<CacheStore> {
  const name = `private files: ${folder}`;
  let place: FileSystemDirectoryHandle;
  try {
    place = await (await navigator.storage.getDirectory()).getDirectoryHandle(folder, { create: true });
  } catch (cause) {
    throw new Emu3Error('The browser gives no private file system.', {
      code: 'unsupported',
      where: name,
      fix: 'Serve the page over HTTPS or from localhost, or load without a cache.',
      cause,
    });
  }
  return {
    name,
    list: async () => {
      const entries: CacheEntry[] = [];
      for await (const [file, handle] of place.entries()) {
        const key = entryKey(file);
        if (key === undefined || !isFile(handle)) continue;
        const { size, lastModified } = await handle.getFile();
        entries.push({ key, bytes: size, modified: new Date(lastModified) });
      }
      return entries.sort((a, b) => (a.key < b.key ? -1 : 1));
    },
    open: async (key) => {
      try {
        const handle = await place.getFileHandle(entryFile(key, name));
        return blobSource(`${name}/${key}`, await handle.getFile());
      } catch (error) {
        if (isNamed(error, 'NotFoundError')) return undefined;
        throw storageError(error, name);
      }
    },
    write: async (key, content) => {
      const file = entryFile(key, name);
      let stream: FileSystemWritableFileStream | undefined;
      try {
        const handle = await place.getFileHandle(file, { create: true });
        // What is written appears under the name when the stream is closed.
        stream = await handle.createWritable();
        for await (const piece of content) await stream.write(piece as FileSystemWriteChunkType);
        await stream.close();
      } catch (error) {
        await stream?.abort().catch(() => undefined);
        await dropEmpty(place, file);
        throw storageError(error, name);
      }
    },
    remove: async (key) => {
      try {
        await place.removeEntry(entryFile(key, name));
        return true;
      } catch (error) {
        if (isNamed(error, 'NotFoundError')) return false;
        throw storageError(error, name);
      }
    },
  };
}

function isFile(handle: FileSystemHandle): handle is FileSystemFileHandle {
  return handle.kind === 'file';
}

/** A file that was made for a first write that failed has nothing in it. */
async function dropEmpty(place: FileSystemDirectoryHandle, file: string): Promise<void> {
  try {
    const { size } = await (await place.getFileHandle(file)).getFile();
    if (size === 0) await place.removeEntry(file);
  } catch {
    // The failure of the write is the one worth reporting.
  }
}

function isNamed(error: unknown, name: string): boolean {
  return error instanceof DOMException && error.name === name;
}

function storageError(error: unknown, where: string): Emu3Error {
  if (error instanceof Emu3Error) return error;
  if (isNamed(error, 'QuotaExceededError')) {
    return new Emu3Error("The browser's quota for this page is used up; the earlier entry, if any, is unchanged.", {
      code: 'disk-full',
      where,
      fix: 'Remove packed models that are not needed, or load without a cache.',
      cause: error,
    });
  }
  return new Emu3Error(`The private file system refused (${String(error)}).`, {
    code: 'io',
    where,
    fix: 'Close other tabs of this page, or load without a cache.',
    cause: error,
  });
}
