import { expect } from 'vitest';
import type { KernelCall } from '../../kernels/core/define.js';
import { elementCount, type DType, type KernelTraits } from '../../kernels/core/types.js';
import { Graph, gradients, Program, type Tensor } from '../../engine/graph/index.js';
import { GpuTensor, narrowFloat16, tensorBytes, type TensorData } from '../../engine/tensor.js';
import type { Device } from '../../engine/device.js';
import { expectClose, pseudoRandom, type Tolerance } from './compare.js';
import { testDevice } from './gpu.js';

export { expectClose, pseudoRandom, relativeError } from './compare.js';
export { dtypesToTest, testDevice } from './gpu.js';

export interface TestTensor {
  shape: readonly number[];
  /** Default f32. */
  dtype?: DType;
  /** Float32Array for f32 and f16 (narrowed here), Uint32Array or Int32Array for integers. */
  data: Float32Array | Uint32Array | Int32Array;
}

export interface TestOutput {
  shape: readonly number[];
  dtype?: DType;
  /** What is there before the kernel runs; default a loud value. */
  initial?: TestTensor['data'];
}

export interface KernelRun<I extends string, O extends string> {
  inputs: Record<I, TestTensor>;
  outputs: Record<O, TestOutput>;
  calls: (tensors: Record<I | O, Tensor>, traits: KernelTraits) => KernelCall<Tensor> | readonly KernelCall<Tensor>[];
}

const paddingBytes = 256;
const sentinel = 0x7b5a7b5a;

/** A tensor in the middle of a buffer whose both ends hold a sentinel that no kernel may change. */
class GuardedTensor {
  readonly tensor: GpuTensor;
  readonly label: string;
  private readonly device: Device;

  constructor(device: Device, label: string, shape: readonly number[], dtype: DType, data?: TestTensor['data']) {
    const body = Math.ceil(tensorBytes(shape, dtype) / 16) * 16;
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
    const buffer = device.createBuffer(label, body + 2 * paddingBytes, usage);
    device.gpu.queue.writeBuffer(buffer, 0, new Uint32Array(buffer.size / 4).fill(sentinel));
    this.device = device;
    this.label = label;
    this.tensor = new GpuTensor(device, buffer, paddingBytes, shape, dtype, label);
    if (data) this.tensor.write(encode(data, dtype));
  }

  async checkPadding(): Promise<void> {
    const { buffer, byteLength } = this.tensor;
    const words = new Uint32Array(await this.device.read(buffer, 0, buffer.size));
    const end = (paddingBytes + byteLength) / 4;
    const broken = words.findIndex((word, index) => (index < paddingBytes / 4 || index >= end) && word !== sentinel);
    expect(broken, `${this.label}: word written outside the tensor (which spans ${paddingBytes / 4}..${end})`).toBe(-1);
  }

  async read(): Promise<Float32Array | Uint32Array | Int32Array> {
    if (this.tensor.dtype === 'u32') return this.tensor.readUint32();
    if (this.tensor.dtype === 'i32') return this.tensor.readInt32();
    return this.tensor.readFloat32();
  }
}

function encode(data: TestTensor['data'], dtype: DType): TensorData {
  return dtype === 'f16' && data instanceof Float32Array ? narrowFloat16(data) : data;
}

/** Values as the storage type keeps them, for references that must see what the kernel sees. */
export function roundToDtype(data: Float32Array, dtype: DType): Float32Array {
  if (dtype !== 'f16') return data;
  return Float32Array.from(narrowFloat16(data), (bits) => {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 31;
    return sign * (exponent === 0 ? (bits & 1023) * 2 ** -24 : (1 + (bits & 1023) / 1024) * 2 ** (exponent - 15));
  });
}

function entriesOf<K extends string, V>(record: Record<K, V>): [K, V][] {
  return Object.entries(record) as [K, V][];
}

/** Runs kernel calls on real buffers, checks that nothing outside the tensors was written, and reads the outputs. */
export async function runKernel<I extends string, O extends string>(
  run: KernelRun<I, O>,
): Promise<Record<O, Float32Array>> {
  const results = await runKernelTyped(run);
  return Object.fromEntries(
    entriesOf(results).map(([name, data]) => [name, data instanceof Float32Array ? data : Float32Array.from(data)]),
  ) as Record<O, Float32Array>;
}

