import type { Device } from '../engine/device.js';
import type { Program } from '../engine/graph/index.js';

/** Seconds of something that was measured several times. */
export interface Timing {
  readonly best: number;
  /** Half of the rounds were faster: how far it lies above the best says how busy the machine was. */
  readonly median: number;
}

export function timing(seconds: readonly number[]): Timing {
  const sorted = [...seconds].sort((a, b) => a - b);
  return { best: sorted[0], median: sorted[Math.floor(sorted.length / 2)] };
}

/** Measures what is put into one command encoder: by timestamps around it where the device has them, else by waiting. */
export class Stopwatch {
  private readonly device: Device;
  private readonly queries: { set: GPUQuerySet; resolved: GPUBuffer } | undefined;

  constructor(device: Device) {
    this.device = device;
    if (!device.gpu.features.has('timestamp-query')) return;
    this.queries = {
      set: device.gpu.createQuerySet({ type: 'timestamp', count: 2 }),
      resolved: device.createBuffer('stopwatch', 16, GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC),
    };
  }

  /** Seconds from the start of what `encode` appends to its end, alone on the GPU. */
  async seconds(encode: (encoder: GPUCommandEncoder) => void): Promise<number> {
    const { device, queries } = this;
    await device.finish();
    const encoder = device.gpu.createCommandEncoder({ label: 'stopwatch' });
    if (queries === undefined) {
      encode(encoder);
      const start = performance.now();
      device.submit(encoder);
      await device.finish();
      return (performance.now() - start) / 1000;
    }
    // Passes without work carry the timestamps: the end of a pass is the one point that waits for all before it.
    const mark = (index: 0 | 1): void =>
      encoder.beginComputePass({ timestampWrites: { querySet: queries.set, endOfPassWriteIndex: index } }).end();
    mark(0);
    encode(encoder);
    mark(1);
    encoder.resolveQuerySet(queries.set, 0, 2, queries.resolved, 0);
    device.submit(encoder);
    const [start, end] = new BigUint64Array(await device.read(queries.resolved, 0, 16));
    return Number(end - start) / 1e9;
  }

  /** Seconds of one of `repeats` runs of a program in one submit. */
  async secondsPerRun(program: Program, repeats: number): Promise<number> {
    const all = await this.seconds((encoder) => {
      for (let index = 0; index < repeats; index++) program.encode(encoder);
    });
    return all / repeats;
  }

  /** How often to repeat a program (warmed up here) for one measurement to take about `target` seconds. */
  async repeatsFor(program: Program, target: number, most = 1000): Promise<number> {
    await this.secondsPerRun(program, 1);
    let repeats = 1;
    for (;;) {
      const took = (await this.secondsPerRun(program, repeats)) * repeats;
      if (took >= target / 4 || repeats >= most) {
        return Math.max(1, Math.min(most, Math.round((repeats * target) / Math.max(took, 1e-9))));
      }
      repeats = Math.min(most, repeats * 4);
    }
  }

  destroy(): void {
    this.queries?.set.destroy();
    if (this.queries) this.device.destroyBuffer(this.queries.resolved);
  }
}
