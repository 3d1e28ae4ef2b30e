import { Emu3Error } from '../kernels/core/errors.js';

const DISK_FULL = new Set(['ENOSPC', 'EDQUOT', 'EFBIG']);

function systemCode(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
}

/** True for the system's "no such file or folder". */
export function isNotFound(error: unknown): boolean {
  return systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR';
}

/** Turns a failure of the file system into the package's error: `missing`, `disk-full` or `io`. */
export function fileError(error: unknown, path: string, doing: 'read' | 'write'): Emu3Error {
  if (error instanceof Emu3Error) return error;
  const code = systemCode(error);
  if (DISK_FULL.has(code)) {
    return new Emu3Error(`The disk is full (${code}); the earlier file, if any, is unchanged.`, {
      code: 'disk-full',
      where: path,
      fix: 'Free some space or choose another folder, then save again.',
      cause: error,
    });
  }
  if (isNotFound(error)) {
    return new Emu3Error('There is no such file or folder.', {
      code: 'missing',
      where: path,
      fix: 'Check the path.',
      cause: error,
    });
  }
  return new Emu3Error(`The file system refused to ${doing} (${code || String(error)}).`, {
    code: 'io',
    where: path,
    fix: 'Check the path and its permissions.',
    cause: error,
  });
}
