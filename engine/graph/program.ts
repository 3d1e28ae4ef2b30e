import { Emu3Error, throwIfAborted } from '../../kernels/core/errors.js';
import type { Device } from '../device.js';
import { GpuTensor, checkBindingSize } from '../tensor.js';
import type { Graph, Tensor } from './graph.js';
import { planMemory, type MemoryPlan, type PlannedCall } from './plan.js';
import { Profiler, type KernelTime } from './profile.js';

interface RecordedCall {
  readonly planned: PlannedCall;
  readonly pipeline: GPUComputePipeline;
  readonly bindGroup: GPUBindGroup;
}

export interface ProgramOptions {
  label: string;
  /** Temporaries that can be read after a run, through {@link Program.output}. */
  outputs?: readonly Tensor[];
  /** Called as pipelines compile. */
  onCompile?: (done: number, total: number) => void;
}

export interface RunEvents {
  readonly signal?: AbortSignal | undefined;
  /** Told how many of the run's floating-point operations are done, the last part's when it is submitted. */
  readonly onPart?: ((done: number, total: number) => void) | undefined;
}

/** Work of one submit of {@link Program.runInParts}: a second or two of two CPU cores, hundredths of one on a GPU. */
const defaultPartFlops = 40e9;

/** Uniform blocks start at multiples of this, the largest alignment a device may ask for. */
const uniformAlignment = 256;

/**
 * A compiled graph: every pipeline, buffer and bind group exists, and a run is one command encoder with one compute
 * pass that replays the recorded dispatches. A run creates no buffer and no bind group.
 */
export class Program {
  readonly label: string;
  readonly device: Device;
  private readonly plan: MemoryPlan;
  private readonly recorded: readonly RecordedCall[];
  private readonly arena: readonly GPUBuffer[];
  private readonly uniforms: GPUBuffer;
  private readonly outputs = new Map<Tensor, GpuTensor>();

  private constructor(
    device: Device,
    plan: MemoryPlan,
    recorded: readonly RecordedCall[],
    arena: readonly GPUBuffer[],
    uniforms: GPUBuffer,
    options: ProgramOptions,
  ) {
    this.label = options.label;
    this.device = device;
    this.plan = plan;
    this.recorded = recorded;
    this.arena = arena;
    this.uniforms = uniforms;
    for (const tensor of options.outputs ?? []) this.outputs.set(tensor, place(device, plan, arena, tensor));
  }

  /** Plans memory, compiles the pipelines (asynchronously) and records the dispatches. */
  static async compile(device: Device, graph: Graph, options: ProgramOptions): Promise<Program> {
    const plan = planMemory(graph, options.outputs ?? []);
    for (const [slot, bytes] of plan.slots.entries()) checkBindingSize(device, bytes, `${options.label} arena ${slot}`);
    let done = 0;
    const pipelines = await Promise.all(
      plan.calls.map(async ({ call }) => {
        const pipeline = await device.pipeline(call);
        options.onCompile?.(++done, plan.calls.length);
        return pipeline;
      }),
    );
    const buffers: GPUBuffer[] = [];
    try {
      const { recorded, arena, uniforms } = await device.validated(options.label, () => {
        const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
        const make = (what: string, bytes: number, as: GPUBufferUsageFlags): GPUBuffer => {
          const buffer = device.createBuffer(`${options.label} ${what}`, bytes, as);
          buffers.push(buffer);
          return buffer;
        };
        const arena = plan.slots.map((bytes, slot) => make(`arena ${slot}`, bytes, usage));
        const { block, offsets } = packUniforms(plan);
        const uniforms = make('uniforms', block.byteLength, GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST);
        device.gpu.queue.writeBuffer(uniforms, 0, block);
        const recorded = plan.calls.map((planned, index) =>
          record(device, plan, planned, pipelines[index], arena, { buffer: uniforms, offset: offsets[index] }),
        );
        return { recorded, arena, uniforms };
      });
      return new Program(device, plan, recorded, arena, uniforms, options);
    } catch (error) {
      for (const buffer of buffers) device.destroyBuffer(buffer);
      throw error;
    }
  }

  /** Dispatches in one run. */
  get dispatches(): number {
    return this.recorded.length;
  }

  /** Bytes of the arena, and what it would take without reuse. */
  get memory(): { arenaBytes: number; temporaryBytes: number } {
    const arenaBytes = this.plan.slots.reduce((sum, bytes) => sum + bytes, 0);
    return { arenaBytes, temporaryBytes: this.plan.temporaryBytes };
  }

  /** Floating-point operations and least bytes moved in one run, summed over its kernels. */
  get work(): { flops: number; bytes: number } {
    let flops = 0;
    let bytes = 0;
    for (const { planned } of this.recorded) {
      flops += planned.call.flops;
      bytes += planned.call.bytes;
    }
    return { flops, bytes };
  }

  /** Appends the recorded dispatches to an encoder, as one compute pass. */
  encode(encoder: GPUCommandEncoder): void {
    this.encodeCalls(encoder, this.recorded);
  }

  private encodeCalls(encoder: GPUCommandEncoder, calls: readonly RecordedCall[]): void {
    const pass = encoder.beginComputePass({ label: this.label });
    for (const call of calls) dispatch(pass, call);
    pass.end();
    this.device.counters.dispatches += calls.length;
  }

  /** Runs once: one encoder, one pass, one submit. Does not wait. */
  run(): void {
    this.submitCalls(this.recorded);
  }

  private submitCalls(calls: readonly RecordedCall[]): void {
    this.device.check();
    const encoder = this.device.gpu.createCommandEncoder({ label: this.label });
    this.encodeCalls(encoder, calls);
    this.device.submit(encoder);
  }

