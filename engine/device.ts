import { Emu3Error } from '../kernels/core/errors.js';
import type { KernelCall, Kernel } from '../kernels/core/define.js';
import type { KernelTraits } from '../kernels/core/types.js';
import type { AdapterChoice } from './adapter/types.js';

/** `default`: WebGPU's guaranteed limits and no optional feature, as the weakest conforming adapter offers. `adapter`: all that is offered. */
export type LimitTier = 'default' | 'adapter';

export interface DeviceOptions {
  tier?: LimitTier;
  /** Called once if the device is lost for another reason than {@link Device.destroy}. */
  onLost?: (error: Emu3Error) => void;
}

/** How many objects of each kind were created; a replayed step must leave `buffers` and `bindGroups` as they are. */
export interface DeviceCounters {
  buffers: number;
  bindGroups: number;
  pipelines: number;
  submits: number;
  dispatches: number;
}

const negotiatedLimits = [
  'maxBufferSize',
  'maxStorageBufferBindingSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupStorageSize',
  'maxComputeWorkgroupSizeX',
  'maxComputeWorkgroupSizeY',
] as const;

const wantedFeatures: readonly GPUFeatureName[] = ['shader-f16', 'subgroups', 'timestamp-query'];

/** Everything the engine asks of WebGPU goes through here, so that objects are counted, bytes are known and errors are typed. */
export class Device {
  readonly gpu: GPUDevice;
  readonly choice: AdapterChoice;
  readonly traits: KernelTraits;
  readonly counters: DeviceCounters = { buffers: 0, bindGroups: 0, pipelines: 0, submits: 0, dispatches: 0 };
  /** Bytes of all live buffers made by {@link createBuffer}. */
  allocatedBytes = 0;
  private failure: Emu3Error | undefined;
  private destroyed = false;
  private readonly bufferSizes = new Map<GPUBuffer, number>();
  private readonly pipelines = new Map<string, Promise<GPUComputePipeline>>();
  private readonly modules = new Map<string, GPUShaderModule>();
  private staging: GPUBuffer | undefined;
  private readback: Promise<unknown> = Promise.resolve();
  /** Resolves when WebGPU has said of every buffer made so far whether there was memory for it. */
  private allocations: Promise<unknown> = Promise.resolve();

  private constructor(gpu: GPUDevice, choice: AdapterChoice, options: DeviceOptions) {
    this.gpu = gpu;
    this.choice = choice;
    this.traits = {
      software: choice.software,
      f16: gpu.features.has('shader-f16'),
      subgroups: gpu.features.has('subgroups'),
      subgroupMinSize: choice.adapter.info.subgroupMinSize ?? 4,
      maxInvocations: gpu.limits.maxComputeInvocationsPerWorkgroup,
      maxWorkgroupStorage: gpu.limits.maxComputeWorkgroupStorageSize,
    };
    gpu.addEventListener('uncapturederror', (event) => {
      event.preventDefault();
      this.fail(typedGpuError(event.error));
    });
    void gpu.lost.then((info) => {
      if (this.destroyed) return;
      const error = new Emu3Error(`The GPU device was lost: ${info.message || info.reason}.`, {
        code: 'device-lost',
        where: choice.description,
        fix: 'Create a new device and load the model again; close other programs that use the GPU if it happens again.',
      });
      this.fail(error);
      options.onLost?.(error);
    });
  }

  /**
   * Requests a device with the limits of the tier.
   *
   * @throws Emu3Error `no-adapter` when the adapter refuses to give a device.
   */
  static async create(choice: AdapterChoice, options: DeviceOptions = {}): Promise<Device> {
    const { adapter } = choice;
    const requiredLimits: Record<string, number> = {};
    let requiredFeatures: GPUFeatureName[] = [];
    if ((options.tier ?? 'adapter') === 'adapter') {
      for (const name of negotiatedLimits) requiredLimits[name] = adapter.limits[name];
      requiredFeatures = wantedFeatures.filter((feature) => adapter.features.has(feature));
    }
    try {
      const gpu = await adapter.requestDevice({ requiredFeatures, requiredLimits });
      return new Device(gpu, choice, options);
    } catch (cause) {
      throw new Emu3Error('The adapter gave no device.', {
        code: 'no-adapter',
        where: choice.description,
        fix: 'Update the graphics driver, or choose another adapter.',
        cause,
      });
    }
  }

