import { Emu3Error } from '../kernels/core/errors.js';
import { memorySource } from './source.js';
import type { ByteSource } from './source.js';
import { httpExists, httpText, openHttpSource } from './http/source.js';
import type { HttpOptions } from './http/request.js';

/** A folder that holds a model, on disk, behind HTTP or in memory. Paths are relative, with forward slashes. */
export interface ModelFolder {
  /** Path or address of the folder, as it appears in error messages. */
  readonly name: string;
  /** File names directly in the folder, or in one inside it; where the place can list them. */
  list?(inside?: string): Promise<string[]>;
  exists(path: string, signal?: AbortSignal): Promise<boolean>;
  /** The whole of a small text file (config, index, tokenizer). */
  readText(path: string, signal?: AbortSignal): Promise<string>;
  open(path: string, signal?: AbortSignal): Promise<ByteSource>;
}

/**
 * Refuses paths that would leave the folder: shard names come out of a downloaded index.
 * @throws Emu3Error `format`.
 */
export function assertInsideFolder(path: string, where: string): void {
  const unsafe =
    path === '' || /[\\:\0]|^\//.test(path) || path.split('/').some((part) => part === '..' || part === '');
  if (unsafe) {
    throw new Emu3Error(`The file name "${path.slice(0, 120)}" points outside the model folder.`, {
      code: 'format',
      where,
      fix: 'Use a plain relative file name.',
    });
  }
}

/** Joins for messages only. */
export function describePath(folder: { name: string }, path: string): string {
  return folder.name.endsWith('/') ? folder.name + path : `${folder.name}/${path}`;
}

/** A folder within a folder. */
export function subfolder(folder: ModelFolder, path: string): ModelFolder {
  const inside = (file: string): string => `${path}/${file}`;
  const list = folder.list?.bind(folder);
  return {
    name: describePath(folder, path),
    ...(list && { list: (deeper) => list(deeper === undefined ? path : inside(deeper)) }),
    exists: (file, signal) => folder.exists(inside(file), signal),
    readText: (file, signal) => folder.readText(inside(file), signal),
    open: (file, signal) => folder.open(inside(file), signal),
  };
}

/** Of paths, the names of those directly in a folder. */
export function namesIn(paths: Iterable<string>, folder = ''): string[] {
  const prefix = folder === '' ? '' : `${folder}/`;
  return [...paths]
    .filter((path) => path.startsWith(prefix))
    .map((path) => path.slice(prefix.length))
    .filter((name) => !name.includes('/'));
}

function missingFileError(where: string): Emu3Error {
  return new Emu3Error('There is no such file.', {
    code: 'missing',
    where,
    fix: 'Check the model folder; download the missing file into it.',
  });
}

/** A model held in memory: file name -> content. */
export function memoryFolder(name: string, files: ReadonlyMap<string, Uint8Array | string>): ModelFolder {
  const find = (path: string): Uint8Array => {
    const content = files.get(path);
    if (content === undefined) throw missingFileError(`${name}/${path}`);
    return typeof content === 'string' ? new TextEncoder().encode(content) : content;
  };
  return {
    name,
    list: (inside) => Promise.resolve(namesIn(files.keys(), inside)),
    exists: (path) => Promise.resolve(files.has(path)),
    readText: (path) => Promise.resolve(path).then((file) => new TextDecoder().decode(find(file))),
    open: (path) => Promise.resolve(path).then((file) => memorySource(`${name}/${file}`, find(file))),
  };
}

/**
 * A model behind HTTP, e.g. a hub repository's `…/resolve/main/`. The server must answer Range requests.
 * @param base absolute address of the folder, with or without a slash at the end
 */
export function urlFolder(base: string, options: HttpOptions = {}): ModelFolder {
  const root = base.endsWith('/') ? base : `${base}/`;
  const address = (path: string): string => root + path.split('/').map(encodeURIComponent).join('/');
  const withSignal = (signal: AbortSignal | undefined): HttpOptions =>
    signal === undefined ? options : { ...options, signal };
  return {
    name: root,
    exists: (path, signal) => httpExists(address(path), withSignal(signal)),
    readText: (path, signal) => httpText(address(path), withSignal(signal)),
    open: (path, signal) => openHttpSource(address(path), withSignal(signal)),
  };
}