  /**
   * Runs once, in as many submits as there is work for, and waits for all but the last: a long program can be stopped, and
   * no submit takes so long that a browser gives the device up.
   *
   * @param partFlops operations from which on a submit is full.
   * @throws Emu3Error `aborted` between submits.
   */
  async runInParts({ signal, onPart }: RunEvents = {}, partFlops = defaultPartFlops): Promise<void> {
    const total = this.work.flops;
    let done = 0;
    let begin = 0;
    let flops = 0;
    for (const [index, { planned }] of this.recorded.entries()) {
      flops += planned.call.flops;
      if (flops < partFlops && index < this.recorded.length - 1) continue;
      throwIfAborted(signal, this.label);
      this.submitCalls(this.recorded.slice(begin, index + 1));
      done += flops;
      begin = index + 1;
      flops = 0;
      if (begin < this.recorded.length) await this.device.finish();
      onPart?.(done, total);
    }
  }

  /** Runs once with a submit of its own for every dispatch: the plain way, for comparison with {@link run}. */
  runUnreplayed(): void {
    for (const call of this.recorded) {
      const encoder = this.device.gpu.createCommandEncoder({ label: this.label });
      const pass = encoder.beginComputePass();
      dispatch(pass, call);
      pass.end();
      this.device.submit(encoder);
    }
  }

  /** Runs once and measures each kernel: timestamp queries where the adapter has them, else waiting for each dispatch. */
  async profile(): Promise<KernelTime[]> {
    const profiler = new Profiler(this.device);
    return profiler.measure(
      this.recorded.map(({ planned, pipeline, bindGroup }) => ({
        node: planned.node,
        call: planned.call,
        encode: (pass: GPUComputePassEncoder) => dispatch(pass, { planned, pipeline, bindGroup }),
      })),
    );
  }

  /** The GPU tensor behind one of the `outputs` the program was compiled with. */
  output(tensor: Tensor): GpuTensor {
    const found = this.outputs.get(tensor);
    if (found === undefined) {
      throw new Emu3Error(`${tensor.label} is not an output of ${this.label}.`, {
        code: 'argument',
        where: this.label,
        fix: 'Name it in `outputs` when compiling.',
      });
    }
    return found;
  }

  /** Frees the arena; persistent tensors stay. */
  destroy(): void {
    for (const buffer of this.arena) this.device.destroyBuffer(buffer);
    this.device.destroyBuffer(this.uniforms);
  }
}

/** Binds the tensors of one dispatch to its pipeline. */
function record(
  device: Device,
  plan: MemoryPlan,
  planned: PlannedCall,
  pipeline: GPUComputePipeline,
  arena: readonly GPUBuffer[],
  uniforms: { buffer: GPUBuffer; offset: number },
): RecordedCall {
  const { call } = planned;
  const entries: GPUBindGroupEntry[] = call.kernel.bindings.map((binding) => {
    const { buffer, offset, byteLength } = place(device, plan, arena, call.bindings[binding.name]);
    // A binding's size is rounded to the buffer's 16-byte granularity, so that vec4 views of short tensors are whole.
    const size = Math.min(Math.ceil(byteLength / 16) * 16, buffer.size - offset);
    return { binding: binding.index, resource: { buffer, offset, size } };
  });
  if (call.kernel.paramsBinding !== undefined && call.params !== undefined) {
    entries.push({
      binding: call.kernel.paramsBinding,
      resource: { ...uniforms, size: call.params.byteLength },
    });
  }
  const layout = pipeline.getBindGroupLayout(0);
  return { planned, pipeline, bindGroup: device.createBindGroup({ label: call.kernel.name, layout, entries }) };
}

function dispatch(pass: GPUComputePassEncoder, { planned, pipeline, bindGroup }: RecordedCall): void {
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, bindGroup);
  pass.dispatchWorkgroups(...planned.call.grid);
}

function place(device: Device, plan: MemoryPlan, arena: readonly GPUBuffer[], tensor: Tensor): GpuTensor {
  const { persistent } = tensor.storage;
  const slot = plan.slotOf.get(tensor.storage);
  if (persistent) {
    return new GpuTensor(device, persistent.buffer, persistent.offset, tensor.shape, tensor.dtype, tensor.label);
  }
  if (slot === undefined) {
    throw new Emu3Error(`${tensor.label} is asked for, but nothing writes it.`, {
      code: 'argument',
      where: 'graph',
      fix: 'Emit the node that writes it.',
    });
  }
  return new GpuTensor(device, arena[slot], 0, tensor.shape, tensor.dtype, tensor.label);
}

/** All uniform blocks of the program in one block, equal ones once, and where each call finds its own. */
function packUniforms(plan: MemoryPlan): { block: Uint8Array<ArrayBuffer>; offsets: number[] } {
  const known = new Map<string, number>();
  const blocks: { offset: number; block: ArrayBuffer }[] = [];
  let size = 0;
  const offsets = plan.calls.map(({ call }) => {
    const block = call.params;
    if (block === undefined) return 0;
    const key = new Uint8Array(block).join();
    let offset = known.get(key);
    if (offset === undefined) {
      offset = size;
      known.set(key, offset);
      blocks.push({ offset, block });
      size += Math.ceil(block.byteLength / uniformAlignment) * uniformAlignment;
    }
    return offset;
  });
  const all = new Uint8Array(Math.max(size, uniformAlignment));
  for (const { offset, block } of blocks) all.set(new Uint8Array(block), offset);
  return { block: all, offsets };
}
