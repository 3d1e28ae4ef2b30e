import { randomUUID } from 'node:crypto';
import { access, chmod, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { dirname, join, resolve, sep } from 'node:path';
import { promisify } from 'node:util';
import { brotliDecompress } from 'node:zlib';
import { Emu3Error } from '../../kernels/core/errors.js';

const decompress = promisify(brotliDecompress);
const block = 512;

export interface TarEntry {
  /** Path inside the archive, with `/`. */
  name: string;
  /** Unix permission bits. */
  mode: number;
  data: Uint8Array;
}

/**
 * The regular files of a POSIX tar archive; folders, links and extended headers are passed over.
 * @throws Emu3Error `format` when the archive ends inside a file.
 */
export function* readTar(archive: Uint8Array, where: string): Generator<TarEntry> {
  const text = (from: number, length: number): string => {
    const field = archive.subarray(from, from + length);
    const end = field.indexOf(0);
    return new TextDecoder().decode(end < 0 ? field : field.subarray(0, end)).trim();
  };
  for (let at = 0; at + block <= archive.length && archive[at] !== 0;) {
    const size = Number.parseInt(text(at + 124, 12) || '0', 8);
    const start = at + block;
    if (!Number.isSafeInteger(size) || start + size > archive.length) {
      throw new Emu3Error('The archive is cut short.', {
        code: 'format',
        where,
        fix: 'Delete node_modules and install the packages again.',
      });
    }
    const prefix = text(at + 345, 155);
    const kind = archive[at + 156];
    if (kind === 0 || kind === 0x30) {
      yield {
        name: (prefix && `${prefix}/`) + text(at, 100),
        mode: Number.parseInt(text(at + 100, 8) || '644', 8) & 0o777,
        data: archive.subarray(start, start + size),
      };
    }
    at = start + Math.ceil(size / block) * block;
  }
}

/** Where unpacked drivers and browsers are kept between runs: one folder per user. */
export function cacheRoot(): string {
  const base =
    process.platform === 'win32'
      ? (process.env['LOCALAPPDATA'] ?? join(homedir(), 'AppData', 'Local'))
      : process.platform === 'darwin'
        ? join(homedir(), 'Library', 'Caches')
        : (process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'));
  return join(base, 'emu3-webgpu');
}

/**
 * Unpacks `.tar.br` and single-file `.br` archives into `<cache>/<name>` once, and returns that folder. The folder
 * appears by one rename, so two processes that start together cannot see half of it, and falls back to the
 * temporary folder when the cache cannot be written.
 * @param name Folder name; carry the version in it, since an existing folder is taken as it is.
 * @param archives Paths ending in `.tar.br` or `.br`; a single file keeps its name without `.br` and is executable.
 */
export async function unpackOnce(name: string, archives: readonly string[]): Promise<string> {
  const roots = [cacheRoot(), join(tmpdir(), `emu3-webgpu-${String(process.getuid?.() ?? 'user')}`)];
  const ready = roots.map((root) => join(root, name));
  for (const folder of ready) {
    if (await exists(folder)) return folder;
  }
  let problem: unknown;
  for (const folder of ready) {
    const unfinished = `${folder}.${randomUUID()}`;
    try {
      for (const archive of archives) await unpackInto(unfinished, archive);
      try {
        await rename(unfinished, folder);
      } catch (error) {
        if (!(await exists(folder))) throw error;
      }
      return folder;
    } catch (error) {
      if (error instanceof Emu3Error) throw error;
      problem = error;
    } finally {
      await rm(unfinished, { recursive: true, force: true });
    }
  }
  throw new Emu3Error(`Could not unpack ${name}.`, {
    code: 'io',
    where: ready.join(', '),
    fix: 'Free some disk space, or set XDG_CACHE_HOME to a folder you can write.',
    cause: problem,
  });
}

async function unpackInto(folder: string, archive: string): Promise<void> {
  const bytes = await decompress(await readFile(archive));
  const entries = archive.endsWith('.tar.br')
    ? readTar(bytes, archive)
    : [{ name: archive.slice(archive.lastIndexOf(sep) + 1, -'.br'.length), mode: 0o755, data: bytes }];
  for (const entry of entries) {
    const path = resolve(folder, entry.name);
    if (!path.startsWith(resolve(folder) + sep)) continue;
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, entry.data);
    await chmod(path, entry.mode);
  }
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