  /**
   * Throws what the GPU reported since the device was made, if anything: after it, no result can be trusted.
   *
   * @throws Emu3Error `device-lost`, `out-of-memory` or `validation`.
   */
  check(): void {
    if (this.failure) throw this.failure;
  }

  /** Keeps the cause rather than what follows from it: a lost device, then a lack of memory, then the first report. */
  private fail(error: Emu3Error): void {
    const rank = ({ code }: Emu3Error): number => ['out-of-memory', 'device-lost'].indexOf(code);
    if (this.failure === undefined || rank(error) > rank(this.failure)) this.failure = error;
  }

  /**
   * Runs `work`, which must not wait, then waits until WebGPU has judged its calls and every buffer made so far.
   *
   * @param where what the error names.
   * @throws Emu3Error `validation` when WebGPU refuses one of the calls; what {@link check} throws.
   */
  async validated<T>(where: string, work: () => T): Promise<T> {
    this.check();
    const { value, verdict } = this.scoped('validation', work);
    const error = await verdict;
    await this.allocations;
    this.check();
    if (error) throw validationError(error, where);
    return value;
  }

  /** Runs `work` in an error scope; the verdict is null when nothing was reported or the device was lost meanwhile. */
  private scoped<T>(filter: GPUErrorFilter, work: () => T): { value: T; verdict: Promise<GPUError | null> } {
    this.gpu.pushErrorScope(filter);
    let value: T;
    try {
      value = work();
    } catch (error) {
      void this.gpu.popErrorScope().catch(() => null);
      throw error;
    }
    return { value, verdict: this.gpu.popErrorScope().catch(() => null) };
  }

  /**
   * Makes a buffer of at least `size` bytes, rounded up to 16. Lack of memory shows later, in {@link check}.
   *
   * @throws Emu3Error `limit` above the device's maxBufferSize.
   */
  createBuffer(label: string, size: number, usage: GPUBufferUsageFlags): GPUBuffer {
    const bytes = Math.max(16, Math.ceil(size / 16) * 16);
    if (bytes > this.gpu.limits.maxBufferSize) {
      throw new Emu3Error(`A buffer of ${bytes} bytes is above the adapter's ${this.gpu.limits.maxBufferSize}.`, {
        code: 'limit',
        where: label,
        fix: 'Use a smaller batch, context or model, or an adapter with larger buffers.',
      });
    }
    this.counters.buffers += 1;
    this.allocatedBytes += bytes;
    const { value: buffer, verdict } = this.scoped('out-of-memory', () =>
      this.gpu.createBuffer({ label, size: bytes, usage }),
    );
    const report = verdict.then((error) => {
      if (error) this.fail(outOfMemoryError(error, label, `no room for a buffer of ${bytes} bytes`));
    });
    this.allocations = Promise.all([this.allocations, report]);
    this.bufferSizes.set(buffer, bytes);
    return buffer;
  }

  destroyBuffer(buffer: GPUBuffer): void {
    const bytes = this.bufferSizes.get(buffer);
    if (bytes === undefined) return;
    this.bufferSizes.delete(buffer);
    this.allocatedBytes -= bytes;
    buffer.destroy();
  }

  createBindGroup(descriptor: GPUBindGroupDescriptor): GPUBindGroup {
    this.counters.bindGroups += 1;
    return this.gpu.createBindGroup(descriptor);
  }

  /** The compute pipeline of a call, compiled once for each combination of source and override values. */
  async pipeline(call: KernelCall): Promise<GPUComputePipeline> {
    const constants = Object.entries(call.overrides).sort(([a], [b]) => (a < b ? -1 : 1));
    const key = `${JSON.stringify(constants)}\n${call.code}`;
    const known = this.pipelines.get(key);
    if (known) return known;
    const created = this.compile(call.kernel, call.code, Object.fromEntries(constants));
    this.pipelines.set(key, created);
    return created;
  }

