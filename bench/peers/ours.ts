import type { Device } from '../../engine/device.js';
import { Graph, Program, type Tensor } from '../../engine/graph/index.js';
import { attention } from '../../engine/ops/attention.js';
import { conv } from '../../engine/ops/conv.js';
import { linear, matmul } from '../../engine/ops/matmul.js';
import { quantizedLinear } from '../../engine/ops/quantized-linear.js';
import { GpuTensor, narrowFloat16, type TensorData } from '../../engine/tensor.js';
import type { Contender, Job } from './contender.js';
import { decodingJob, trainingJob } from './ours-transformer.js';
import { inputValues, packedInput, type Operation, type Problem } from './problems.js';

/** This engine, on a device of its own. */
export function ours(device: Device): Contender {
  return { name: 'emu3-webgpu', prepare: (problem) => prepare(device, problem) };
}

function prepare(device: Device, problem: Problem): Promise<Job> {
  switch (problem.kind) {
    case 'training step':
      return trainingJob(device, problem);
    case 'decode':
      return decodingJob(device, problem);
    default:
      return operationJob(device, problem);
  }
}

async function operationJob(device: Device, problem: Operation): Promise<Job> {
  const graph = new Graph(device.traits);
  const owned: GpuTensor[] = [];
  const bind = (shape: readonly number[], data: TensorData): Tensor => {
    const tensor = GpuTensor.from(device, shape, data instanceof Uint32Array ? 'u32' : 'f32', data, 'input');
    owned.push(tensor);
    return graph.bind(tensor);
  };
  const given = (shape: readonly number[], seed: number, scale = 1): Tensor =>
    bind(shape, inputValues(shape, seed, scale));
  const out = emit(graph, problem, bind, given);
  const program = await Program.compile(device, graph, { label: problem.kind, outputs: [out] });
  return {
    run: async (times) => {
      for (let time = 0; time < times; time++) program.run();
      await device.finish();
    },
    result: () => {
      program.run();
      return program.output(out).readFloat32();
    },
    destroy: () => {
      program.destroy();
      for (const tensor of owned) tensor.destroy();
    },
  };
}

function emit(
  graph: Graph,
  problem: Operation,
  bind: (shape: readonly number[], data: TensorData) => Tensor,
  given: (shape: readonly number[], seed: number, scale?: number) => Tensor,
): Tensor {
  switch (problem.kind) {
    case 'matmul': {
      const { m, k, n } = problem;
      return matmul(graph, given([m, k], 1), given([k, n], 2, 1 / Math.sqrt(k)));
    }
    case 'matvec': {
      const { k, n } = problem;
      return linear(graph, given([1, k], 1), given([n, k], 2, 1 / Math.sqrt(k)));
    }
    case 'packed matvec': {
      const { k, n } = problem;
      const { words, scales } = packedInput(k, n);
      const weight = {
        format: 'q4' as const,
        shape: [n, k] as const,
        data: bind([n, k / 8], words),
        scales: bind([n, k / 64], new Uint32Array(narrowFloat16(scales).buffer)),
      };
      return quantizedLinear(graph, given([1, k], 1), [weight]);
    }
    case 'attention': {
      const { length, heads, dimension } = problem;
      const [q, k, v] = [1, 2, 3].map((seed) => given([length, heads * dimension], seed));
      const start = bind([length], new Uint32Array(length));
      const shape = { batch: 1, length, heads, keyValueHeads: heads, headDimension: dimension };
      return attention(graph, q, k, v, start, shape);
    }
    case 'convolution': {
      const { side, channels } = problem;
      const weight = given([channels, channels, 3, 3], 2, 1 / Math.sqrt(9 * channels));
      const geometry = { kernel: [1, 3, 3], stride: [1, 1, 1], before: [0, 1, 1], after: [0, 1, 1] } as const;
      return conv(graph, given([1, 1, side, side, channels], 1), weight, undefined, geometry);
    }
  }
}
