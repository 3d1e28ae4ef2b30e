import { createHash, type Hash } from 'node:crypto';
import { Emu3Error } from '../../kernels/core/errors.js';
import { assertRange, type ByteSource } from '../source.js';

/** What the hub lists of a file's content, in hexadecimal. */
export interface ListedHash {
  /** `git`: SHA-1 of the content as a Git blob. */
  readonly kind: 'sha256' | 'git';
  readonly value: string;
}

/** Bytes that nobody asked for and that are read along at most, so that what lies around them can be hashed. */
const readAlongBytes = 1 << 20;

/** The hash of a content that arrives piece by piece. */
class ContentHash {
  private readonly hash: Hash;
  private readonly listed: ListedHash;

  /** @param size bytes of the content. */
  constructor(listed: ListedHash, size: number) {
    this.listed = listed;
    this.hash = listed.kind === 'git' ? createHash('sha1').update(`blob ${size}\0`) : createHash('sha256');
  }

  add(bytes: Uint8Array): void {
    this.hash.update(bytes);
  }

  /** @throws Emu3Error `format` unless the content is the listed one. */
  compare(where: string): void {
    const found = this.hash.digest('hex');
    const { kind, value } = this.listed;
    if (found === value) return;
    const name = kind === 'git' ? 'Git hash' : 'SHA-256';
    throw new Emu3Error(`The file arrived with the ${name} ${found}, which is listed as ${value}.`, {
      code: 'format',
      where,
      fix: 'It was damaged on its way, or a mirror or proxy changed it; load the model again, or from another mirror.',
    });
  }
}

/** @throws Emu3Error `format` unless a whole content has the listed hash. */
export function compareContent(content: Uint8Array, listed: ListedHash, where: string): void {
  const hash = new ContentHash(listed, content.byteLength);
  hash.add(content);
  hash.compare(where);
}

/**
 * The same file, hashed while it is read from its beginning to its end. Nothing is kept: a read that begins where the one
 * before ended, or up to 1 MiB behind it, is hashed with what lies between, which is read along; reads of any other order
 * end the hashing. Reads may overlap in time; each ends when those before it in the file have been hashed. What is read a
 * second time after the comparison is not compared again.
 *
 * The read that completes the file throws Emu3Error `format` when it has another hash.
 *
 * @param tell called when the hash was found to be the listed one, and by `verify` when it could not be compared.
 */
export function hashedSource(source: ByteSource, listed: ListedHash, tell: (compared: boolean) => void): ByteSource {
  const hash = new ContentHash(listed, source.size);
  const progress = { asked: 0, inOrder: true, compared: false };
  /** Ends when all that was asked for has been hashed. */
  let turn = Promise.resolve();

  const read: ByteSource['read'] = async (offset, length, signal) => {
    assertRange(source, offset, length);
    const skipped = offset - progress.asked;
    if (length === 0 || !progress.inOrder || skipped < 0 || skipped > readAlongBytes) {
      if (length > 0) progress.inOrder = false;
      return source.read(offset, length, signal);
    }
    const end = offset + length;
    progress.asked = end;
    const before = turn;
    let pass = (): void => {};
    turn = new Promise((resolve) => (pass = resolve));
    try {
      const bytes = await source.read(offset - skipped, skipped + length, signal);
      await before;
      if (progress.inOrder) {
        hash.add(bytes);
        if (end === source.size) {
          hash.compare(source.name);
          progress.compared = true;
          tell(true);
        }
      }
      return bytes.subarray(skipped);
    } catch (error) {
      progress.inOrder = false;
      throw error;
    } finally {
      pass();
    }
  };

  return {
    ...source,
    read,
    verify: async (signal) => {
      await turn;
      const rest = source.size - progress.asked;
      if (progress.inOrder && rest > 0 && rest <= readAlongBytes) await read(progress.asked, rest, signal);
      if (!progress.compared) tell(false);
    },
  };
}
