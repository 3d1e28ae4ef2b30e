import { throwIfAborted } from '../../kernels/core/errors.js';
import type { Device } from '../device.js';
import { Graph, Program } from '../graph/index.js';
import type { TransformerConfig } from '../models/transformer/config.js';
import type { ModelWeights } from '../models/transformer/weights.js';
import { segmentSum } from '../ops/losses.js';
import { keep } from '../ops/slice.js';
import { destroyTensors, GpuTensor } from '../tensor.js';
import type { PackedBatch, SequenceShape } from './packing.js';
import { packResponses, type PairLayout, type PreferencePair, type ReferencedPair } from './preference.js';
import {
  checkSequenceShape,
  createSequenceInputs,
  sequenceLosses,
  writeSequences,
  type SequenceInputs,
} from './sequences.js';

/**
 * Sums the log-probabilities of the targets of whole sequences, by the kernels of training and without dropout. In the
 * shape of a {@link PreferenceTrainer} it gives, to the bit, what the first step computes before it changes the weights.
 */
export class SequenceLogProbabilities {
  private readonly program: Program;
  private readonly shape: SequenceShape;
  private readonly inputs: SequenceInputs & { readonly sums: GpuTensor };

  private constructor(program: Program, shape: SequenceShape, inputs: SequenceInputs & { readonly sums: GpuTensor }) {
    this.program = program;
    this.shape = shape;
    this.inputs = inputs;
  }

  /** Compiles the forward pass; the weights are read at each call, so score before training changes them. */
  static async create(
    device: Device,
    config: TransformerConfig,
    weights: ModelWeights,
    shape: SequenceShape,
  ): Promise<SequenceLogProbabilities> {
    const { batch, length } = shape;
    const graph = new Graph(device.traits);
    const sums = GpuTensor.create(device, [batch], 'f32', 'log-probabilities');
    const inputs = { ...createSequenceInputs(device, config, shape), sums };
    const { losses } = sequenceLosses(graph, config, weights, inputs, shape);
    keep(graph, graph.bind(sums), segmentSum(graph, losses, length, -1));
    const program = await Program.compile(device, graph, { label: 'sequence log-probabilities' });
    return new SequenceLogProbabilities(program, { batch, length }, inputs);
  }

  /**
   * @returns [batch] f32: of each row the sum of its targets' log-probabilities in nats; the weights of targets do not
   *   count.
   * @throws Emu3Error `shape` for a batch of another shape, `aborted`.
   */
  async score(packed: PackedBatch, signal?: AbortSignal): Promise<Float32Array> {
    throwIfAborted(signal, 'sequence log-probabilities');
    checkSequenceShape(packed, this.shape);
    writeSequences(this.inputs, packed);
    this.program.run();
    return this.inputs.sums.readFloat32();
  }

  /**
   * Adds the reference log-probabilities to pairs: once before preference training, with the weights it starts from, so
   * that no second copy of them is held during training.
   *
   * @param layout of the training; its shape, [2 * pairs, length], must be the one this was made for.
   * @throws Emu3Error as `packResponses`, `shape`, `aborted`.
   */
  async ofPairs<Pair extends PreferencePair>(
    pairs: readonly Pair[],
    layout: PairLayout,
    options: { signal?: AbortSignal; onProgress?: (done: number, total: number) => void } = {},
  ): Promise<(Pair & ReferencedPair)[]> {
    const scored: (Pair & ReferencedPair)[] = [];
    for (let from = 0; from < pairs.length; from += layout.pairs) {
      const group = pairs.slice(from, from + layout.pairs);
      // The last group is filled up with its first pair, whose further scores are left unread.
      const full = Array.from({ length: layout.pairs }, (_, index) => group[index] ?? group[0]);
      const sums = await this.score(packResponses(full, layout, from), options.signal);
      group.forEach((pair, index) => {
        const reference = { chosen: sums[index], rejected: sums[layout.pairs + index] };
        scored.push({ ...pair, reference });
      });
      options.onProgress?.(scored.length, pairs.length);
    }
    return scored;
  }

  destroy(): void {
    this.program.destroy();
    destroyTensors(this.inputs);
  }
}
