import type { Device } from '../engine/device.js';
import { Graph, Program, gradients, type Tensor } from '../engine/graph/index.js';
import { GpuTensor, narrowFloat16, type TensorData } from '../engine/tensor.js';
import { elementCount, type DType } from '../kernels/core/index.js';

/** Values repeat after so many: enough that no cache line equals its neighbours, few enough to be made quickly. */
const patternLength = (1 << 18) - 4;

/** A Lehmer generator: fixed numbers in 0..1, the same in every run. */
export function* uniformNumbers(seed: number): Generator<number, never> {
  let state = seed;
  for (;;) {
    state = (state * 48271) % 0x7fffffff;
    yield state / 0x7fffffff;
  }
}

let pattern: Float32Array | undefined;

/** Values in -1..1: real GPUs clock differently on zeros, and some kernels take other ways on equal values. */
function patternValues(): Float32Array {
  if (pattern === undefined) {
    const numbers = uniformNumbers(20261122);
    pattern = Float32Array.from({ length: patternLength }, () => 2 * numbers.next().value - 1);
  }
  return pattern;
}

/** Writes fixed, random-looking values to a tensor of any length. */
export function fillWithPattern(tensor: GpuTensor): void {
  const count = elementCount(tensor.shape);
  const values = patternValues();
  const data: TensorData = tensor.dtype === 'f16' ? narrowFloat16(values) : values;
  for (let from = 0; from < count; from += patternLength) {
    tensor.write(data.subarray(0, Math.min(patternLength, count - from)), from);
  }
}

/** A graph under construction whose inputs hold values worth measuring with. Frees all of them together. */
export class Workbench {
  readonly device: Device;
  readonly graph: Graph;
  private readonly owned: GpuTensor[] = [];

  constructor(device: Device) {
    this.device = device;
    this.graph = new Graph(device.traits);
  }

  private own(tensor: GpuTensor): Tensor {
    this.owned.push(tensor);
    return this.graph.bind(tensor);
  }

  /** Values in -1..1. @throws Emu3Error `limit` above the device's binding size. */
  values(shape: readonly number[], dtype: 'f32' | 'f16' = 'f32'): Tensor {
    const tensor = GpuTensor.create(this.device, shape, dtype, 'values');
    fillWithPattern(tensor);
    return this.own(tensor);
  }

  /** Whole numbers from 0 and below `limit`. */
  integers(shape: readonly number[], limit: number, dtype: 'u32' | 'i32' = 'u32'): Tensor {
    const numbers = uniformNumbers(977);
    const data = Array.from({ length: elementCount(shape) }, () => Math.floor(numbers.next().value * limit));
    return this.given(shape, dtype, dtype === 'u32' ? Uint32Array.from(data) : Int32Array.from(data));
  }

  given(shape: readonly number[], dtype: DType, data: TensorData): Tensor {
    return this.own(GpuTensor.from(this.device, shape, dtype, data, 'given'));
  }

  /** Emits the gradients of `out` by each of `wanted`. */
  gradients(out: Tensor, wanted: readonly Tensor[]): Tensor[] {
    return [...gradients(this.graph, [[out, this.values(out.shape)]], wanted).values()];
  }

  /** Compiles what leads to `outputs`, or to what the graph's nodes change. */
  async compile(label: string, outputs: readonly Tensor[] = []): Promise<Program> {
    return Program.compile(this.device, this.graph, { label, outputs });
  }

  destroy(): void {
    for (const tensor of this.owned) tensor.destroy();
  }
}
