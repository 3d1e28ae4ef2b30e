import { Emu3Error } from '../../kernels/core/errors.js';
import { isRecord, parseJsonObject, quote, shorten } from '../json.js';
import type { ByteSource } from '../source.js';
import { DTYPE_BITS, isDtype } from './dtype.js';
import type { Dtype } from './dtype.js';

/** Where one tensor lies in its file. */
export interface TensorInfo {
  readonly name: string;
  readonly dtype: Dtype;
  /** Row-major; empty for a scalar. */
  readonly shape: readonly number[];
  /** Bytes from the beginning of the file. */
  readonly byteOffset: number;
  readonly byteLength: number;
  /** The file that holds it. */
  readonly file: string;
}

export interface SafetensorsHeader {
  /** In the order of their bytes. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly metadata: ReadonlyMap<string, string>;
  /** First byte after the header. */
  readonly dataStart: number;
}

/** The format's own limit: a longer header is an attack or not a safetensors file. */
export const MAX_HEADER_BYTES = 100_000_000;
const PREFIX_BYTES = 8;
const METADATA_KEY = '__metadata__';

/**
 * Reads and checks the header of a safetensors file (8-byte little-endian length, JSON, data); no tensor data is read.
 * Nothing larger than the file is allocated, whatever the header claims.
 * @throws Emu3Error `format` (truncated, lengths, JSON, offsets), `duplicate`, `dtype`, `shape`, naming file and tensor.
 */
export async function readHeader(source: ByteSource, signal?: AbortSignal): Promise<SafetensorsHeader> {
  if (source.size < PREFIX_BYTES) {
    throw formatError(
      source.name,
      `The file has ${source.size} bytes; a safetensors file has at least ${PREFIX_BYTES}.`,
    );
  }
  const prefix = await source.read(0, PREFIX_BYTES, signal);
  const length = new DataView(prefix.buffer, prefix.byteOffset, PREFIX_BYTES).getBigUint64(0, true);
  const available = source.size - PREFIX_BYTES;
  if (length > BigInt(available)) {
    throw formatError(source.name, `The header claims ${length} bytes, but only ${available} follow.`);
  }
  if (length > BigInt(MAX_HEADER_BYTES)) {
    throw formatError(source.name, `The header claims ${length} bytes, more than the limit of ${MAX_HEADER_BYTES}.`);
  }
  return parseHeader(await source.read(PREFIX_BYTES, Number(length), signal), source.name, source.size);
}

/**
 * Checks the JSON of a header against the size of its file.
 * Every byte of the data section must belong to exactly one tensor: no overlap, no hole, nothing behind the last.
 * @param json the header's bytes, without the 8-byte length in front
 * @throws Emu3Error as {@link readHeader}.
 */
export function parseHeader(json: Uint8Array, file: string, fileSize: number): SafetensorsHeader {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(json);
  } catch (cause) {
    throw formatError(file, 'The header is not UTF-8 text.', cause);
  }
  const header = parseJsonObject(text, file);
  const dataStart = PREFIX_BYTES + json.byteLength;
  const metadata = new Map<string, string>();
  const tensors: TensorInfo[] = [];
  for (const [name, entry] of Object.entries(header)) {
    if (name === METADATA_KEY) readMetadata(entry, file, metadata);
    else tensors.push(parseTensor(name, entry, file, dataStart, fileSize));
  }
  tensors.sort((a, b) => a.byteOffset - b.byteOffset || a.byteLength - b.byteLength);
  checkCoverage(tensors, file, dataStart, fileSize);
  return { tensors: new Map(tensors.map((tensor) => [tensor.name, tensor])), metadata, dataStart };
}

function readMetadata(entry: unknown, file: string, metadata: Map<string, string>): void {
  if (!isRecord(entry)) throw formatError(file, `${METADATA_KEY} must be an object of strings.`);
  for (const [key, value] of Object.entries(entry)) {
    if (typeof value !== 'string') throw formatError(file, `${METADATA_KEY} entry "${shorten(key)}" is not a string.`);
    metadata.set(key, value);
  }
}

function parseTensor(name: string, entry: unknown, file: string, dataStart: number, fileSize: number): TensorInfo {
  const where = tensorLabel(file, name);
  if (!isRecord(entry)) throw formatError(where, 'The header entry of the tensor is not an object.');
  const { dtype, shape, data_offsets: offsets } = entry;
  if (!isDtype(dtype)) {
    throw new Emu3Error(`The element type ${quote(dtype)} is unknown.`, {
      code: 'dtype',
      where,
      fix: `Store the tensor as one of ${Object.keys(DTYPE_BITS).join(', ')}.`,
    });
  }
  const dimensions = parseShape(shape, where);
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount)) {
    throw formatError(where, 'data_offsets must be two non-negative integers.');
  }
  const [begin = 0, end = 0] = offsets;
  if (end < begin) throw formatError(where, `data_offsets run backwards (${begin} to ${end}).`);
  if (dataStart + end > fileSize) {
    const message = `The tensor ends at byte ${dataStart + end}, but the file has ${fileSize} bytes.`;
    throw formatError(where, message);
  }
  const bits = elementCount(dimensions, where) * DTYPE_BITS[dtype];
  if (bits !== (end - begin) * 8) {
    const message = `Shape [${shorten(dimensions.join(', '))}] of ${dtype} needs ${bits / 8} bytes, data_offsets give ${end - begin}.`;
    throw formatError(where, message);
  }
  return { name, dtype, shape: dimensions, byteOffset: dataStart + begin, byteLength: end - begin, file };
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

function parseShape(shape: unknown, where: string): number[] {
  if (!Array.isArray(shape) || !shape.every(isCount)) {
    const found = quote(shape);
    throw new Emu3Error(`The shape ${found} is not a list of non-negative integers.`, {
      code: 'shape',
      where,
      fix: 'Write the file again; its header is damaged.',
    });
  }
  // "-0" is a valid JSON number; adding 0 makes it an ordinary zero.
  return shape.map((dimension) => dimension + 0);
}

/** Product of the dimensions. @throws Emu3Error `shape` when it exceeds 2^53 - 1 bits. */
export function elementCount(shape: readonly number[], where: string): number {
  let count = 1;
  for (const dimension of shape) {
    count *= dimension;
    if (!Number.isSafeInteger(count * 64)) {
      throw new Emu3Error(`The shape [${shorten(shape.join(', '))}] is too large.`, {
        code: 'shape',
        where,
        fix: 'Write the file again; its header is damaged.',
      });
    }
  }
  return count;
}

function checkCoverage(sorted: readonly TensorInfo[], file: string, dataStart: number, fileSize: number): void {
  let position = dataStart;
  let previous = '';
  for (const tensor of sorted) {
    const where = tensorLabel(file, tensor.name);
    if (tensor.byteOffset < position) throw formatError(where, `The tensor overlaps "${shorten(previous)}".`);
    if (tensor.byteOffset > position) {
      throw formatError(where, `There is a hole of ${tensor.byteOffset - position} bytes in front of the tensor.`);
    }
    position += tensor.byteLength;
    previous = tensor.name;
  }
  if (position !== fileSize) {
    throw formatError(file, `${fileSize - position} bytes behind the last tensor belong to nothing.`);
  }
}

/** How messages name a tensor in a file. */
export function tensorLabel(file: string, name: string): string {
  return `${file}: ${shorten(name)}`;
}

function formatError(where: string, message: string, cause?: unknown): Emu3Error {
  return new Emu3Error(message, {
    code: 'format',
    where,
    fix: 'The file is damaged or not a safetensors file; download or write it again.',
    cause,
  });
}
