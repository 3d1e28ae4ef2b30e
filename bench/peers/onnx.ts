import * as ort from 'onnxruntime-web/webgpu';
import type { Contender, Job } from './contender.js';
import { onnxModel, type OnnxGraph, type OnnxNode } from './onnx-model.js';
import { decodingJob } from './onnx-transformer.js';
import { asItIs, inputValues, packedInput, swapAxes, type Operation, type Problem } from './problems.js';

/** `onnxruntime-web` with its WebGPU provider: a model for each problem, inputs and outputs on the GPU. */
export async function onnxContender(): Promise<Contender> {
  copySharedMemory();
  ort.env.logLevel = 'error';
  ort.env.wasm.numThreads = 1;
  return { name: 'onnxruntime-web', prepare };
}

/** Its memory is shared between threads, which Dawn's binding for Node does not take; browsers do. */
function copySharedMemory(): void {
  type Write = (this: GPUQueue, ...given: Parameters<GPUQueue['writeBuffer']>) => undefined;
  const queues = GPUQueue.prototype as unknown as { writeBuffer: Write };
  const { writeBuffer } = queues;
  queues.writeBuffer = function (buffer, offset, data, first, size) {
    const shared = ArrayBuffer.isView(data) && data.buffer instanceof SharedArrayBuffer;
    const bytes = shared ? new Uint8Array(new Uint8Array(data.buffer, data.byteOffset, data.byteLength)) : data;
    writeBuffer.call(this, buffer, offset, bytes, first, size);
    return undefined;
  };
}

async function prepare(problem: Problem): Promise<Job | undefined> {
  switch (problem.kind) {
    // It trains nothing in browsers.
    case 'training step':
      return undefined;
    case 'decode':
      return decodingJob(problem);
    default:
      return operationJob(problem);
  }
}

async function operationJob(problem: Operation): Promise<Job> {
  const { graph, inputs, read = asItIs } = emit(problem);
  const session = await ort.InferenceSession.create(onnxModel(graph), {
    executionProviders: ['webgpu'],
    preferredOutputLocation: 'gpu-buffer',
  });
  const device = await ort.env.webgpu.device;
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
  const buffers: GPUBuffer[] = [];
  const feeds: Record<string, ort.Tensor> = {};
  for (const [name, { dims, values }] of Object.entries(inputs)) {
    const buffer = device.createBuffer({ size: Math.ceil(values.byteLength / 16) * 16, usage });
    device.queue.writeBuffer(buffer, 0, values);
    buffers.push(buffer);
    feeds[name] = ort.Tensor.fromGpuBuffer(buffer, { dataType: 'float32', dims });
  }
  return {
    run: async (times) => {
      for (let time = 0; time < times; time++) (await session.run(feeds))['out'].dispose();
      await device.queue.onSubmittedWorkDone();
    },
    result: async () => {
      const { out } = await session.run(feeds);
      const values = read((await out.getData()) as Float32Array);
      out.dispose();
      return values;
    },
    destroy: () => {
      void session.release();
      for (const buffer of buffers) buffer.destroy();
    },
  };
}

interface Emitted {
  readonly graph: OnnxGraph;
  readonly inputs: Readonly<Record<string, { dims: readonly number[]; values: Float32Array<ArrayBuffer> }>>;
  readonly read?: (values: Float32Array) => Float32Array;
}

function emit(problem: Operation): Emitted {
  const given = (dims: readonly number[], seed: number, scale = 1) => ({
    dims,
    values: inputValues(dims, seed, scale),
  });
  const single = (
    operation: Omit<OnnxNode, 'inputs' | 'outputs'>,
    inputs: Emitted['inputs'],
    out: readonly number[],
    read?: Emitted['read'],
    weights: OnnxGraph['weights'] = {},
  ): Emitted => ({
    graph: {
      nodes: [{ ...operation, inputs: [...Object.keys(inputs), ...Object.keys(weights)], outputs: ['out'] }],
      inputs: Object.fromEntries(Object.entries(inputs).map(([name, { dims }]) => [name, { dims, type: 'float32' }])),
      weights,
      outputs: { out: { dims: out, type: 'float32' } },
    },
    inputs,
    ...(read && { read }),
  });
  switch (problem.kind) {
    case 'matmul': {
      const { m, k, n } = problem;
      return single({ type: 'MatMul' }, { a: given([m, k], 1), b: given([k, n], 2, 1 / Math.sqrt(k)) }, [m, n]);
    }
    case 'matvec': {
      const { k, n } = problem;
      const inputs = { x: given([1, k], 1), w: given([n, k], 2, 1 / Math.sqrt(k)) };
      return single({ type: 'Gemm', attributes: { transB: 1 } }, inputs, [1, n]);
    }
    case 'packed matvec': {
      const { k, n } = problem;
      const { words, scales } = packedInput(k, n);
      const operation = {
        type: 'MatMulNBits',
        domain: 'com.microsoft',
        attributes: { K: k, N: n, bits: 4, block_size: 32, accuracy_level: 1 },
      };
      // Its zero point is 8 unless one is given.
      const weights = {
        levels: { dims: [n, k / 32, 16], type: 'uint8' as const, bytes: new Uint8Array(words.buffer) },
        scales: { dims: [(n * k) / 32], type: 'float32' as const, bytes: new Uint8Array(scales.buffer) },
      };
      return single(operation, { x: given([1, k], 1) }, [1, n], undefined, weights);
    }
    case 'attention': {
      const { length, heads, dimension } = problem;
      const width = heads * dimension;
      const operation = {
        type: 'MultiHeadAttention',
        domain: 'com.microsoft',
        attributes: { num_heads: heads, unidirectional: 1 },
      };
      const inputs = {
        q: given([1, length, width], 1),
        k: given([1, length, width], 2),
        v: given([1, length, width], 3),
      };
      return single(operation, inputs, [1, length, width]);
    }
    case 'convolution': {
      const { side, channels } = problem;
      const pixels = swapAxes(inputValues([side, side, channels], 1), side * side, channels);
      const inputs = {
        x: { dims: [1, channels, side, side], values: pixels },
        w: given([channels, channels, 3, 3], 2, 1 / Math.sqrt(9 * channels)),
      };
      const operation = { type: 'Conv', attributes: { kernel_shape: [3, 3], pads: [1, 1, 1, 1] } };
      const read = (values: Float32Array): Float32Array => swapAxes(values, channels, side * side);
      return single(operation, inputs, inputs.x.dims, read);
    }
  }
}
