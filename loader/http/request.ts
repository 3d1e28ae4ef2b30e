import { Emu3Error, throwIfAborted } from '../../kernels/core/errors.js';

/** What is done when a server is busy or the connection breaks. */
export interface HttpRetry {
  /** Tries in all without a byte of progress; default 5. */
  attempts?: number;
  /** Before the second try, milliseconds; doubles from try to try. Default 500. */
  firstDelay?: number;
  /** Of the delays, and of what a server may ask for with Retry-After, milliseconds. Default 30,000. */
  longestDelay?: number;
}

export interface HttpOptions {
  /** Replaces the global fetch, for example to add credentials or to test. */
  fetch?: typeof fetch;
  /** Sent with every request, e.g. an Authorization header. */
  headers?: Record<string, string>;
  signal?: AbortSignal;
  retry?: HttpRetry;
}

/** Answers that another try may change: timeouts, too many requests, a server that is down for now. */
const passing: ReadonlySet<number> = new Set([408, 425, 429, 500, 502, 503, 504]);

/** An error that another try may mend. */
export class PassingError extends Error {
  readonly error: Emu3Error;
  /** What the server asks to wait, milliseconds. */
  readonly delay: number | undefined;

  constructor(error: Emu3Error, delay?: number) {
    super(error.message);
    this.error = error;
    this.delay = delay;
  }
}

/**
 * Runs `work` until it succeeds, fails for good or has failed `attempts` times in a row without progress, waiting longer
 * each time.
 *
 * @param progress is larger after a try that got somewhere: the count of tries then starts anew.
 * @throws what `work` throws, a {@link PassingError} as the error inside it; Emu3Error `aborted`.
 */
export async function withRetries<Result>(
  work: () => Promise<Result>,
  url: string,
  { retry = {}, signal }: Pick<HttpOptions, 'retry' | 'signal'>,
  progress: () => number = () => 0,
): Promise<Result> {
  const { attempts = 5, firstDelay = 500, longestDelay = 30_000 } = retry;
  let failures = 0;
  let reached = progress();
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof PassingError)) throw error;
      const now = progress();
      failures = now > reached ? 1 : failures + 1;
      reached = now;
      if (failures >= attempts) throw error.error;
      const delay = error.delay ?? firstDelay * 2 ** (failures - 1);
      await sleep(Math.min(delay, longestDelay), signal);
      throwIfAborted(signal, url);
    }
  }
}

/**
 * One request, whatever the answer.
 *
 * @throws PassingError when the server cannot be reached or is busy, Emu3Error `aborted`.
 */
export async function attempt(url: string, init: RequestInit, options: HttpOptions): Promise<Response> {
  const { signal } = options;
  throwIfAborted(signal, url);
  let response: Response;
  try {
    response = await (options.fetch ?? fetch)(url, { ...init, signal: signal ?? null });
  } catch (cause) {
    throwIfAborted(signal, url);
    throw new PassingError(networkError(url, cause));
  }
  if (passing.has(response.status)) throw new PassingError(await refusal(response, url), retryAfter(response));
  return response;
}

/**
 * One request, whose answer is a success or 416 for a range.
 *
 * @throws PassingError as {@link attempt}; Emu3Error `missing` on 404 and 410, `io` with the server's own words on other
 *   failures, `aborted`.
 */
export async function request(url: string, range: string | undefined, options: HttpOptions): Promise<Response> {
  const headers = range === undefined ? { ...options.headers } : { ...options.headers, Range: range };
  const response = await attempt(url, { headers }, options);
  if (response.ok || (range !== undefined && response.status === 416)) return response;
  throw await refusal(response, url);
}

async function refusal(response: Response, url: string): Promise<Emu3Error> {
  return statusError(url, response.status, response.statusText, await messageOf(response));
}

/** @param words of the server. */
export function statusError(url: string, status: number, statusText: string, words: string): Emu3Error {
  if (status === 404 || status === 410) return missingError(url, status, words);
  const answer = [String(status), statusText].filter((part) => part !== '').join(' ');
  return new Emu3Error(`The server answered ${answer}${words === '' ? '' : `: ${words}`}.`.replace(/\.\.$/, '.'), {
    code: 'io',
    where: url,
    fix: fixOf(status),
  });
}

function fixOf(status: number): string {
  if (status === 401 || status === 403) {
    return 'Pass an access token that may read the model; gated models must be asked for on their page first.';
  }
  if (status === 429) return 'Wait some minutes, or pass an access token: servers allow more to those they know.';
  return 'Try again later.';
}

export function missingError(url: string, status: number, words = ''): Emu3Error {
  const why = words === '' ? '' : `: ${words.replace(/\.$/, '')}`;
  return new Emu3Error(`There is no such file (the server answered ${status}${why}).`, {
    code: 'missing',
    where: url,
    fix: 'Check the address of the model folder.',
  });
}

export function networkError(url: string, cause: unknown): Emu3Error {
  return new Emu3Error('The file could not be downloaded.', {
    code: 'io',
    where: url,
    fix: 'Check the address, the connection and the CORS settings of the server.',
    cause,
  });
}

const longestMessage = 300;

/** What the server says about its refusal: the hub's header, an error in JSON, or nothing. */
async function messageOf(response: Response): Promise<string> {
  const header = response.headers.get('x-error-message');
  const isJson = (response.headers.get('content-type') ?? '').startsWith('application/json');
  if (header !== null || !isJson) {
    await response.body?.cancel();
    return (header ?? '').slice(0, longestMessage);
  }
  try {
    const { error } = (await response.json()) as { error?: unknown };
    return typeof error === 'string' ? error.slice(0, longestMessage) : '';
  } catch {
    return '';
  }
}

/** Milliseconds, from seconds or a date. */
function retryAfter(response: Response): number | undefined {
  const header = response.headers.get('retry-after');
  if (header === null) return undefined;
  const seconds = Number(header);
  const delay = Number.isFinite(seconds) ? seconds * 1000 : Date.parse(header) - Date.now();
  return Number.isFinite(delay) ? Math.max(0, delay) : undefined;
}

/** Ends early when the signal fires. */
function sleep(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, signal?.aborted === true ? 0 : milliseconds);
    signal?.addEventListener('abort', end);
  });
}
