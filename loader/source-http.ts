import { Emu3Error, throwIfAborted } from '../kernels/core/errors.js';
import { assertRange, truncatedError } from './source.js';
import type { ByteSource } from './source.js';

export interface HttpOptions {
  /** Replaces the global fetch, for example to add credentials or to test. */
  fetch?: typeof fetch;
  /** Sent with every request, e.g. an Authorization header. */
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

interface ContentRange {
  first: number;
  last: number;
  total: number;
}

/**
 * A file behind HTTP, read with Range requests only; nothing but the asked-for bytes is transferred.
 * @throws Emu3Error `missing` on 404, `io` when the server cannot be reached, ignores ranges or hides Content-Range,
 *   `aborted` when the signal fires.
 */
export async function openHttpSource(url: string, options: HttpOptions = {}): Promise<ByteSource> {
  const probe = await request(url, 'bytes=0-0', options, options.signal);
  if (probe.status === 416) {
    await probe.body?.cancel();
    throw new Emu3Error('The file is empty.', { code: 'format', where: url, fix: 'Upload the complete file.' });
  }
  const { total } = await requireRange(probe, url);
  await probe.body?.cancel();

  const source: ByteSource = {
    name: url,
    size: total,
    read: async (offset, length, signal) => {
      assertRange(source, offset, length);
      throwIfAborted(signal, url);
      if (length === 0) return new Uint8Array(0);
      const response = await request(url, `bytes=${offset}-${offset + length - 1}`, options, signal);
      const range = await requireRange(response, url);
      if (range.total !== total) {
        await response.body?.cancel();
        throw new Emu3Error(`The file changed from ${total} to ${range.total} bytes while it was read.`, {
          code: 'io',
          where: url,
          fix: 'Load the model again.',
        });
      }
      // A body longer than what was asked for must not be buffered, so the announced range is checked first.
      if (range.first !== offset || range.last !== offset + length - 1) {
        await response.body?.cancel();
        throw truncatedError(url, offset, length, Math.max(0, range.last - range.first + 1));
      }
      const bytes = await body(response, url, signal);
      if (bytes.byteLength !== length) throw truncatedError(url, offset, length, bytes.byteLength);
      return bytes;
    },
    close: async () => {},
  };
  return source;
}

/** True when a GET of `url` answers with a file; a page served in place of a missing file counts as absent. */
export async function httpExists(url: string, options: HttpOptions = {}): Promise<boolean> {
  try {
    const response = await request(url, 'bytes=0-0', options, options.signal);
    await response.body?.cancel();
    const isPage = (response.headers.get('content-type') ?? '').startsWith('text/html');
    return response.status === 416 || (response.ok && !isPage);
  } catch (error) {
    if (error instanceof Emu3Error && error.code === 'missing') return false;
    throw error;
  }
}

/** The whole of a small text file. @throws Emu3Error `missing`, `io` or `aborted`. */
export async function httpText(url: string, options: HttpOptions = {}): Promise<string> {
  const response = await request(url, undefined, options, options.signal);
  if ((response.headers.get('content-type') ?? '').startsWith('text/html')) {
    await response.body?.cancel();
    throw missingError(url, response.status);
  }
  return new TextDecoder().decode(await body(response, url, options.signal));
}

async function request(
  url: string,
  range: string | undefined,
  options: HttpOptions,
  signal: AbortSignal | undefined,
): Promise<Response> {
  throwIfAborted(signal, url);
  const headers = range === undefined ? { ...options.headers } : { ...options.headers, Range: range };
  let response: Response;
  try {
    response = await (options.fetch ?? fetch)(url, { headers, signal: signal ?? null });
  } catch (cause) {
    throwIfAborted(signal, url);
    throw networkError(url, cause);
  }
  if (response.ok || (range !== undefined && response.status === 416)) return response;
  await response.body?.cancel();
  if (response.status === 404 || response.status === 410) throw missingError(url, response.status);
  throw new Emu3Error(`The server answered ${response.status} ${response.statusText}.`.replace(' .', '.'), {
    code: 'io',
    where: url,
    fix: response.status === 401 || response.status === 403 ? 'Pass an access token in headers.' : 'Try again later.',
  });
}

async function requireRange(response: Response, url: string): Promise<ContentRange> {
  const header = response.headers.get('content-range');
  const match = /^bytes (\d{1,16})-(\d{1,16})\/(\d{1,16})$/.exec(header ?? '');
  if (response.status === 206 && match) {
    return { first: Number(match[1]), last: Number(match[2]), total: Number(match[3]) };
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

async function body(response: Response, url: string, signal: AbortSignal | undefined): Promise<Uint8Array> {
  try {
    return new Uint8Array(await response.arrayBuffer());
  } catch (cause) {
    throwIfAborted(signal, url);
    throw networkError(url, cause);
  }
}

function networkError(url: string, cause: unknown): Emu3Error {
  return new Emu3Error('The file could not be downloaded.', {
    code: 'io',
    where: url,
    fix: 'Check the address, the connection and the CORS settings of the server.',
    cause,
  });
}

function missingError(url: string, status: number): Emu3Error {
  return new Emu3Error(`There is no such file (the server answered ${status}).`, {
    code: 'missing',
    where: url,
    fix: 'Check the address of the model folder.',
  });
}