  private async compile(kernel: Kernel, code: string, constants: Record<string, number>): Promise<GPUComputePipeline> {
    this.counters.pipelines += 1;
    let module = this.modules.get(code);
    if (module === undefined) {
      const { value, verdict } = this.scoped('validation', () =>
        this.gpu.createShaderModule({ label: kernel.name, code }),
      );
      module = value;
      this.modules.set(code, module);
      const error = await verdict;
      if (error) throw this.compileError(kernel, error.message, error);
    }
    // The layout is written out rather than inferred, so that a binding the compiler drops is still accepted.
    const entries: GPUBindGroupLayoutEntry[] = kernel.bindings.map((binding) => ({
      binding: binding.index,
      visibility: GPUShaderStage.COMPUTE,
      buffer: { type: binding.access === 'read' ? 'read-only-storage' : 'storage' },
    }));
    if (kernel.paramsBinding !== undefined) {
      entries.push({ binding: kernel.paramsBinding, visibility: GPUShaderStage.COMPUTE, buffer: { type: 'uniform' } });
    }
    const layout = this.gpu.createPipelineLayout({ bindGroupLayouts: [this.gpu.createBindGroupLayout({ entries })] });
    try {
      return await this.gpu.createComputePipelineAsync({
        label: kernel.name,
        layout,
        compute: { module, entryPoint: 'main', constants },
      });
    } catch (cause) {
      this.check();
      throw this.compileError(kernel, cause instanceof Error ? cause.message : String(cause), cause);
    }
  }

  private compileError(kernel: Kernel, message: string, cause: unknown): Emu3Error {
    return new Emu3Error(`Kernel ${kernel.name} does not compile: ${message}`, {
      code: 'validation',
      where: `kernel ${kernel.name}`,
      fix: 'Report this with the adapter that `emu3 devices` prints.',
      cause,
    });
  }

  submit(encoder: GPUCommandEncoder): void {
    this.counters.submits += 1;
    this.gpu.queue.submit([encoder.finish()]);
  }

  /** Waits for the queue and throws what the GPU reported on the way, as {@link check} does. */
  async finish(): Promise<void> {
    this.check();
    await this.gpu.queue.onSubmittedWorkDone();
    await this.allocations;
    this.check();
  }

  /**
   * Copies bytes of a GPU buffer to the host. Offset and size in bytes, multiples of 4. Uses one staging buffer that
   * grows to the largest read and is then reused, so steady-state reads allocate nothing on the GPU.
   */
  async read(buffer: GPUBuffer, offset: number, size: number): Promise<ArrayBuffer> {
    // One staging buffer means one read at a time; later reads queue behind earlier ones.
    const turn = this.readback.then(() => this.readNow(buffer, offset, size));
    this.readback = turn.catch(() => undefined);
    return turn;
  }

  private async readNow(buffer: GPUBuffer, offset: number, size: number): Promise<ArrayBuffer> {
    this.check();
    if (this.staging === undefined || this.staging.size < size) {
      if (this.staging) this.destroyBuffer(this.staging);
      this.staging = this.createBuffer('readback staging', size, GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST);
    }
    const staging = this.staging;
    const encoder = this.gpu.createCommandEncoder({ label: 'readback' });
    encoder.copyBufferToBuffer(buffer, offset, staging, 0, size);
    this.submit(encoder);
    try {
      await staging.mapAsync(GPUMapMode.READ, 0, size);
    } catch (cause) {
      await this.allocations;
      this.check();
      throw new Emu3Error('Reading results back from the GPU failed.', {
        code: 'device-lost',
        where: buffer.label,
        fix: 'Create a new device and try again.',
        cause,
      });
    }
    const copy = staging.getMappedRange(0, size).slice(0);
    staging.unmap();
    await this.allocations;
    this.check();
    return copy;
  }

  destroy(): void {
    this.destroyed = true;
    for (const buffer of [...this.bufferSizes.keys()]) this.destroyBuffer(buffer);
    this.gpu.destroy();
  }
}

function typedGpuError(error: GPUError): Emu3Error {
  // Messages name objects by their labels, and the engine labels encoders and passes with the program's name.
  const place =
    /(?:ComputePassEncoder|CommandEncoder) "([^"]+)"/.exec(error.message) ?? /\[\w+ "+([^"]+)"/.exec(error.message);
  const where = place?.[1] ?? 'device';
  if (error instanceof GPUOutOfMemoryError) return outOfMemoryError(error, where, error.message);
  return validationError(error, where);
}

function validationError(cause: GPUError, where: string): Emu3Error {
  return new Emu3Error(`WebGPU refused a command: ${cause.message.trim()}`, {
    code: 'validation',
    where,
    fix: 'Report this: the engine must not send invalid commands.',
    cause,
  });
}

function outOfMemoryError(cause: GPUError, where: string, what: string): Emu3Error {
  return new Emu3Error(`The GPU ran out of memory: ${what}.`, {
    code: 'out-of-memory',
    where,
    fix: 'Use a smaller batch, context or model, or close other programs that use the GPU.',
    cause,
  });
}
