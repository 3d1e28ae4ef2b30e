/** Packed transformers as cache entries: safetensors with the packed words, and digests of every piece behind them. */
import { Emu3Error } from '../../kernels/core/errors.js';
import type { QuantizationFormat } from '../../kernels/quantize/index.js';
import type { Device } from '../../engine/device.js';
import {
  QuantizedParameters,
  readPackedWords,
  writePackedWords,
  type PackedPart,
  type QuantizationError,
} from '../../engine/quantized/index.js';
import { isRecord, parseJsonObject } from '../json.js';
import { SafetensorsFile } from '../safetensors/reader.js';
import { encodeLayout, layoutSafetensors, type TensorToWrite } from '../safetensors/writer.js';
import type { ByteSource } from '../source.js';
import type { TransferOptions } from '../transfer.js';
import type { CacheStore } from './store.js';

/** Goes up with the layout of packed weights and of entries, so that entries of other versions are not read. */
const version = 1;
/** Bytes that are read back, digested and written at a time. */
const pieceBytes = 8 << 20;
const digestBytes = 32;
const digestsName = '#digests';

const parts: readonly PackedPart[] = ['data', 'scales'];
const entryName = (weight: string, part: PackedPart): string => `${weight}#${part}`;

/**
 * The key of what packing makes of a checkpoint: a hash of its content's version, its config and the formats.
 *
 * @param content what tells this content of the files from any other.
 */
export async function packedKey(
  content: string,
  config: object,
  formats: ReadonlyMap<string, QuantizationFormat>,
): Promise<string> {
  const text = JSON.stringify([version, content, config, [...formats]]);
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text)));
  return Array.from(digest.subarray(0, 16), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** Writes packed parameters, read back from the GPU piece by piece. @throws Emu3Error of `CacheStore.write`, `aborted`. */
export async function writePackedEntry(
  store: CacheStore,
  key: string,
  parameters: QuantizedParameters,
  signal: AbortSignal | undefined,
): Promise<void> {
  const digests: Uint8Array[] = [];
  const digested = async function* <Values extends Int32Array | Float32Array>(
    pieces: AsyncIterable<Values>,
  ): AsyncGenerator<Values> {
    for await (const piece of pieces) {
      digests.push(await digestOf(new Uint8Array(piece.buffer, piece.byteOffset, piece.byteLength)));
      yield piece;
    }
  };
  const tensors: TensorToWrite[] = [];
  let pieces = 0;
  const add = (
    name: string,
    shape: readonly number[],
    dtype: 'I32' | 'F32',
    read: () => AsyncIterable<Int32Array | Float32Array>,
  ): void => {
    const bytes = 4 * shape.reduce((product, size) => product * size, 1);
    pieces += Math.ceil(bytes / pieceBytes);
    tensors.push({ name, shape, dtype, values: () => digested(read()) });
  };
  for (const name of parameters.shapes.keys()) {
    const weight = parameters.weights.get(name);
    if (weight) {
      for (const part of parts) {
        const [rows] = weight.shape;
        const columns = weight.shards[0][part].shape[1];
        add(entryName(name, part), [rows, columns], 'I32', () => readPackedWords(weight, part, pieceBytes));
      }
    } else {
      const tensor = parameters.tensor(name);
      add(name, tensor.shape, 'F32', () => inPieces(tensor.readFloat32()));
    }
  }
  // Comes last in the file and is asked for last, when all digests are known.
  const joined = (): Uint8Array => Uint8Array.from(digests.flatMap((digest) => [...digest]));
  tensors.push({ name: digestsName, shape: [pieces, digestBytes], dtype: 'U8', values: joined });
  const metadata = {
    'emu3.cache': String(version),
    'emu3.key': key,
    'emu3.errors': JSON.stringify([...parameters.errors]),
  };
  await store.write(key, encodeLayout(layoutSafetensors(tensors, { metadata }), signal));
}

async function* inPieces(values: Promise<Float32Array>): AsyncGenerator<Float32Array> {
  const all = await values;
  const elements = pieceBytes / 4;
  for (let start = 0; start < all.length; start += elements) yield all.subarray(start, start + elements);
}

async function digestOf(bytes: Uint8Array): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest('SHA-256', bytes as Uint8Array<ArrayBuffer>));
}

