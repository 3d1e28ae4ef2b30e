/**
 * Every failure this package reports on purpose is an {@link Emu3Error}: one short sentence, a machine-readable
 * `code`, the place it concerns (`where`: a tensor, a file, a kernel, an option) and what to do about it (`fix`).
 */
export type ErrorCode =
  | 'no-adapter'
  | 'device-lost'
  | 'out-of-memory'
  | 'validation'
  | 'limit'
  | 'unsupported'
  | 'shape'
  | 'dtype'
  | 'argument'
  | 'aborted'
  | 'io'
  | 'disk-full'
  | 'format'
  | 'missing'
  | 'duplicate'
  | 'not-finite'
  | 'config'
  | 'token'
  | 'prompt'
  | 'image';

export interface ErrorDetails {
  code: ErrorCode;
  /** What the error is about: a tensor name, file path, kernel or option. */
  where: string;
  /** What the caller can do about it, as an imperative sentence. */
  fix: string;
  cause?: unknown;
}

export class Emu3Error extends Error {
  readonly code: ErrorCode;
  readonly where: string;
  readonly fix: string;

  constructor(message: string, details: ErrorDetails) {
    super(`${message} [${details.where}] ${details.fix}`, { cause: details.cause });
    this.name = 'Emu3Error';
    this.code = details.code;
    this.where = details.where;
    this.fix = details.fix;
  }
}

/** Throws an `aborted` error when the signal has fired; call it between units of work. */
export function throwIfAborted(signal: AbortSignal | undefined, where: string): void {
  if (signal?.aborted) {
    throw new Emu3Error('The operation was cancelled.', {
      code: 'aborted',
      where,
      fix: 'Start it again; nothing was written.',
      cause: signal.reason,
    });
  }
}
