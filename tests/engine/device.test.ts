import { afterEach, describe, expect, it, vi } from 'vitest';
import { requestAdapterBrowser } from '../../engine/adapter/browser.js';
import { requestAdapterNode } from '../../engine/adapter/request.node.js';
import { Device, type DeviceOptions } from '../../engine/device.js';
import { Graph, Program, type Tensor } from '../../engine/graph/index.js';
import { add } from '../../engine/ops/elementwise.js';
import { GpuTensor } from '../../engine/tensor.js';
import { defineKernel } from '../../kernels/core/define.js';
import type { Emu3Error } from '../../kernels/core/errors.js';

const opened: Device[] = [];

afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
  for (const device of opened.splice(0)) device.destroy();
});

/** A device of its own: these tests spoil theirs. */
async function openDevice(options: DeviceOptions = {}): Promise<Device> {
  const device = await Device.create(await requestAdapterNode({ log: () => undefined }), options);
  opened.push(device);
  return device;
}

async function doubling(device: Device, label: string): Promise<{ x: GpuTensor; out: Tensor; program: Program }> {
  const graph = new Graph(device.traits);
  const x = GpuTensor.from(device, [4], 'f32', Float32Array.of(1, 2, 3, 4), `x of ${label}`);
  const out = add(graph, graph.bind(x), graph.bind(x));
  return { x, out, program: await Program.compile(device, graph, { label, outputs: [out] }) };
}

/** Resolves once the device has told of its loss, which it does some time after. */
async function lostDevice(): Promise<{ device: Device; errors: Emu3Error[]; program: Program; x: GpuTensor }> {
  const errors: Emu3Error[] = [];
  const device = await openDevice({ onLost: (error) => errors.push(error) });
  const { program, x } = await doubling(device, 'double');
  device.gpu.destroy();
  await device.gpu.lost;
  return { device, errors, program, x };
}

describe('a lost device', () => {
  it('is told once, and every later use says so', async () => {
    const { device, errors, program, x } = await lostDevice();
    expect(errors).toHaveLength(1);
    expect(errors[0]).toMatchObject({ name: 'Emu3Error', code: 'device-lost', where: device.choice.description });
    expect(errors[0].fix).toMatch(/new device/);
    expect(() => device.check()).toThrow(errors[0]);
    expect(() => program.run()).toThrow(errors[0]);
    await expect(x.readFloat32()).rejects.toBe(errors[0]);
    await expect(device.finish()).rejects.toBe(errors[0]);
    await expect(doubling(device, 'again')).rejects.toBe(errors[0]);
    expect(errors).toHaveLength(1);
  });

  it('is an error of the read that was under way', async () => {
    const device = await openDevice();
    const { x } = await doubling(device, 'double');
    const reading = x.readFloat32();
    device.gpu.destroy();
    await expect(reading).rejects.toMatchObject({ name: 'Emu3Error', code: 'device-lost' });
  });

  it('is not an error when it was asked for', async () => {
    const onLost = vi.fn();
    const device = await openDevice({ onLost });
    device.destroy();
    await device.gpu.lost;
    expect(onLost).not.toHaveBeenCalled();
    expect(() => device.check()).not.toThrow();
    expect(device.allocatedBytes).toBe(0);
  });

  it('hides the errors that follow from it', async () => {
    const device = await openDevice();
    const { x } = await doubling(device, 'double');
    x.buffer.destroy();
    await expect(x.readFloat32()).rejects.toMatchObject({ code: 'validation' });
    device.gpu.destroy();
    await device.gpu.lost;
    expect(() => device.check()).toThrow(expect.objectContaining({ code: 'device-lost' }));
  });
});