/** Like {@link runKernel}, with integer outputs as integers. */
export async function runKernelTyped<I extends string, O extends string>(
  run: KernelRun<I, O>,
): Promise<Record<O, Float32Array | Uint32Array | Int32Array>> {
  const device = await testDevice();
  const graph = new Graph(device.traits);
  const guarded = new Map<string, GuardedTensor>();
  for (const [name, { shape, dtype, data }] of entriesOf(run.inputs)) {
    expect(data.length, `test input ${name}`).toBe(elementCount(shape));
    guarded.set(name, new GuardedTensor(device, name, shape, dtype ?? 'f32', data));
  }
  for (const [name, { shape, dtype, initial }] of entriesOf(run.outputs)) {
    guarded.set(name, new GuardedTensor(device, name, shape, dtype ?? 'f32', initial));
  }
  const tensors = Object.fromEntries([...guarded].map(([name, { tensor }]) => [name, graph.bind(tensor)])) as Record<
    I | O,
    Tensor
  >;
  const made = run.calls(tensors, device.traits);
  const calls = Array.isArray(made) ? (made as readonly KernelCall<Tensor>[]) : [made as KernelCall<Tensor>];
  const all = Object.values<Tensor>(tensors);
  graph.node({ name: 'test', inputs: all, outputs: all, calls });
  const program = await Program.compile(device, graph, { label: 'test' });
  program.run();
  await device.finish();
  const results: [string, Float32Array | Uint32Array | Int32Array][] = [];
  for (const [name, tensor] of guarded) {
    await tensor.checkPadding();
    if (name in run.outputs) results.push([name, await tensor.read()]);
  }
  program.destroy();
  for (const { tensor } of guarded.values()) tensor.destroy();
  return Object.fromEntries(results) as Record<O, Float32Array | Uint32Array | Int32Array>;
}

export interface GradientCheck<N extends string> {
  /** Differentiable inputs, all f32. */
  inputs: Record<N, { shape: readonly number[]; data: Float32Array }>;
  /** Inputs that are not differentiated. */
  constants?: Record<string, TestTensor>;
  build: (graph: Graph, tensors: Record<N, Tensor>, constants: Record<string, Tensor>) => Tensor;
  /** The same function in float64: flattened inputs in, flattened output out. */
  reference: (values: Record<N, Float64Array>) => Float64Array;
  forwardTolerance?: Tolerance;
  tolerance?: Tolerance;
  /** Half width of the central difference; default 1e-4. */
  step?: number;
}

/**
 * Compares the graph's output with the reference, and the graph's gradients of <output, random cotangent> with central
 * differences of the float64 reference, for every element of every input.
 */
export async function checkGradients<N extends string>(check: GradientCheck<N>): Promise<void> {
  const device = await testDevice();
  const graph = new Graph(device.traits);
  const owned: GpuTensor[] = [];
  const bind = (name: string, { shape, dtype, data }: TestTensor): Tensor => {
    const tensor = GpuTensor.from(device, shape, dtype ?? 'f32', encode(data, dtype ?? 'f32'), name);
    owned.push(tensor);
    return graph.bind(tensor);
  };
  const tensors = Object.fromEntries(
    entriesOf<N, TestTensor>(check.inputs).map(([name, input]) => [name, bind(name, input)]),
  ) as Record<N, Tensor>;
  const constants = Object.fromEntries(
    Object.entries(check.constants ?? {}).map(([name, input]) => [name, bind(name, input)]),
  );
  const output = check.build(graph, tensors, constants);
  const cotangentValues = pseudoRandom(elementCount(output.shape), 977);
  const cotangent = bind('cotangent', { shape: output.shape, data: cotangentValues });
  const names = Object.keys(check.inputs) as N[];
  const found = gradients(
    graph,
    [[output, cotangent]],
    names.map((name) => tensors[name]),
  );
  const wanted = names.map((name) => {
    const gradient = found.get(tensors[name]);
    if (gradient === undefined) throw new Error(`${name} has no gradient`);
    return gradient;
  });
  const program = await Program.compile(device, graph, { label: 'gradient check', outputs: [output, ...wanted] });
  program.run();

  const values = Object.fromEntries(names.map((name) => [name, Float64Array.from(check.inputs[name].data)])) as Record<
    N,
    Float64Array
  >;
  const expectedOutput = check.reference(values);
  expectClose(
    await program.output(output).readFloat32(),
    expectedOutput,
    check.forwardTolerance ?? { absolute: 1e-4, relative: 1e-4 },
    'output',
  );
  const step = check.step ?? 1e-4;
  const objective = (): number => {
    const out = check.reference(values);
    let sum = 0;
    for (let index = 0; index < out.length; index++) sum += out[index] * cotangentValues[index];
    return sum;
  };
  for (const [position, name] of names.entries()) {
    const actual = await program.output(wanted[position]).readFloat32();
    const expected = new Float64Array(actual.length);
    for (let index = 0; index < expected.length; index++) {
      const kept = values[name][index];
      values[name][index] = kept + step;
      const above = objective();
      values[name][index] = kept - step;
      const below = objective();
      values[name][index] = kept;
      expected[index] = (above - below) / (2 * step);
    }
    expectClose(actual, expected, check.tolerance ?? { absolute: 2e-3, relative: 2e-3 }, `gradient of ${name}`);
  }
  program.destroy();
  for (const tensor of owned) tensor.destroy();
  await device.finish();
}
