import { Emu3Error } from '../../kernels/core/errors.js';
import type { Device } from '../device.js';
import { Graph, Program, gradients, type Tensor } from '../graph/index.js';
import { accumulate, fill } from '../ops/elementwise.js';
import type { ParameterStore } from '../parameters.js';
import { GpuTensor } from '../tensor.js';
import {
  adamwStep,
  initialOptimizerState,
  optimizerStateLength,
  readOptimizerState,
  type AdamwBlock,
  type AdamwHyper,
  type LearningRateSchedule,
  type OptimizerReport,
} from './optimizer.js';

export interface OptimizationOptions {
  schedule: LearningRateSchedule;
  /** Gradients are scaled down to this global L2 norm; default no limit. */
  maximumNorm?: number | undefined;
  hyper?: AdamwHyper;
}

/** Tensors of an optimiser on the host: what a checkpoint keeps. */
export interface OptimizerSnapshot {
  /** f32 [16], see `optimizerStateIndex`. */
  readonly state: Float32Array;
  readonly firstMoments: ReadonlyMap<string, Float32Array>;
  readonly secondMoments: ReadonlyMap<string, Float32Array>;
}

/** AdamW over a parameter store as one recorded program. */
export class Optimization {
  readonly store: ParameterStore;
  readonly program: Program;
  private readonly state: GpuTensor;

  private constructor(store: ParameterStore, program: Program, state: GpuTensor) {
    this.store = store;
    this.program = program;
    this.state = state;
  }

  /** @throws Emu3Error `missing` when the store was not created for training. */
  static async create(device: Device, store: ParameterStore, options: OptimizationOptions): Promise<Optimization> {
    const initial = initialOptimizerState(options);
    const state = GpuTensor.from(device, [optimizerStateLength], 'f32', initial, 'optimizer state');
    const graph = new Graph(device.traits);
    const blocks = store.blocks.map(({ parameters, training }): AdamwBlock<Tensor> => {
      if (training === undefined) {
        throw new Emu3Error('The parameters were made without gradients.', {
          code: 'missing',
          where: parameters.label,
          fix: 'Create the parameter store with `training: true`.',
        });
      }
      return {
        parameters: graph.bind(parameters),
        gradients: graph.bind(training.gradients),
        firstMoment: graph.bind(training.firstMoment),
        secondMoment: graph.bind(training.secondMoment),
        decayMask: graph.bind(training.decayMask),
      };
    });
    adamwStep(graph, blocks, graph.bind(state), options.hyper);
    return new Optimization(store, await Program.compile(device, graph, { label: 'optimizer' }), state);
  }

  /** Applies the accumulated gradients and zeroes them. Does not wait. */
  run(): void {
    this.program.run();
  }

  async report(): Promise<OptimizerReport> {
    return readOptimizerState(await this.state.readFloat32());
  }

  async snapshot(): Promise<OptimizerSnapshot> {
    const firstMoments = new Map<string, Float32Array>();
    const secondMoments = new Map<string, Float32Array>();
    for (const name of this.store.shapes.keys()) {
      const { first, second } = this.store.moments(name);
      firstMoments.set(name, await first.readFloat32());
      secondMoments.set(name, await second.readFloat32());
    }
    return { state: await this.state.readFloat32(), firstMoments, secondMoments };
  }

  /** Puts a snapshot back. @throws Emu3Error `missing` for a parameter without moments, `shape`. */
  restore(snapshot: OptimizerSnapshot): void {
    this.state.write(snapshot.state);
    for (const name of this.store.shapes.keys()) {
      const moments = this.store.moments(name);
      for (const [tensor, kept] of [
        [moments.first, snapshot.firstMoments],
        [moments.second, snapshot.secondMoments],
      ] as const) {
        const data = kept.get(name);
        if (data === undefined) {
          throw new Emu3Error('The checkpoint has no optimiser state for a parameter.', {
            code: 'missing',
            where: name,
            fix: 'Resume from a checkpoint of the same model.',
          });
        }
        tensor.write(data);
      }
    }
  }

  destroy(): void {
    this.program.destroy();
    this.state.destroy();
  }
}

/** Emits the gradients of a scalar [1] loss by every parameter of the store, added to the store's gradients. */
export function accumulateGradients(graph: Graph, store: ParameterStore, loss: Tensor): void {
  const names = [...store.shapes.keys()];
  const wanted = names.map((name) => graph.bind(store.tensor(name)));
  const found = gradients(graph, [[loss, fill(graph, loss.shape, 1)]], wanted);
  names.forEach((name, index) => {
    const gradient = found.get(wanted[index]);
    if (gradient) accumulate(graph, graph.bind(store.gradient(name)), gradient);
  });
}
