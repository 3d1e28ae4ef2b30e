import * as jax from '@jax-js/jax';
import type { Contender, Job } from './contender.js';
import { decodingJob } from './jax-decoding.js';
import { trainingJob } from './jax-training.js';
import { asItIs, inputValues, swapAxes, type Operation, type Problem } from './problems.js';

/** `@jax-js/jax`, each problem compiled by `jit`. */
export async function jaxContender(): Promise<Contender> {
  await jax.init('webgpu');
  jax.defaultDevice('webgpu');
  return { name: '@jax-js/jax', prepare: async (problem) => prepare(problem) };
}

interface Emitted {
  readonly inputs: readonly jax.Array[];
  readonly compute: (...inputs: jax.Array[]) => jax.Array;
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
  const compiled = jax.jit(compute);
  const once = (): jax.Array => compiled(...inputs.map((input) => input.ref));
  return {
    run: async (times) => {
      const outputs = Array.from({ length: times }, once);
      await jax.blockUntilReady(outputs);
      for (const output of outputs) output.dispose();
    },
    // Reading consumes the array.
    result: async () => read(await once().data()),
    destroy: () => {
      for (const input of inputs) input.dispose();
    },
  };
}

function emit(problem: Operation): Emitted | undefined {
  const { numpy, nn, lax } = jax;
  const given = (shape: readonly number[], seed: number, scale = 1): jax.Array =>
    numpy.array(inputValues(shape, seed, scale), { shape });
  switch (problem.kind) {
    case 'matmul': {
      const { m, k, n } = problem;
      return { inputs: [given([m, k], 1), given([k, n], 2, 1 / Math.sqrt(k))], compute: (a, b) => numpy.matmul(a, b) };
    }
    case 'matvec': {
      const { k, n } = problem;
      return { inputs: [given([n, k], 2, 1 / Math.sqrt(k)), given([k], 1)], compute: (w, x) => numpy.matvec(w, x) };
    }
    case 'packed matvec':
      return undefined;
    case 'attention': {
      const { length, heads, dimension } = problem;
      const inputs = [1, 2, 3].map((seed) => given([1, length, heads, dimension], seed));
      return { inputs, compute: (q, k, v) => nn.dotProductAttention(q, k, v, { isCausal: true }) };
    }
    case 'convolution': {
      const { side, channels } = problem;
      const pixels = swapAxes(inputValues([side, side, channels], 1), side * side, channels);
      const inputs = [
        numpy.array(pixels, { shape: [1, channels, side, side] }),
        given([channels, channels, 3, 3], 2, 1 / Math.sqrt(9 * channels)),
      ];
      const read = (values: Float32Array): Float32Array => swapAxes(values, channels, side * side);
      return { inputs, compute: (x, w) => lax.conv(x, w, [1, 1], 'SAME'), read };
    }
  }
}
