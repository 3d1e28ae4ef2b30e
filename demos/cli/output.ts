import { constants } from 'node:fs';
import { access, mkdir, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { Emu3Error } from '../../kernels/core/errors.js';
import { replaceFile } from '../../loader/index.node.js';

/**
 * Refuses an output file that could not be written, before any work is spent on it.
 * @throws Emu3Error `missing` for a folder that is not there, `io` for one that refuses writing or a path that is a folder.
 */
export async function checkOutput(path: string): Promise<void> {
  await checkWritableParent(path);
  if ((await kindOf(path)) === 'folder') {
    throw new Emu3Error('The output path is a folder.', {
      code: 'io',
      where: path,
      fix: 'Give the name of a file in it.',
    });
  }
}

/** @throws Emu3Error `missing` for a folder that is not there, `io` for one that refuses writing. */
export async function checkWritableParent(path: string): Promise<void> {
  const folder = dirname(resolve(path));
  const kind = await kindOf(folder);
  if (kind !== 'folder') {
    throw new Emu3Error(kind === 'file' ? 'The output folder is a file.' : 'The output folder does not exist.', {
      code: 'missing',
      where: folder,
      fix: 'Create the folder, or give another path.',
    });
  }
  await checkWritable(folder);
}

/** Makes an output folder. @throws Emu3Error `io` when it cannot be made or written to. */
export async function makeOutputFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true });
  } catch (cause) {
    throw notWritable(folder, cause);
  }
  await checkWritable(folder);
}

async function checkWritable(folder: string): Promise<void> {
  try {
    await access(folder, constants.W_OK);
  } catch (cause) {
    throw notWritable(folder, cause);
  }
}

function notWritable(folder: string, cause: unknown): Emu3Error {
  return new Emu3Error('The output folder cannot be written to.', {
    code: 'io',
    where: folder,
    fix: 'Choose another folder, or change its permissions.',
    cause,
  });
}

export async function kindOf(path: string): Promise<'file' | 'folder' | 'absent'> {
  try {
    return (await stat(path)).isDirectory() ? 'folder' : 'file';
  } catch {
    return 'absent';
  }
}

/** Writes a file all at once or not at all. */
export async function writeOutput(path: string, content: Uint8Array | string): Promise<void> {
  await replaceFile(path, [typeof content === 'string' ? new TextEncoder().encode(content) : content]);
}

export function jsonText(value: unknown): string {
  return `${JSON.stringify(value, undefined, 2)}\n`;
}
