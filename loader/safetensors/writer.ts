import { Emu3Error, throwIfAborted } from '../../kernels/core/errors.js';
import { shorten } from '../json.js';
import { DTYPE_BITS, encodeElements } from './dtype.js';
import type { TensorValues, WritableDtype } from './dtype.js';
import { elementCount, MAX_HEADER_BYTES } from './header.js';

/** A tensor to be written. `values` may be a function, called when its turn comes, so that one tensor is held at a time. */
export interface TensorToWrite {
  readonly name: string;
  /** How it is stored; F16 and BF16 round to nearest even. */
  readonly dtype: WritableDtype;
  readonly shape: readonly number[];
  /** All elements in row-major order, at once or in pieces. */
  readonly values: TensorValues | (() => TensorValues | Promise<TensorValues> | AsyncIterable<TensorValues>);
}

export interface WriteOptions {
  /** Goes into the header's `__metadata__`. */
  metadata?: Readonly<Record<string, string>>;
  signal?: AbortSignal;
}

export interface SafetensorsLayout {
  /** Length prefix and padded JSON. */
  readonly header: Uint8Array;
  /** The tensors in file order: widest elements first, which keeps every tensor aligned to its element size. */
  readonly tensors: readonly TensorToWrite[];
  readonly fileSize: number;
}

/** Elements converted and handed on at a time. */
const PIECE_ELEMENTS = 1 << 20;

export function storedBytes(tensor: TensorToWrite): number {
  return (elementCount(tensor.shape, tensor.name) * DTYPE_BITS[tensor.dtype]) / 8;
}

/**
 * Plans a file: header and order of the tensors.
 * @throws Emu3Error `duplicate` for equal names, `argument` for a reserved name or metadata that is no string, `shape`.
 */
export function layoutSafetensors(tensors: readonly TensorToWrite[], options: WriteOptions = {}): SafetensorsLayout {
  const sorted = [...tensors].sort((a, b) => DTYPE_BITS[b.dtype] - DTYPE_BITS[a.dtype]);
  const entries: [string, unknown][] = [];
  if (options.metadata) entries.push(['__metadata__', checkMetadata(options.metadata)]);
  const names = new Set(['__metadata__']);
  let position = 0;
  for (const tensor of sorted) {
    if (names.has(tensor.name)) {
      const reserved = tensor.name === '__metadata__';
      throw new Emu3Error(`The tensor name "${shorten(tensor.name)}" is ${reserved ? 'reserved' : 'used twice'}.`, {
        code: reserved ? 'argument' : 'duplicate',
        where: tensor.name,
        fix: 'Give every tensor a name of its own.',
      });
    }
    names.add(tensor.name);
    if (!tensor.shape.every((dimension) => Number.isSafeInteger(dimension) && dimension >= 0)) {
      throw new Emu3Error(`The shape [${tensor.shape.join(', ')}] is not a list of non-negative integers.`, {
        code: 'shape',
        where: tensor.name,
        fix: 'Pass the dimensions of the tensor.',
      });
    }
    const end = position + storedBytes(tensor);
    entries.push([tensor.name, { dtype: tensor.dtype, shape: tensor.shape, data_offsets: [position, end] }]);
    position = end;
  }
  // Written by hand because an object literal would move integer-like names to the front.
  const json = `{${entries.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(',')}}`;
  const text = new TextEncoder().encode(json);
  const padded = Math.ceil(text.byteLength / 8) * 8;
  if (padded > MAX_HEADER_BYTES) {
    throw new Emu3Error(`The header would have ${padded} bytes, more than the format allows.`, {
      code: 'limit',
      where: 'safetensors header',
      fix: 'Write the tensors into several files.',
    });
  }
  const header = new Uint8Array(8 + padded).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(padded), true);
  header.set(text, 8);
  return { header, tensors: sorted, fileSize: header.byteLength + position };
}

function checkMetadata(metadata: Readonly<Record<string, unknown>>): unknown {
  for (const [key, value] of Object.entries(metadata)) {
    if (typeof value !== 'string') {
      throw new Emu3Error(`The metadata entry "${shorten(key)}" is not a string.`, {
        code: 'argument',
        where: 'safetensors metadata',
        fix: 'Store it as text, for example with JSON.stringify.',
      });
    }
  }
  return metadata;
}

/**
 * The bytes of a file in order, piece by piece; write each piece before asking for the next, as it may be reused.
 * @throws Emu3Error `shape` when a tensor delivers more or fewer elements than its shape says, `dtype`, `not-finite`,
 *   `aborted`.
 */
export async function* encodeLayout(layout: SafetensorsLayout, signal?: AbortSignal): AsyncGenerator<Uint8Array> {
  yield layout.header;
  for (const tensor of layout.tensors) {
    const expected = elementCount(tensor.shape, tensor.name);
    let written = 0;
    for await (const values of pieces(tensor)) {
      written += values.length;
      if (written > expected) throw countError(tensor, expected, written);
      for (let start = 0; start < values.length; start += PIECE_ELEMENTS) {
        throwIfAborted(signal, tensor.name);
        yield encodeElements(tensor.dtype, values.subarray(start, start + PIECE_ELEMENTS), tensor.name);
      }
    }
    if (written !== expected) throw countError(tensor, expected, written);
  }
}

async function* pieces(tensor: TensorToWrite): AsyncGenerator<TensorValues> {
  const values = typeof tensor.values === 'function' ? await tensor.values() : tensor.values;
  if (Symbol.asyncIterator in values) yield* values;
  else yield values;
}

function countError(tensor: TensorToWrite, expected: number, written: number): Emu3Error {
  return new Emu3Error(`Shape [${tensor.shape.join(', ')}] needs ${expected} elements, ${written} were given.`, {
    code: 'shape',
    where: tensor.name,
    fix: 'Pass exactly the elements of the tensor.',
  });
}

/** A whole small file in memory. @throws Emu3Error as {@link layoutSafetensors} and {@link encodeLayout}. */
export async function encodeSafetensors(
  tensors: readonly TensorToWrite[],
  options: WriteOptions = {},
): Promise<Uint8Array> {
  const layout = layoutSafetensors(tensors, options);
  const file = new Uint8Array(layout.fileSize);
  let position = 0;
  for await (const piece of encodeLayout(layout, options.signal)) {
    file.set(piece, position);
    position += piece.byteLength;
  }
  return file;
}
