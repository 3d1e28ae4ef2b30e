import { Emu3Error, throwIfAborted } from '../../kernels/core/errors.js';
import type { ByteSource } from '../source.js';
import { DTYPE_BITS, decodeToFloat32, decodeToInt32, firstNonFinite } from './dtype.js';
import { elementCount, readHeader, tensorLabel } from './header.js';
import type { SafetensorsHeader, TensorInfo } from './header.js';

export interface ReadOptions {
  signal?: AbortSignal;
}

export interface FloatReadOptions extends ReadOptions {
  /** Refuse NaN and infinities. Default false. */
  checkFinite?: boolean;
}

/** A run of bytes of one tensor. */
export interface TensorTile {
  /** Position of the tile inside the tensor. */
  byteOffset: number;
  bytes: Uint8Array;
}

/** Bytes read from the source at a time when a whole tensor is converted. */
const CONVERSION_TILE_BYTES = 4 << 20;

/** One open safetensors file: a checked header, and its tensors read piece by piece. */
export class SafetensorsFile {
  private constructor(
    private readonly source: ByteSource,
    private readonly header: SafetensorsHeader,
  ) {}

  /** Reads and checks the header. @throws Emu3Error see {@link readHeader}; the source is closed then. */
  static async open(source: ByteSource, signal?: AbortSignal): Promise<SafetensorsFile> {
    try {
      return new SafetensorsFile(source, await readHeader(source, signal));
    } catch (error) {
      await source.close();
      throw error;
    }
  }

  get name(): string {
    return this.source.name;
  }

  /** Name, size and version of the file; undefined where its place tells no version. */
  get version(): string | undefined {
    const { name, size, version } = this.source;
    return version === undefined ? undefined : `${name} ${size} ${version}`;
  }

  get tensors(): ReadonlyMap<string, TensorInfo> {
    return this.header.tensors;
  }

  get metadata(): ReadonlyMap<string, string> {
    return this.header.metadata;
  }

  /** @throws Emu3Error `missing`. */
  tensor(name: string): TensorInfo {
    const info = this.header.tensors.get(name);
    if (!info) throw missingTensor(this.name, name);
    return info;
  }

  /**
   * The tensor's bytes in order, at most `tileBytes` at a time (rounded down to whole elements, at least one).
   * @throws Emu3Error `missing`, `argument`, `io`, `format` (file cut short), `aborted`.
   */
  async *stream(name: string, tileBytes: number, options: ReadOptions = {}): AsyncGenerator<TensorTile> {
    const info = this.tensor(name);
    const where = tensorLabel(this.name, name);
    if (!Number.isSafeInteger(tileBytes) || tileBytes < 1) {
      throw new Emu3Error(`A tile of ${tileBytes} bytes is not possible.`, {
        code: 'argument',
        where,
        fix: 'Give a positive whole number of bytes.',
      });
    }
    // Elements narrower than a byte only come in whole triples or pairs: 24 bits hold a whole number of each type.
    const unit = DTYPE_BITS[info.dtype] < 8 ? 3 : DTYPE_BITS[info.dtype] / 8;
    const step = Math.max(unit, tileBytes - (tileBytes % unit));
    for (let byteOffset = 0; byteOffset < info.byteLength; byteOffset += step) {
      throwIfAborted(options.signal, where);
      const length = Math.min(step, info.byteLength - byteOffset);
      yield { byteOffset, bytes: await this.source.read(info.byteOffset + byteOffset, length, options.signal) };
    }
  }

  /** The tensor's bytes as stored, little-endian. @throws Emu3Error as {@link stream}. */
  readRaw(name: string, options: ReadOptions = {}): Promise<Uint8Array> {
    const info = this.tensor(name);
    return this.source.read(info.byteOffset, info.byteLength, options.signal);
  }

  /**
   * The tensor as float32, widened exactly (see decodeToFloat32). One result array plus one tile are in memory.
   * @throws Emu3Error as {@link stream}, `dtype`, and with `checkFinite` `not-finite` naming tensor and first index.
   */
  async readFloat32(name: string, options: FloatReadOptions = {}): Promise<Float32Array> {
    const info = this.tensor(name);
    const where = tensorLabel(this.name, name);
    const output = new Float32Array(elementCount(info.shape, where));
    const elementBytes = DTYPE_BITS[info.dtype] / 8;
    for await (const tile of this.stream(name, CONVERSION_TILE_BYTES, options)) {
      decodeToFloat32(info.dtype, tile.bytes, output, tile.byteOffset / elementBytes, where);
    }
    if (options.checkFinite) assertFinite(output, where);
    return output;
  }

  /** The tensor as int32 (I32, I64, U8, I8, BOOL). @throws Emu3Error as {@link stream}, `dtype`. */
  async readInt32(name: string, options: ReadOptions = {}): Promise<Int32Array> {
    const info = this.tensor(name);
    return decodeToInt32(info.dtype, await this.readRaw(name, options), tensorLabel(this.name, name));
  }

  /** Compares the file with the hash that its place tells, if any. @throws Emu3Error see {@link ByteSource}. */
  async verify(options: ReadOptions = {}): Promise<void> {
    await this.source.verify?.(options.signal);
  }

  close(): Promise<void> {
    return this.source.close();
  }
}

/** @throws Emu3Error `not-finite` naming the tensor and the index of its first NaN or infinity. */
export function assertFinite(values: Float32Array, where: string): void {
  const index = firstNonFinite(values);
  if (index < 0) return;
  throw new Emu3Error(`Element ${index} is ${values[index]}.`, {
    code: 'not-finite',
    where,
    fix: 'The weights are damaged or their training diverged; use an earlier checkpoint.',
  });
}

export function missingTensor(file: string, name: string): Emu3Error {
  return new Emu3Error(`There is no tensor "${name}".`, {
    code: 'missing',
    where: file,
    fix: 'Check the name against the tensors the file lists.',
  });
}
