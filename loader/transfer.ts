import { Emu3Error, throwIfAborted } from '../kernels/core/errors.js';
import type { Device } from '../engine/device.js';
import { WeightQuantizer, type QuantizationError, type QuantizedWeight } from '../engine/quantized/index.js';
import type { GpuTensor } from '../engine/tensor.js';
import type { Checkpoint } from './safetensors/checkpoint.js';
import { DTYPE_BITS, decodeToFloat32, firstNonFinite } from './safetensors/dtype.js';
import type { TensorTile } from './safetensors/reader.js';

export interface LoadProgress {
  /** The tensor that has just been loaded. */
  readonly tensor: string;
  /** Bytes of the file read so far, and in all. */
  readonly loadedBytes: number;
  readonly totalBytes: number;
}

export interface TransferOptions {
  signal?: AbortSignal;
  onProgress?: (progress: LoadProgress) => void;
}

/** Bytes of a file held on the host at a time. */
export const tileBytes = 4 << 20;
/** Bytes sent to the GPU before the host waits for it, so that copies under way do not pile up. */
const bytesInFlight = 128 << 20;

/** Names in the order in which the files hold their tensors: what is read in order can be hashed on its way. */
export function inFileOrder(checkpoint: Checkpoint, names: Iterable<string>): string[] {
  const places = new Map([...checkpoint.tensors.keys()].map((name, place) => [name, place]));
  return [...names].sort((a, b) => (places.get(a) ?? 0) - (places.get(b) ?? 0));
}

/** Streams the tensors of these names to the GPU, widened to f32 and checked to be finite, and verifies the files. */
export async function fillTensors(
  device: Device,
  checkpoint: Checkpoint,
  names: readonly string[],
  tensorOf: (name: string) => GpuTensor,
  options: TransferOptions,
): Promise<void> {
  const transfer = new Transfer(device, checkpoint, names, options);
  for (const name of inFileOrder(checkpoint, names)) await transfer.fill(name, tensorOf(name));
  await checkpoint.verify(options);
  await device.finish();
}

/** Tensors on their way from a checkpoint to the GPU: counts bytes, and waits before too many of them pile up. */
export class Transfer {
  readonly checkpoint: Checkpoint;
  private readonly device: Device;
  private readonly options: TransferOptions;
  private readonly totalBytes: number;
  private loadedBytes = 0;
  private inFlight = 0;

  /** @param names of all tensors that will be loaded. */
  constructor(device: Device, checkpoint: Checkpoint, names: Iterable<string>, options: TransferOptions) {
    this.device = device;
    this.checkpoint = checkpoint;
    this.options = options;
    this.totalBytes = [...names].reduce((sum, name) => sum + this.bytesOf(name), 0);
  }

  private bytesOf(name: string): number {
    return this.checkpoint.tensors.get(name)?.byteLength ?? 0;
  }

  /** Widens one tensor to f32. @throws Emu3Error `not-finite`, `aborted`, `io`. */
  async fill(name: string, target: GpuTensor): Promise<void> {
    const dtype = this.checkpoint.tensors.get(name)?.dtype ?? 'F32';
    const bytesPerElement = DTYPE_BITS[dtype] / 8;
    const where = `${this.checkpoint.name}: ${name}`;
    await this.stream(name, tileBytes, async ({ byteOffset, bytes }) => {
      const values = new Float32Array(bytes.byteLength / bytesPerElement);
      decodeToFloat32(dtype, bytes, values, 0, where);
      const start = byteOffset / bytesPerElement;
      const bad = firstNonFinite(values);
      if (bad >= 0) {
        throw new Emu3Error(`Element ${start + bad} is ${values[bad]}.`, {
          code: 'not-finite',
          where,
          fix: 'The weights are damaged or their training diverged; use an earlier checkpoint.',
        });
      }
      target.write(values, start);
      await this.sent(values.byteLength);
    });
  }

  /** Packs one weight, whose rows are sent as the file has them, in bf16 or f32. @throws Emu3Error as {@link fill}. */
  async pack(name: string, weight: QuantizedWeight): Promise<QuantizationError> {
    const dtype = this.checkpoint.tensors.get(name)?.dtype ?? 'F32';
    const where = `${this.checkpoint.name}: ${name}`;
    const [outputs, inputs] = weight.shape;
    const rowBytes = (inputs * DTYPE_BITS[dtype]) / 8;
    const tileRows = Math.min(outputs, Math.max(1, Math.floor(tileBytes / rowBytes)));
    const source = dtype === 'BF16' ? 'bf16' : 'f32';
    const quantizer = await WeightQuantizer.create(this.device, weight, { source, tileRows });
    try {
      await this.stream(name, tileRows * rowBytes, async ({ byteOffset, bytes }) => {
        let rows: Uint8Array | Float32Array = bytes;
        if (dtype === 'F16') {
          rows = new Float32Array(bytes.byteLength / 2);
          decodeToFloat32(dtype, bytes, rows, 0, where);
        }
        quantizer.write(byteOffset / rowBytes, rows);
        await this.sent(rows.byteLength);
      });
      return await quantizer.error();
    } finally {
      quantizer.destroy();
    }
  }

  private async stream(name: string, bytes: number, take: (tile: TensorTile) => Promise<void>): Promise<void> {
    const { signal, onProgress } = this.options;
    throwIfAborted(signal, name);
    for await (const tile of this.checkpoint.stream(name, bytes, signal && { signal })) await take(tile);
    this.loadedBytes += this.bytesOf(name);
    onProgress?.({ tensor: name, loadedBytes: this.loadedBytes, totalBytes: this.totalBytes });
  }

  private async sent(bytes: number): Promise<void> {
    this.inFlight += bytes;
    if (this.inFlight < bytesInFlight) return;
    await this.device.finish();
    this.inFlight = 0;
  }
}
