import type { KernelCall } from '../../kernels/core/define.js';
import type { Device } from '../device.js';

/** Time of one kernel in a profiled run, summed over its dispatches. */
export interface KernelTime {
  kernel: string;
  dispatches: number;
  /** Nanoseconds. */
  time: number;
  bytes: number;
  flops: number;
}

interface ProfiledCall {
  node: string;
  call: KernelCall;
  encode: (pass: GPUComputePassEncoder) => void;
}

const queriesPerSet = 2048;

/** Measures dispatches one by one. Timestamps are taken around a pass, so each dispatch gets a pass of its own. */
export class Profiler {
  private readonly device: Device;

  constructor(device: Device) {
    this.device = device;
  }

  async measure(calls: readonly ProfiledCall[]): Promise<KernelTime[]> {
    const times = this.device.gpu.features.has('timestamp-query')
      ? await this.byTimestamps(calls)
      : await this.byWaiting(calls);
    const byKernel = new Map<string, KernelTime>();
    calls.forEach(({ call }, index) => {
      const name = call.kernel.name;
      const entry = byKernel.get(name) ?? { kernel: name, dispatches: 0, time: 0, bytes: 0, flops: 0 };
      entry.dispatches += 1;
      entry.time += times[index];
      entry.bytes += call.bytes;
      entry.flops += call.flops;
      byKernel.set(name, entry);
    });
    return [...byKernel.values()].sort((a, b) => b.time - a.time);
  }

  private async byTimestamps(calls: readonly ProfiledCall[]): Promise<number[]> {
    const times: number[] = [];
    const perSet = queriesPerSet / 2;
    for (let from = 0; from < calls.length; from += perSet) {
      times.push(...(await this.oneSet(calls.slice(from, from + perSet))));
    }
    return times;
  }

  private async oneSet(calls: readonly ProfiledCall[]): Promise<number[]> {
    const { gpu } = this.device;
    const querySet = gpu.createQuerySet({ type: 'timestamp', count: calls.length * 2 });
    const bytes = calls.length * 16;
    const resolved = this.device.createBuffer(
      'timestamps',
      bytes,
      GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC,
    );
    const encoder = gpu.createCommandEncoder({ label: 'profile' });
    calls.forEach(({ encode }, index) => {
      const pass = encoder.beginComputePass({
        timestampWrites: { querySet, beginningOfPassWriteIndex: index * 2, endOfPassWriteIndex: index * 2 + 1 },
      });
      encode(pass);
      pass.end();
    });
    encoder.resolveQuerySet(querySet, 0, calls.length * 2, resolved, 0);
    this.device.submit(encoder);
    const ticks = new BigUint64Array(await this.device.read(resolved, 0, bytes));
    querySet.destroy();
    this.device.destroyBuffer(resolved);
    return calls.map((_, index) => Number(ticks[index * 2 + 1] - ticks[index * 2]));
  }

  private async byWaiting(calls: readonly ProfiledCall[]): Promise<number[]> {
    const times: number[] = [];
    for (const { encode } of calls) {
      const encoder = this.device.gpu.createCommandEncoder({ label: 'profile' });
      const pass = encoder.beginComputePass();
      encode(pass);
      pass.end();
      const start = performance.now();
      this.device.submit(encoder);
      await this.device.finish();
      times.push((performance.now() - start) * 1e6);
    }
    return times;
  }
}
