import { Emu3Error, throwIfAborted } from '../../kernels/core/errors.js';
import { assertRange, truncatedError } from '../source.js';
import type { ByteSource } from '../source.js';
import { missingError, networkError, PassingError, request, withRetries, type HttpOptions } from './request.js';

export interface HttpSourceOptions extends HttpOptions {
  /** Bytes that the file is known to have, from a listing. */
  size?: number;
}

/** What one answer to a range says. */
interface ContentRange {
  readonly first: number;
  readonly last: number;
  readonly total: number;
  /** Of the content; changes with it. */
  readonly tag: string | null;
}

/**
 * A file behind HTTP, read with Range requests only; nothing but the asked-for bytes is transferred. When the connection
 * breaks, reading goes on from the byte it had come to; when the server is busy, it is asked again, later and later. The
 * signal of the options goes for reads that are given none.
 *
 * @throws Emu3Error `missing` on 404, `io` when the server cannot be reached, refuses, ignores ranges or hides
 *   Content-Range, `format` when the file is empty or has another size than `options.size`, `aborted` when the signal
 *   fires. Reading throws `io` also when the file changes meanwhile, and `format` when it ends early.
 */
export async function openHttpSource(url: string, options: HttpSourceOptions = {}): Promise<ByteSource> {
  const { total, tag } = await withRetries(() => probe(url, options), url, options);
  if (options.size !== undefined && options.size !== total) {
    throw new Emu3Error(`The server has ${total} bytes of the file, which is listed with ${options.size}.`, {
      code: 'format',
      where: url,
      fix: 'The file is being replaced or was damaged on the server; load the model again later.',
    });
  }
  const source: ByteSource = {
    name: url,
    size: total,
    ...(tag !== null && { version: tag }),
    read: async (offset, length, signal) => {
      assertRange(source, offset, length);
      throwIfAborted(signal, url);
      const bytes = new Uint8Array(length);
      let received = 0;
      const asked: HttpOptions = signal === undefined ? options : { ...options, signal };
      const read = async (): Promise<void> => {
        const [first, last] = [offset + received, offset + length - 1];
        const response = await request(url, `bytes=${first}-${last}`, asked);
        if (response.status === 416) {
          await response.body?.cancel();
          throw changedError(url, total, undefined);
        }
        const range = await requireRange(response, url);
        if (range.total !== total || (tag !== null && range.tag !== null && range.tag !== tag)) {
          await response.body?.cancel();
          throw changedError(url, total, range.total);
        }
        // A body longer than what was asked for must not be buffered, so the announced range is checked first.
        if (range.first !== first || range.last !== last) {
          await response.body?.cancel();
          throw truncatedError(url, offset, length, received + Math.max(0, range.last - range.first + 1));
        }
        for await (const chunk of chunksOf(response, url, asked.signal)) {
          if (received + chunk.length > length) throw truncatedError(url, offset, length, received + chunk.length);
          bytes.set(chunk, received);
          received += chunk.length;
        }
        if (received < length) throw new PassingError(truncatedError(url, offset, length, received));
      };
      if (length > 0) await withRetries(read, url, asked, () => received);
      return bytes;
    },
    close: async () => {},
  };
  return source;
}

async function probe(url: string, options: HttpOptions): Promise<ContentRange> {
  const response = await request(url, 'bytes=0-0', options);
  if (response.status === 416) {
    await response.body?.cancel();
    throw new Emu3Error('The file is empty.', { code: 'format', where: url, fix: 'Upload the complete file.' });
  }
  const range = await requireRange(response, url);
  await response.body?.cancel();
  return range;
}

/** True when a GET of `url` answers with a file; a page served in place of a missing file counts as absent. */
export async function httpExists(url: string, options: HttpOptions = {}): Promise<boolean> {
  try {
    const response = await withRetries(() => request(url, 'bytes=0-0', options), url, options);
    await response.body?.cancel();
    return response.status === 416 || !isPage(response);
  } catch (error) {
    if (error instanceof Emu3Error && error.code === 'missing') return false;
    throw error;
  }
}

/** The whole of a small text file. @throws Emu3Error as {@link httpContent}. */
export async function httpText(url: string, options: HttpOptions = {}): Promise<string> {
  return new TextDecoder().decode(await httpContent(url, options));
}

/** The whole of a small file. @throws Emu3Error `missing`, `io` or `aborted`. */
export async function httpContent(url: string, options: HttpOptions = {}): Promise<Uint8Array> {
  return withRetries(
    async () => {
      const response = await request(url, undefined, options);
      if (isPage(response)) {
        await response.body?.cancel();
        throw missingError(url, response.status);
      }
      try {
        return new Uint8Array(await response.arrayBuffer());
      } catch (cause) {
        throwIfAborted(options.signal, url);
        throw new PassingError(networkError(url, cause));
      }
    },
    url,
    options,
  );
}

function isPage(response: Response): boolean {
  return (response.headers.get('content-type') ?? '').startsWith('text/html');
}

/** The body as it arrives. @throws PassingError when the connection breaks, Emu3Error `aborted`. */
async function* chunksOf(
  response: Response,
  url: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void> {
  const reader = response.body?.getReader();
  if (reader === undefined) return;
  try {
    for (;;) {
      let part: Awaited<ReturnType<typeof reader.read>>;
      try {
        part = await reader.read();
      } catch (cause) {
        throwIfAborted(signal, url);
        throw new PassingError(networkError(url, cause));
      }
      if (part.done) return;
      yield part.value;
    }
  } finally {
    // Stops a transfer that is longer than it may be; a broken one has nothing to stop.
    await reader.cancel().catch(() => undefined);
  }
}

async function requireRange(response: Response, url: string): Promise<ContentRange> {
  const header = response.headers.get('content-range');
  const match = /^bytes (\d{1,16})-(\d{1,16})\/(\d{1,16})$/.exec(header ?? '');
  if (response.status === 206 && match) {
    const [first, last, total] = match.slice(1).map(Number);
    return { first, last, total, tag: response.headers.get('etag') };
  }
  await response.body?.cancel();
  if (response.status === 206) {
    throw new Emu3Error('The server sent part of the file without a readable Content-Range header.', {
      code: 'io',
      where: url,
      fix: 'Let the server add "Access-Control-Expose-Headers: Content-Range" and state the total size.',
    });
  }
  throw new Emu3Error(`The server ignores Range requests (it answered ${response.status} instead of 206).`, {
    code: 'io',
    where: url,
    fix: 'Serve the model from a host that supports HTTP ranges, or open it as a local file.',
  });
}

/** @param now bytes of the file; undefined when it has become shorter than what was asked for. */
function changedError(url: string, before: number, now: number | undefined): Emu3Error {
  const how =
    before === now ? 'to other content' : `from ${before} to ${now === undefined ? 'fewer' : String(now)} bytes`;
  return new Emu3Error(`The file changed ${how} while it was read.`, {
    code: 'io',
    where: url,
    fix: 'Load the model again.',
  });
}
