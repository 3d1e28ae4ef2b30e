import { Graph, Program, type Tensor } from '../../engine/graph/index.js';
import {
  attendSequences,
  bindWeights,
  languageHead,
  transformerForward,
  transformerRotaryTable,
  type ModelWeights,
  type TransformerConfig,
} from '../../engine/models/transformer/index.js';
import { targetWeights, tokenCrossEntropy } from '../../engine/ops/cross-entropy.js';
import { ignoredTarget } from '../../engine/train/packing.js';
import type { Device } from '../../engine/device.js';
import { GpuTensor } from '../../engine/tensor.js';

/** Recorded sequences with labels; padding is on the right, so no token sees it. */
export interface LabelledBatch {
  readonly batch: number;
  readonly length: number;
  readonly ids: ArrayLike<number>;
  readonly labels: ArrayLike<number>;
}

/** The next token's label at each place, none at the last. */
export function shiftedTargets({ batch, length, labels }: LabelledBatch): Int32Array {
  const targets = new Int32Array(batch * length).fill(ignoredTarget);
  for (let row = 0; row < batch; row++) {
    for (let index = 0; index + 1 < length; index++) targets[row * length + index] = labels[row * length + index + 1];
  }
  return targets;
}

/** What a graph over labelled sequences offers to build a loss from. */
export interface LossParts {
  readonly graph: Graph;
  /** [batch * length, vocab_size]. */
  readonly logits: Tensor;
  /** Cross-entropy of each place's target, [batch * length], 0 where ignored. */
  readonly tokenLosses: Tensor;
  readonly targets: Tensor;
}

/** Owns the inputs of a training graph, and binds sequences into it. */
export class TrainingGraph {
  readonly graph: Graph;
  private readonly device: Device;
  private readonly owned: GpuTensor[] = [];

  constructor(device: Device) {
    this.device = device;
    this.graph = new Graph(device.traits);
  }

  constant(shape: readonly number[], data: Float32Array | Uint32Array | Int32Array, label: string): Tensor {
    const dtype = data instanceof Float32Array ? 'f32' : data instanceof Uint32Array ? 'u32' : 'i32';
    const tensor = GpuTensor.from(this.device, shape, dtype, data, label);
    this.owned.push(tensor);
    return this.graph.bind(tensor);
  }

  /** Emits the forward pass over one batch up to its token losses. */
  sequences(config: TransformerConfig, weights: ModelWeights, batch: LabelledBatch): LossParts {
    const { graph } = this;
    const { length } = batch;
    const rows = batch.batch * length;
    const table = transformerRotaryTable(config, length);
    const positions = Uint32Array.from({ length: rows }, (_, row) => row % length);
    const bound = bindWeights(graph, weights);
    const start = this.constant([rows], new Uint32Array(rows), 'start');
    const { hidden } = transformerForward(
      graph,
      config,
      bound,
      {
        ids: this.constant([rows], Uint32Array.from(batch.ids), 'ids'),
        positions: this.constant([rows], positions, 'positions'),
        rotaryTable: this.constant([length, table.length / length], table, 'rotary table'),
      },
      attendSequences(graph, config, { batch: batch.batch, length, start }),
    );
    const logits = languageHead(config, bound, hidden);
    const targets = this.constant([rows], shiftedTargets(batch), 'targets');
    return { graph, logits, tokenLosses: tokenCrossEntropy(graph, logits, targets).loss, targets };
  }

  /** Weights of the targets, `vision` within an inclusive range of ids. */
  weights(parts: LossParts, vision: number, visionRange: readonly [number, number]): Tensor {
    return targetWeights(this.graph, parts.targets, { visionRange, vision, text: 1 });
  }

  async run(outputs: readonly Tensor[]): Promise<Float32Array[]> {
    const program = await Program.compile(this.device, this.graph, { label: 'training parity', outputs });
    program.run();
    const values: Float32Array[] = [];
    for (const tensor of outputs) values.push(await program.output(tensor).readFloat32());
    program.destroy();
    return values;
  }

  destroy(): void {
    for (const tensor of this.owned) tensor.destroy();
  }
}
