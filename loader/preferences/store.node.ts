import { createReadStream } from 'node:fs';
import { dirname } from 'node:path';
import { Emu3Error, throwIfAborted } from '../../kernels/core/errors.js';
import { diskFileSystem, replaceFile, writeFully } from '../atomic.node.js';
import type { SaveFileSystem, WriteHandle } from '../atomic.node.js';
import { fileError } from '../io-error.node.js';
import type { JsonValue } from '../json.js';
import { checkedSample, headerLine, parseHeaderLine, parseSampleLine, sampleLine } from './sample.js';
import type { PreferenceSample, PreferenceSamples } from './sample.js';

export interface PreferenceStoreOptions {
  signal?: AbortSignal | undefined;
  fileSystem?: SaveFileSystem | undefined;
}

interface ReadSamples extends PreferenceSamples {
  /** Bytes up to the end of the last complete line. */
  readonly completeBytes: number;
  readonly totalBytes: number;
}

/**
 * Generated samples in a file of JSON lines: a header with the settings, then one {@link PreferenceSample} a line.
 * Samples are appended in whole lines that are durable when {@link append} returns. A kill in between leaves at most one
 * unfinished line at the end, which {@link open} cuts off. One writer at a time.
 */
export class PreferenceStore {
  readonly path: string;
  private readonly fileSystem: SaveFileSystem;
  private readonly handle: WriteHandle;
  private readonly kept: PreferenceSample[];
  private bytes: number;

  private constructor(
    path: string,
    fileSystem: SaveFileSystem,
    handle: WriteHandle,
    read: { samples: readonly PreferenceSample[]; completeBytes: number },
  ) {
    this.path = path;
    this.fileSystem = fileSystem;
    this.handle = handle;
    this.kept = [...read.samples];
    this.bytes = read.completeBytes;
  }

  /**
   * Opens a file to append to it, and creates it where there is none.
   *
   * @param settings what the samples are drawn with; those of an existing file must be the same.
   * @throws Emu3Error `config` for other settings, `format` (naming the line), `duplicate`, `unsupported`, `io`,
   *   `disk-full`, `argument`, `aborted`.
   */
  static async open(path: string, settings: JsonValue, options: PreferenceStoreOptions = {}): Promise<PreferenceStore> {
    const { fileSystem = diskFileSystem, signal } = options;
    const header = headerLine(settings);
    const read = await readSamples(path, signal).catch((error: unknown) => {
      if (error instanceof Emu3Error && error.code === 'missing') return undefined;
      throw error;
    });
    if (read && headerLine(read.settings) !== header) {
      throw new Emu3Error('The file holds samples that were drawn with other settings.', {
        code: 'config',
        where: path,
        fix: 'Give another file, or delete this one to start over.',
      });
    }
    try {
      if (read === undefined) {
        await fileSystem.makeFolder(dirname(path));
        await replaceFile(path, [new TextEncoder().encode(header)], fileSystem);
      } else if (read.completeBytes < read.totalBytes) {
        await fileSystem.truncate(path, read.completeBytes);
      }
      const handle = await fileSystem.append(path);
      const known = read ?? { samples: [], completeBytes: new TextEncoder().encode(header).byteLength };
      return new PreferenceStore(path, fileSystem, handle, known);
    } catch (error) {
      throw fileError(error, path, 'write');
    }
  }

  /** Those found in the file and those appended since, in the order of the file. */
  get samples(): readonly PreferenceSample[] {
    return this.kept;
  }

  /**
   * Appends samples: all of them are on disk when it returns, and none when it throws (after a kill, the first ones).
   *
   * @throws Emu3Error `argument` for a sample that is not as its type says, `disk-full`, `io`.
   */
  async append(samples: readonly PreferenceSample[]): Promise<void> {
    const checked = samples.map((sample, index) => checkedSample(sample, 'argument', `sample ${index} to append`));
    const content = new TextEncoder().encode(checked.map(sampleLine).join(''));
    try {
      await writeFully(this.handle, content);
      await this.handle.sync();
    } catch (error) {
      try {
        await this.fileSystem.truncate(this.path, this.bytes);
      } catch {
        // The next `open` cuts off the unfinished line; the first error is the one worth reporting.
      }
      throw fileError(error, this.path, 'write');
    }
    this.bytes += content.byteLength;
    this.kept.push(...checked);
  }

