import { Emu3Error } from '../../kernels/core/errors.js';
import type { Device } from '../device.js';
import type { GpuTensor } from '../tensor.js';

/**
 * Brings a u32 tensor to the host while the GPU goes on: each request copies what the tensor holds at that point of the
 * queue. Two buffers in turn, so two requests may be under way.
 */
export class BlockReader {
  private readonly device: Device;
  private readonly source: GpuTensor;
  private readonly buffers: readonly GPUBuffer[];
  private readonly pending: [Promise<unknown>, Promise<unknown>] = [Promise.resolve(), Promise.resolve()];
  private turn: 0 | 1 = 0;

  constructor(device: Device, source: GpuTensor) {
    this.device = device;
    this.source = source;
    const usage = GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST;
    this.buffers = [0, 1].map((index) =>
      device.createBuffer(`readback ${index} of ${source.label}`, source.byteLength, usage),
    );
  }

  /** The tensor's elements once all that was submitted before is done. At most two requests at a time. */
  request(): Promise<Uint32Array> {
    const slot = this.turn;
    this.turn = slot === 0 ? 1 : 0;
    const result = this.copy(this.buffers[slot]);
    // Kept apart from the result: a request that nobody waits for any more must not end the program when it fails.
    this.pending[slot] = result.catch(() => undefined);
    return result;
  }

  private async copy(buffer: GPUBuffer): Promise<Uint32Array> {
    const { device, source } = this;
    device.check();
    const encoder = device.gpu.createCommandEncoder({ label: 'readback of a block' });
    encoder.copyBufferToBuffer(source.buffer, source.offset, buffer, 0, source.byteLength);
    device.submit(encoder);
    try {
      await buffer.mapAsync(GPUMapMode.READ, 0, source.byteLength);
    } catch (cause) {
      device.check();
      throw new Emu3Error('Reading results back from the GPU failed.', {
        code: 'device-lost',
        where: source.label,
        fix: 'Create a new device and try again.',
        cause,
      });
    }
    const words = new Uint32Array(buffer.getMappedRange(0, source.byteLength).slice(0));
    buffer.unmap();
    device.check();
    return words;
  }

  /** Waits until no request is under way. */
  async settle(): Promise<void> {
    await Promise.all(this.pending);
  }

  destroy(): void {
    for (const buffer of this.buffers) this.device.destroyBuffer(buffer);
  }
}
