import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { throwIfAborted } from '../kernels/core/errors.js';
import type { ModelFolder } from './folder.js';
import { fileError, isNotFound } from './io-error.node.js';
import { openFileSource } from './source.node.js';

/** A model folder on disk. Nothing is touched until a file is asked for. */
export function diskFolder(path: string): ModelFolder {
  return {
    name: path,
    list: async (inside = '') => {
      const place = join(path, inside);
      try {
        return await readdir(place);
      } catch (error) {
        throw fileError(error, place, 'read');
      }
    },
    exists: async (file) => {
      try {
        return (await stat(join(path, file))).isFile();
      } catch (error) {
        if (isNotFound(error)) return false;
        throw fileError(error, join(path, file), 'read');
      }
    },
    readText: async (file, signal) => {
      throwIfAborted(signal, join(path, file));
      try {
        return await readFile(join(path, file), 'utf8');
      } catch (error) {
        throw fileError(error, join(path, file), 'read');
      }
    },
    open: (file) => openFileSource(join(path, file)),
  };
}
