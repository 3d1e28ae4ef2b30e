import type { Device } from '../../device.js';
import type { Graph, Tensor } from '../../graph/index.js';
import { ParameterStore } from '../../parameters.js';

/** The tensors of a vision tokenizer on the GPU: what is trained, and BatchNorm's running statistics. */
export class VisionWeights {
  readonly parameters: ParameterStore;
  readonly statistics: ParameterStore;

  private constructor(parameters: ParameterStore, statistics: ParameterStore) {
    this.parameters = parameters;
    this.statistics = statistics;
  }

  /**
   * Allocates zero-filled tensors.
   *
   * @param shapes every tensor of the checkpoint by name; the step counters of BatchNorm are left out.
   */
  static create(
    device: Device,
    shapes: ReadonlyMap<string, readonly number[]>,
    options: { training?: boolean } = {},
  ): VisionWeights {
    const parameters = new Map<string, readonly number[]>();
    const statistics = new Map<string, readonly number[]>();
    for (const [name, shape] of shapes) {
      if (name.endsWith('.num_batches_tracked')) continue;
      (isStatistic(name) ? statistics : parameters).set(name, shape);
    }
    return new VisionWeights(
      ParameterStore.create(device, parameters, options),
      ParameterStore.create(device, statistics),
    );
  }

  /** All names, parameters first. */
  get names(): string[] {
    return [...this.parameters.shapes.keys(), ...this.statistics.shapes.keys()];
  }

  write(name: string, data: Float32Array): void {
    (isStatistic(name) ? this.statistics : this.parameters).tensor(name).write(data);
  }

  async read(name: string): Promise<Float32Array> {
    return (isStatistic(name) ? this.statistics : this.parameters).tensor(name).readFloat32();
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
