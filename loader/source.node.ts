import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { Emu3Error, throwIfAborted } from '../kernels/core/errors.js';
import { fileError } from './io-error.node.js';
import { assertRange, truncatedError } from './source.js';
import type { ByteSource } from './source.js';

/** The kernel returns at most 2 GiB a call. */
const MAX_READ = 1 << 30;

/**
 * A file on disk, read by position; it stays open until `close`.
 * @throws Emu3Error `missing`, `io`; from `read`: `format` when the file is shorter than it was when opened.
 */
export async function openFileSource(path: string): Promise<ByteSource> {
  let handle: FileHandle;
  let size: number;
  let version: string;
  try {
    handle = await open(path, 'r');
  } catch (error) {
    throw fileError(error, path, 'read');
  }
  try {
    const stat = await handle.stat();
    if (!stat.isFile()) {
      throw new Emu3Error('This is not a file.', { code: 'io', where: path, fix: 'Give the path of a file.' });
    }
    size = stat.size;
    version = String(stat.mtimeMs);
  } catch (error) {
    await handle.close();
    throw fileError(error, path, 'read');
  }
  const source: ByteSource = {
    name: path,
    size,
    version,
    read: async (offset, length, signal) => {
      assertRange(source, offset, length);
      const bytes = new Uint8Array(length);
      let filled = 0;
      while (filled < length) {
        throwIfAborted(signal, path);
        let bytesRead: number;
        try {
          const wanted = Math.min(MAX_READ, length - filled);
          ({ bytesRead } = await handle.read(bytes, filled, wanted, offset + filled));
        } catch (error) {
          throw fileError(error, path, 'read');
        }
        if (bytesRead === 0) throw truncatedError(path, offset, length, filled);
        filled += bytesRead;
      }
      return bytes;
    },
    close: () => handle.close(),
  };
  return source;
}