describe('a command WebGPU refuses', () => {
  it('is fatal and names the program', async () => {
    const device = await openDevice();
    const { program, x } = await doubling(device, 'double');
    x.buffer.destroy();
    program.run();
    await expect(device.finish()).rejects.toMatchObject({ code: 'validation', where: 'double' });
    expect(() => program.run()).toThrow(expect.objectContaining({ code: 'validation' }));
  });

  it('is told when the program is compiled, which then keeps no memory', async () => {
    const device = await openDevice();
    const x = GpuTensor.create(device, [4], 'f32', 'x');
    const bytes = device.allocatedBytes;
    // A view that starts off the 256 bytes a binding must be aligned to.
    const askew = new GpuTensor(device, x.buffer, 4, [2], 'f32', 'askew');
    const graph = new Graph(device.traits);
    const out = add(graph, graph.bind(askew), graph.bind(askew));
    const compiled = Program.compile(device, graph, { label: 'askew sum', outputs: [out] });
    await expect(compiled).rejects.toMatchObject({ code: 'validation', where: 'askew sum' });
    expect(device.allocatedBytes).toBe(bytes);
    // Nothing was run, so the device is still good.
    await device.finish();
  });

  it('names the kernel whose WGSL does not compile', async () => {
    const device = await openDevice();
    const source = `
      @group(0) @binding(0) var<storage, read_write> y: array<f32>;
      @compute @workgroup_size(1) fn main() { y[0] = nowhere; }`;
    const kernel = defineKernel('broken', source);
    const graph = new Graph(device.traits);
    const y = graph.temporary([1], 'f32', 'y');
    const call = kernel.call({ bindings: { y }, grid: [1, 1, 1], bytes: 4, flops: 0 });
    graph.node({ name: 'broken', inputs: [], outputs: [y], calls: [call] });
    for (const label of ['first', 'second']) {
      await expect(Program.compile(device, graph, { label, outputs: [y] })).rejects.toMatchObject({
        code: 'validation',
        where: 'kernel broken',
        message: expect.stringContaining('nowhere') as unknown,
      });
    }
  });

  it('names the kernel whose workgroups are above the limits', async () => {
    const device = await openDevice({ tier: 'default' });
    const source = `
      override SIZE: u32 = 64;
      @group(0) @binding(0) var<storage, read_write> y: array<f32>;
      @compute @workgroup_size(SIZE) fn main(@builtin(local_invocation_index) i: u32) { y[i] = 1.0; }`;
    const graph = new Graph(device.traits);
    const y = graph.temporary([4], 'f32', 'y');
    const call = defineKernel('wide', source).call({
      overrides: { SIZE: 257 },
      bindings: { y },
      grid: [1, 1, 1],
      bytes: 4,
      flops: 0,
    });
    graph.node({ name: 'wide', inputs: [], outputs: [y], calls: [call] });
    await expect(Program.compile(device, graph, { label: 'wide', outputs: [y] })).rejects.toMatchObject({
      code: 'validation',
      where: 'kernel wide',
    });
  });
});

