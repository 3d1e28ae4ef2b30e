import { Emu3Error } from '../../kernels/core/errors.js';
import type { ByteSource } from '../source.js';

const ending = '.safetensors';

/** A packed model that is kept. */
export interface CacheEntry {
  readonly key: string;
  readonly bytes: number;
  /** When it was written, where the place knows. */
  readonly modified: Date | undefined;
}

/** Where packed models are kept between loads: a folder on disk, or the browser's private file system. */
export interface CacheStore {
  /** Of the place, for messages. */
  readonly name: string;
  list(): Promise<CacheEntry[]>;
  /** Undefined when there is no such entry. The caller closes the source. */
  open(key: string): Promise<ByteSource | undefined>;
  /**
   * Puts an entry in place of an older one once all of it is there.
   *
   * @throws Emu3Error `disk-full`, `io`, or what `content` throws; the older entry is intact then.
   */
  write(key: string, content: AsyncIterable<Uint8Array>): Promise<void>;
  /** @returns whether there was one. */
  remove(key: string): Promise<boolean>;
}

/** The file of an entry. @throws Emu3Error `argument` for a key that is none. */
export function entryFile(key: string, where: string): string {
  if (/^[\w-]+$/.test(key)) return key + ending;
  throw new Emu3Error(`"${key.slice(0, 80)}" is no key of a packed model.`, {
    code: 'argument',
    where,
    fix: 'Give a key as it is listed.',
  });
}

/** The key of an entry's file; undefined for other files. */
export function entryKey(file: string): string | undefined {
  return file.endsWith(ending) ? file.slice(0, -ending.length) : undefined;
}
