import type { Device } from '../../device.js';
import type { Graph, Tensor } from '../../graph/index.js';
import { ParameterStore } from '../../parameters.js';
import type { GpuTensor } from '../../tensor.js';

const batchCounter = '.num_batches_tracked';

/** The tensors of a vision tokenizer on the GPU: what is trained, and BatchNorm's running statistics. */
export class VisionWeights {
  readonly parameters: ParameterStore;
  readonly statistics: ParameterStore;
  /** BatchNorm's counters of training batches by hub name. No computation reads them; checkpoints carry them. */
  readonly batchesTracked: ReadonlyMap<string, number>;
  private readonly counters: Map<string, number>;

  private constructor(parameters: ParameterStore, statistics: ParameterStore, counters: Map<string, number>) {
    this.parameters = parameters;
    this.statistics = statistics;
    this.batchesTracked = counters;
    this.counters = counters;
  }

  /**
   * Allocates zero-filled tensors.
   *
   * @param shapes every tensor of the checkpoint by hub name.
   */
  static create(
    device: Device,
    shapes: ReadonlyMap<string, readonly number[]>,
    options: { training?: boolean } = {},
  ): VisionWeights {
    const parameters = new Map<string, readonly number[]>();
    const statistics = new Map<string, readonly number[]>();
    const counters = new Map<string, number>();
    for (const [name, shape] of shapes) {
      if (name.endsWith(batchCounter)) counters.set(name, 0);
      else (isStatistic(name) ? statistics : parameters).set(name, shape);
    }
    return new VisionWeights(
      ParameterStore.create(device, parameters, options),
      ParameterStore.create(device, statistics),
      counters,
    );
  }

  /** All names on the GPU, parameters first. */
  get names(): string[] {
    return [...this.parameters.shapes.keys(), ...this.statistics.shapes.keys()];
  }

  /** @throws Emu3Error `missing` for a name the model does not have. */
  tensor(name: string): GpuTensor {
    return (isStatistic(name) ? this.statistics : this.parameters).tensor(name);
  }

  write(name: string, data: Float32Array): void {
    this.tensor(name).write(data);
  }

  async read(name: string): Promise<Float32Array> {
    return this.tensor(name).readFloat32();
  }

  /** Sets a counter as a checkpoint has it. */
  setBatchesTracked(name: string, batches: number): void {
    this.counters.set(name, batches);
  }

  /** Notes one forward pass that updated the running statistics. */
  countBatch(): void {
    for (const [name, batches] of this.counters) this.counters.set(name, batches + 1);
  }

  /** Lookups of both kinds of tensor in a graph. */
  bind(graph: Graph): { parameter: (name: string) => Tensor; statistics: (name: string) => Tensor } {
    return {
      parameter: (name) => graph.bind(this.parameters.tensor(name)),
      statistics: (name) => graph.bind(this.statistics.tensor(name)),
    };
  }

  destroy(): void {
    this.parameters.destroy();
    this.statistics.destroy();
  }
}

export function isStatistic(name: string): boolean {
  return name.endsWith('.running_mean') || name.endsWith('.running_var');
}