describe('memory', () => {
  /** Lets the device find no room for buffers of this label, as a full GPU would. */
  function refuseRoom(device: Device, label: string): void {
    const create = device.gpu.createBuffer.bind(device.gpu);
    const pop = device.gpu.popErrorScope.bind(device.gpu);
    let refused = false;
    vi.spyOn(device.gpu, 'createBuffer').mockImplementation((descriptor) => {
      refused = descriptor.label === label;
      return create(descriptor);
    });
    vi.spyOn(device.gpu, 'popErrorScope').mockImplementation(async () => {
      const outOfMemory = refused;
      refused = false;
      const error = await pop();
      return outOfMemory ? new GPUOutOfMemoryError('no room') : error;
    });
  }

  it('that is not there names the tensor', async () => {
    const device = await openDevice();
    refuseRoom(device, 'weights');
    GpuTensor.create(device, [64], 'f32', 'weights');
    await expect(device.finish()).rejects.toMatchObject({
      code: 'out-of-memory',
      where: 'weights',
      message: expect.stringContaining('256 bytes') as unknown,
    });
  });

  it('that is not there fails the compilation by name, which then keeps none', async () => {
    const device = await openDevice();
    const graph = new Graph(device.traits);
    const x = GpuTensor.create(device, [4], 'f32', 'x');
    const bytes = device.allocatedBytes;
    const out = add(graph, graph.bind(x), graph.bind(x));
    refuseRoom(device, 'sum arena 0');
    const compiled = Program.compile(device, graph, { label: 'sum', outputs: [out] });
    await expect(compiled).rejects.toMatchObject({ code: 'out-of-memory', where: 'sum arena 0' });
    expect(device.allocatedBytes).toBe(bytes);
  });

  it('hides the validation errors that follow from it', async () => {
    const device = await openDevice();
    refuseRoom(device, 'readback staging');
    const { x } = await doubling(device, 'double');
    x.buffer.destroy();
    await expect(x.readFloat32()).rejects.toMatchObject({ code: 'out-of-memory', where: 'readback staging' });
  });

  it('above what a binding or a buffer may hold is refused at once', async () => {
    const device = await openDevice({ tier: 'default' });
    const { maxBufferSize, maxStorageBufferBindingSize } = device.gpu.limits;
    const elements = maxStorageBufferBindingSize / 4 + 1;
    expect(() => GpuTensor.create(device, [elements], 'f32', 'weights')).toThrow(
      expect.objectContaining({ code: 'limit', where: 'weights' }),
    );
    expect(() => device.createBuffer('pool', maxBufferSize + 1, GPUBufferUsage.STORAGE)).toThrow(
      expect.objectContaining({ code: 'limit', where: 'pool' }),
    );
    const graph = new Graph(device.traits);
    const x = GpuTensor.create(device, [1], 'f32', 'x');
    const huge = graph.temporary([elements], 'f32', 'huge');
    const source = `
      @group(0) @binding(0) var<storage, read> x: array<f32>;
      @group(0) @binding(1) var<storage, read_write> y: array<f32>;
      @compute @workgroup_size(1) fn main() { y[0] = x[0]; }`;
    const call = defineKernel('fill', source).call({
      bindings: { x: graph.bind(x), y: huge },
      grid: [1, 1, 1],
      bytes: 8,
      flops: 0,
    });
    graph.node({ name: 'fill', inputs: [graph.bind(x)], outputs: [huge], calls: [call] });
    const compiled = Program.compile(device, graph, { label: 'huge program', outputs: [huge] });
    await expect(compiled).rejects.toMatchObject({ code: 'limit', where: 'huge program arena 0' });
    await device.finish();
  });
});

describe('reads', () => {
  it('that overlap each get their own bytes through one staging buffer', async () => {
    const device = await openDevice();
    const tensors = [1, 2, 3].map((value) =>
      GpuTensor.from(device, [8 * value], 'f32', new Float32Array(8 * value).fill(value), `tensor ${value}`),
    );
    const read = await Promise.all([...tensors].reverse().map((tensor) => tensor.readFloat32()));
    expect(read.map((values) => [...new Set(values)])).toEqual([[3], [2], [1]]);
    const { buffers } = device.counters;
    await Promise.all(tensors.map((tensor) => tensor.readFloat32()));
    expect(device.counters.buffers).toBe(buffers);
  });
});

describe('no adapter', () => {
  it('is an error with a remedy when the adapter gives no device', async () => {
    const choice = await requestAdapterNode({ log: () => undefined });
    vi.spyOn(choice.adapter, 'requestDevice').mockRejectedValue(new Error('driver gone'));
    await expect(Device.create(choice)).rejects.toMatchObject({
      code: 'no-adapter',
      where: choice.description,
      fix: expect.stringContaining('driver') as unknown,
    });
  });

  it.each([
    ['a browser without WebGPU', {}, true, /Use a recent/],
    ['a page that is not secure', {}, false, /https/],
    ['a browser without an adapter', { gpu: { requestAdapter: async () => null } }, true, /acceleration/],
  ])('is an error with a remedy in %s', async (_, navigator, isSecureContext, fix) => {
    vi.stubGlobal('navigator', navigator);
    vi.stubGlobal('isSecureContext', isSecureContext);
    await expect(requestAdapterBrowser()).rejects.toMatchObject({
      code: 'no-adapter',
      fix: expect.stringMatching(fix) as unknown,
    });
  });
});
