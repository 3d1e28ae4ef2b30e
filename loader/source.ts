import { Emu3Error, throwIfAborted } from '../kernels/core/errors.js';

/**
 * Random access to the bytes of one file, wherever it lies.
 * `read` returns exactly `length` bytes or rejects with an {@link Emu3Error}; it never returns fewer.
 * The result may share memory with the source: treat it as read-only.
 */
export interface ByteSource {
  /** Path, address or label, as it appears in error messages. */
  readonly name: string;
  /** Size of the file in bytes. */
  readonly size: number;
  /** Changes with the content, where the place can tell: an entity tag, or the time of the last change. */
  readonly version?: string;
  read(offset: number, length: number, signal?: AbortSignal): Promise<Uint8Array>;
  /**
   * Where the place tells a hash: called when all has been read that is wanted, it reads a small rest too, so that the whole
   * can be compared.
   * @throws Emu3Error `format` for another content, and as `read`.
   */
  verify?(signal?: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

/** @throws Emu3Error `argument` unless [offset, offset + length) lies inside the source. */
export function assertRange(source: { name: string; size: number }, offset: number, length: number): void {
  const valid = Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0;
  if (!valid || offset + length > source.size) {
    throw new Emu3Error(`Cannot read ${length} bytes at offset ${offset} of a file of ${source.size} bytes.`, {
      code: 'argument',
      where: source.name,
      fix: 'Ask for a range inside the file.',
    });
  }
}

export function truncatedError(name: string, offset: number, expected: number, received: number): Emu3Error {
  return new Emu3Error(`The file ended early: ${received} of ${expected} bytes came back at offset ${offset}.`, {
    code: 'format',
    where: name,
    fix: 'The file was cut short or changed while it was read; download it again.',
  });
}

/** A file that already lies in memory. */
export function memorySource(name: string, bytes: Uint8Array | ArrayBuffer): ByteSource {
  const content = bytes instanceof Uint8Array ? bytes : new Uint8Array(bytes);
  const source: ByteSource = {
    name,
    size: content.byteLength,
    read: (offset, length, signal) =>
      Promise.resolve().then(() => {
        throwIfAborted(signal, name);
        assertRange(source, offset, length);
        return content.subarray(offset, offset + length);
      }),
    close: async () => {},
  };
  return source;
}

/** A Blob or a File picked by the user; only the ranges asked for are brought into memory. */
export function blobSource(name: string, blob: Blob): ByteSource {
  const source: ByteSource = {
    name,
    size: blob.size,
    read: async (offset, length, signal) => {
      throwIfAborted(signal, name);
      assertRange(source, offset, length);
      let bytes: Uint8Array;
      try {
        bytes = new Uint8Array(await blob.slice(offset, offset + length).arrayBuffer());
      } catch (cause) {
        throw new Emu3Error('The browser could not read the file.', {
          code: 'io',
          where: name,
          fix: 'Choose the file again; it was moved or changed.',
          cause,
        });
      }
      throwIfAborted(signal, name);
      if (bytes.byteLength !== length) throw truncatedError(name, offset, length, bytes.byteLength);
      return bytes;
    },
    close: async () => {},
  };
  return source;
}
