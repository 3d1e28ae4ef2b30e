import { diskFileSystem } from '../../loader/index.node.js';
import type { SaveFileSystem, WriteHandle } from '../../loader/index.node.js';

function systemError(code: string): Error {
  return Object.assign(new Error(`${code}: rehearsed`), { code });
}

/** The handle, calling `before` ahead of every step. */
function rehearsedHandle(handle: WriteHandle, before: (step: string) => void): WriteHandle {
  return {
    write: async (bytes, offset, length) => {
      before('write');
      // Short writes are legal; the caller has to go on with the rest.
      return handle.write(bytes, offset, Math.min(length, 1000));
    },
    sync: async () => {
      before('sync');
      await handle.sync();
    },
    close: async () => {
      await handle.close();
      before('close');
    },
  };
}

/** The real file system, calling `before` ahead of every step it takes; `before` throws to make the step fail. */
function rehearsedFileSystem(before: (step: string, path: string) => void): SaveFileSystem {
  return {
    create: async (path) => {
      before('create', path);
      return rehearsedHandle(await diskFileSystem.create(path), (step) => before(step, path));
    },
    append: async (path) => {
      before('append', path);
      return rehearsedHandle(await diskFileSystem.append(path), (step) => before(step, path));
    },
    truncate: async (path, bytes) => {
      before('truncate', path);
      await diskFileSystem.truncate(path, bytes);
    },
    syncFolder: async (path) => {
      before('syncFolder', path);
      await diskFileSystem.syncFolder(path);
    },
    makeFolder: async (path) => {
      before('makeFolder', path);
      await diskFileSystem.makeFolder(path);
    },
    list: async (path) => {
      before('list', path);
      return diskFileSystem.list(path);
    },
    rename: async (from, to) => {
      before('rename', to);
      await diskFileSystem.rename(from, to);
    },
    remove: async (path) => {
      before('remove', path);
      await diskFileSystem.remove(path);
    },
  };
}

/** Fails the `failing`-th step and, like a killed process, every step after it: no clean-up happens either. */
export function killedAt(failing: number): { fileSystem: SaveFileSystem; steps: () => number } {
  let steps = 0;
  const fileSystem = rehearsedFileSystem(() => {
    if (steps++ >= failing) throw systemError('EIO');
  });
  return { fileSystem, steps: () => steps };
}

/** A disk with room for `bytes` of writes. */
export function diskWithRoom(writes: number, code = 'ENOSPC'): SaveFileSystem {
  let left = writes;
  return rehearsedFileSystem((step) => {
    if (step === 'write' && left-- <= 0) throw systemError(code);
  });
}