/**
 * Loads packed parameters from an entry, every piece compared with its digest before it is used.
 *
 * @throws Emu3Error `format`, `missing`, `shape` for an entry that is damaged or not of this model, `io`, `aborted`. Nothing
 *   stays on the GPU then.
 */
export async function readPackedEntry(
  device: Device,
  source: ByteSource,
  key: string,
  shapes: ReadonlyMap<string, readonly number[]>,
  formats: ReadonlyMap<string, QuantizationFormat>,
  { signal, onProgress }: TransferOptions,
): Promise<QuantizedParameters> {
  const file = await SafetensorsFile.open(source, signal);
  if (file.metadata.get('emu3.cache') !== String(version) || file.metadata.get('emu3.key') !== key) {
    throw damaged(source.name, 'It is not what its name says.');
  }
  const errors = errorsOf(file.metadata.get('emu3.errors') ?? '', source.name);
  const digests = await file.readRaw(digestsName, signal && { signal });
  const firstPiece = new Map<string, number>();
  let pieces = 0;
  for (const [name, { byteLength }] of file.tensors) {
    firstPiece.set(name, pieces);
    if (name !== digestsName) pieces += Math.ceil(byteLength / pieceBytes);
  }
  if (digests.length !== pieces * digestBytes) throw damaged(source.name, 'It has not one digest for each piece.');

  let loadedBytes = 0;
  const read = async (
    name: string,
    shape: readonly number[],
    take: (at: number, bytes: Uint8Array) => void,
  ): Promise<void> => {
    const info = file.tensor(name);
    if (info.shape.join() !== shape.join()) throw damaged(source.name, `${name} is [${info.shape.join(', ')}].`);
    let piece = firstPiece.get(name) ?? 0;
    for await (const { byteOffset, bytes } of file.stream(name, pieceBytes, signal && { signal })) {
      const expected = digests.subarray(piece * digestBytes, (piece + 1) * digestBytes);
      const found = await digestOf(bytes);
      if (found.some((byte, index) => byte !== expected[index])) {
        throw damaged(source.name, `Piece ${piece} has another digest than was written.`);
      }
      piece += 1;
      take(byteOffset, bytes);
      loadedBytes += bytes.byteLength;
      await device.finish();
    }
    onProgress?.({ tensor: name, loadedBytes, totalBytes: source.size });
  };
  return QuantizedParameters.build(device, shapes, (name) => formats.get(name), {
    write: (name, tensor) =>
      read(name, tensor.shape, (at, bytes) => tensor.write(new Float32Array(bytes.slice().buffer), at / 4)),
    pack: async (name, weight) => {
      for (const part of parts) {
        const shape = [weight.shape[0], weight.shards[0][part].shape[1]];
        await read(entryName(name, part), shape, (at, bytes) => writePackedWords(weight, part, at, bytes));
      }
      const error = errors.get(name);
      if (error === undefined) throw damaged(source.name, `It tells no error of ${name}.`);
      return error;
    },
  });
}

function errorsOf(text: string, where: string): Map<string, QuantizationError> {
  const json = parseJsonObject(`{"errors":${text === '' ? 'null' : text}}`, where);
  const found = new Map<string, QuantizationError>();
  const entries: readonly unknown[] = Array.isArray(json['errors']) ? json['errors'] : [];
  for (const entry of entries) {
    if (!Array.isArray(entry)) continue;
    const [name, error] = entry as readonly unknown[];
    if (typeof name !== 'string' || !isRecord(error)) continue;
    const { maxAbsolute, relativeRms } = error;
    if (typeof maxAbsolute === 'number' && typeof relativeRms === 'number')
      found.set(name, { maxAbsolute, relativeRms });
  }
  return found;
}

function damaged(where: string, how: string): Emu3Error {
  return new Emu3Error(`The packed model is damaged. ${how}`, {
    code: 'format',
    where,
    fix: 'Remove it from the cache; it is made again from the checkpoint.',
  });
}