  /** @throws Emu3Error `io`. */
  async close(): Promise<void> {
    try {
      await this.handle.close();
    } catch (error) {
      throw fileError(error, this.path, 'write');
    }
  }
}

/**
 * Reads a whole file of samples into memory.
 *
 * @throws Emu3Error `missing`, `format` naming the line (an unfinished last one included), `duplicate`, `unsupported`,
 *   `io`, `aborted`.
 */
export async function readPreferenceSamples(path: string, signal?: AbortSignal): Promise<PreferenceSamples> {
  const { settings, samples, completeBytes, totalBytes } = await readSamples(path, signal);
  if (completeBytes < totalBytes) {
    throw new Emu3Error('The last line is unfinished: the sampling was killed, or the file was cut.', {
      code: 'format',
      where: lineOf(path, samples.length + 2),
      fix: 'Go on with the sampling, which mends the file, or delete the last line.',
    });
  }
  return { settings, samples };
}

/**
 * Writes all samples at once, in place of the file that may be there: for voters that score a finished sampling.
 *
 * @throws Emu3Error `argument`, `io`, `disk-full`; the old file is intact then.
 */
export async function writePreferenceSamples(
  path: string,
  { settings, samples }: PreferenceSamples,
  fileSystem?: SaveFileSystem,
): Promise<void> {
  const encoder = new TextEncoder();
  const content = function* (): Generator<Uint8Array> {
    yield encoder.encode(headerLine(settings));
    for (const [index, sample] of samples.entries()) {
      yield encoder.encode(sampleLine(checkedSample(sample, 'argument', `sample ${index}`)));
    }
  };
  await replaceFile(path, content(), fileSystem);
}

const lineOf = (path: string, line: number): string => `${path}: line ${line}`;

async function readSamples(path: string, signal: AbortSignal | undefined): Promise<ReadSamples> {
  let settings: JsonValue | undefined;
  const samples: PreferenceSample[] = [];
  let line = 0;
  let completeBytes = 0;
  let totalBytes = 0;
  for await (const bytes of lines(path)) {
    throwIfAborted(signal, path);
    totalBytes += bytes.byteLength;
    if (bytes.at(-1) !== newline) break;
    completeBytes = totalBytes;
    line += 1;
    const where = lineOf(path, line);
    const text = decodeLine(bytes, where);
    if (line === 1) settings = parseHeaderLine(text, where);
    else samples.push(parseSampleLine(text, where));
  }
  if (settings === undefined) {
    throw new Emu3Error('The file has no complete first line.', {
      code: 'format',
      where: lineOf(path, 1),
      fix: 'Give a file of preference samples.',
    });
  }
  return { settings, samples, completeBytes, totalBytes };
}

const newline = 0x0a;

/** The lines of a file with their line ends; only the last may lack it. */
async function* lines(path: string): AsyncGenerator<Uint8Array> {
  let pending: Uint8Array[] = [];
  const joined = (): Uint8Array => (pending.length === 1 ? pending[0] : Buffer.concat(pending));
  try {
    for await (const chunk of createReadStream(path) as AsyncIterable<Uint8Array>) {
      let from = 0;
      for (let end = chunk.indexOf(newline); end >= 0; end = chunk.indexOf(newline, from)) {
        pending.push(chunk.subarray(from, end + 1));
        yield joined();
        pending = [];
        from = end + 1;
      }
      if (from < chunk.byteLength) pending.push(chunk.subarray(from));
    }
  } catch (error) {
    throw fileError(error, path, 'read');
  }
  if (pending.length > 0) yield joined();
}

function decodeLine(bytes: Uint8Array, where: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new Emu3Error('The line is not UTF-8.', { code: 'format', where, fix: 'Restore the file.', cause });
  }
}
