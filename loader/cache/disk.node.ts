import { mkdir, readdir, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { Emu3Error } from '../../kernels/core/errors.js';
import { diskFileSystem, replaceFile } from '../atomic.node.js';
import { fileError, isNotFound } from '../io-error.node.js';
import { openFileSource } from '../source.node.js';
import { entryFile, entryKey, type CacheEntry, type CacheStore } from './store.js';

/** The user's cache folder: `EMU3_CACHE`, or where the system keeps caches. */
export function defaultCacheFolder(environment: NodeJS.ProcessEnv = process.env): string {
  const { EMU3_CACHE, XDG_CACHE_HOME, LOCALAPPDATA } = environment;
  if (EMU3_CACHE !== undefined && EMU3_CACHE !== '') return EMU3_CACHE;
  if (process.platform === 'win32' && LOCALAPPDATA !== undefined) return join(LOCALAPPDATA, 'emu3-webgpu', 'cache');
  if (process.platform === 'darwin') return join(homedir(), 'Library', 'Caches', 'emu3-webgpu');
  return join(XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'emu3-webgpu');
}

/** Packed models as files of a folder, which is made when the first is written. Several processes may share it. */
export function diskCache(folder: string = defaultCacheFolder()): CacheStore {
  const pathOf = (key: string): string => join(folder, entryFile(key, folder));
  return {
    name: folder,
    list: async () => {
      const entries: CacheEntry[] = [];
      for (const file of await names(folder)) {
        const key = entryKey(file);
        const found = key === undefined ? undefined : await statOf(join(folder, file));
        if (key !== undefined && found) entries.push({ key, bytes: found.size, modified: found.mtime });
      }
      return entries;
    },
    open: async (key) => {
      try {
        return await openFileSource(pathOf(key));
      } catch (error) {
        if (error instanceof Emu3Error && error.code === 'missing') return undefined;
        throw error;
      }
    },
    write: async (key, content) => {
      const path = pathOf(key);
      try {
        await mkdir(folder, { recursive: true });
      } catch (error) {
        throw fileError(error, folder, 'write');
      }
      await replaceFile(path, content);
    },
    remove: async (key) => {
      const path = pathOf(key);
      if ((await statOf(path)) === undefined) return false;
      try {
        await diskFileSystem.remove(path);
      } catch (error) {
        throw fileError(error, path, 'write');
      }
      return true;
    },
  };
}

async function names(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).sort();
  } catch (error) {
    if (isNotFound(error)) return [];
    throw fileError(error, folder, 'read');
  }
}

/** Undefined for a file that is gone: another process may have removed it meanwhile. */
async function statOf(path: string): Promise<{ size: number; mtime: Date } | undefined> {
  try {
    return await stat(path);
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw fileError(error, path, 'read');
  }
}
