import * as tf from '@tensorflow/tfjs-core';
import type { Contender, Job } from './contender.js';
import { asItIs, inputValues, swapAxes, type Operation, type Problem } from './problems.js';
import { finishWork } from './tensorflow-backend.js';
import { decodingJob } from './tensorflow-decoding.js';
import { trainingJob } from './tensorflow-training.js';

/** `@tensorflow/tfjs-backend-webgpu`. */
export async function tensorflowContender(): Promise<Contender> {
  await import('@tensorflow/tfjs-backend-webgpu');
  if (!(await tf.setBackend('webgpu'))) throw new Error('TensorFlow.js has no WebGPU backend here');
  return { name: '@tensorflow/tfjs', prepare: async (problem) => prepare(problem) };
}

interface Emitted {
  readonly inputs: readonly tf.Tensor[];
  readonly compute: () => tf.Tensor;
  readonly read?: (values: Float32Array) => Float32Array;
}

function prepare(problem: Problem): Job | undefined {
  switch (problem.kind) {
    case 'training step':
      return trainingJob(problem);
    case 'decode':
      return decodingJob(problem);
    default:
      return operationJob(problem);
  }
}

function operationJob(problem: Operation): Job | undefined {
  const emitted = emit(problem);
  if (emitted === undefined) return undefined;
  const { inputs, compute, read = asItIs } = emitted;
  return {
    run: async (times) => {
      for (let time = 0; time < times; time++) tf.tidy(compute).dispose();
      await finishWork();
    },
    result: async () => {
      const out = tf.tidy(compute);
      const values = read(Float32Array.from(await out.data()));
      out.dispose();
      return values;
    },
    destroy: () => {
      for (const input of inputs) input.dispose();
    },
  };
}

function emit(problem: Operation): Emitted | undefined {
  const given = (shape: readonly number[], seed: number, scale = 1): tf.Tensor =>
    tf.tensor(inputValues(shape, seed, scale), shape);
  switch (problem.kind) {
    case 'matmul': {
      const { m, k, n } = problem;
      const [a, b] = [given([m, k], 1), given([k, n], 2, 1 / Math.sqrt(k))];
      return { inputs: [a, b], compute: () => tf.matMul(a, b) };
    }
    case 'matvec': {
      const { k, n } = problem;
      const [x, w] = [given([1, k], 1), given([n, k], 2, 1 / Math.sqrt(k))];
      return { inputs: [x, w], compute: () => tf.matMul(x, w, false, true) };
    }
    case 'packed matvec':
      return undefined;
    case 'attention': {
      const { length, heads, dimension } = problem;
      // Heads first, so that it need not turn them.
      const [q, k, v] = [1, 2, 3].map((seed) =>
        tf.tensor(swapAxes(inputValues([length, heads * dimension], seed), length, heads, dimension), [
          heads,
          length,
          dimension,
        ]),
      );
      const hidden = Float32Array.from({ length: length ** 2 }, (_, at) =>
        at % length > Math.floor(at / length) ? -1e9 : 0,
      );
      const mask = tf.tensor(hidden, [1, length, length]);
      const scale = 1 / Math.sqrt(dimension);
      const compute = (): tf.Tensor =>
        tf.matMul(tf.softmax(tf.add(tf.mul(tf.matMul(q, k, false, true), scale), mask)), v);
      const read = (values: Float32Array): Float32Array => swapAxes(values, heads, length, dimension);
      return { inputs: [q, k, v, mask], compute, read };
    }
    case 'convolution': {
      const { side, channels } = problem;
      const x = given([1, side, side, channels], 1);
      // [out, in, 9] to [9, in, out].
      const kernel = inputValues([channels, channels, 3, 3], 2, 1 / Math.sqrt(9 * channels));
      const inFirst = swapAxes(kernel, channels, channels, 9);
      const w = tf.tensor(swapAxes(inFirst, channels * channels, 9), [3, 3, channels, channels]);
      return { inputs: [x, w], compute: () => tf.conv2d(x, w, 1, 'same') };
    }
  }
}
