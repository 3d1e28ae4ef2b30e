import { Emu3Error } from '../../kernels/core/errors.js';
import type { Device } from '../device.js';
import type { Graph, Tensor } from '../graph/index.js';
import {
  attendSequences,
  languageHead,
  transformerForward,
  transformerRotaryTable,
  type ForwardOptions,
} from '../models/transformer/forward.js';
import type { TransformerConfig } from '../models/transformer/config.js';
import { bindWeights, type ModelWeights } from '../models/transformer/weights.js';
import { tokenCrossEntropy } from '../ops/cross-entropy.js';
import { GpuTensor } from '../tensor.js';
import type { PackedBatch, SequenceShape } from './packing.js';

/** What every graph over whole sequences with targets reads. */
export interface SequenceInputs {
  /** u32 [batch * length], like positions and start; see {@link PackedBatch}. */
  readonly ids: GpuTensor;
  readonly positions: GpuTensor;
  readonly start: GpuTensor;
  /** i32 [batch * length]; a negative one is ignored. */
  readonly targets: GpuTensor;
  /** f32 [length, head dimension]. */
  readonly rotaryTable: GpuTensor;
  /** u32 [2]: key and counter of the dropout masks. */
  readonly dropout: GpuTensor;
}

export interface SequenceOptions {
  /** Dropout rate on embeddings, attention probabilities, attention output and MLP output; 0 for none. */
  dropout?: number;
  /** Recompute activations in the backward pass instead of keeping them. */
  recompute?: boolean | undefined;
}

export function createSequenceInputs(
  device: Device,
  config: TransformerConfig,
  { batch, length }: SequenceShape,
): SequenceInputs {
  const rows = [batch * length];
  const table = transformerRotaryTable(config, length);
  const tableShape = [length, table.length / length];
  return {
    ids: GpuTensor.create(device, rows, 'u32', 'ids'),
    positions: GpuTensor.create(device, rows, 'u32', 'positions'),
    start: GpuTensor.create(device, rows, 'u32', 'start'),
    targets: GpuTensor.create(device, rows, 'i32', 'targets'),
    rotaryTable: GpuTensor.from(device, tableShape, 'f32', table, 'rotary table'),
    dropout: GpuTensor.create(device, [2], 'u32', 'dropout state'),
  };
}

/**
 * Emits the forward pass up to the cross-entropy of every target.
 *
 * @returns losses [batch * length] f32 in nats, 0 where the target is ignored, and the targets they are of.
 */
export function sequenceLosses(
  graph: Graph,
  config: TransformerConfig,
  weights: ModelWeights,
  inputs: SequenceInputs,
  { batch, length }: SequenceShape,
  options: SequenceOptions = {},
): { losses: Tensor; targets: Tensor } {
  const bound = bindWeights(graph, weights);
  const rate = options.dropout ?? 0;
  const forward: ForwardOptions = {
    dropout: rate > 0 ? { rate, state: graph.bind(inputs.dropout) } : undefined,
    recompute: options.recompute ?? false,
  };
  const rows = {
    ids: graph.bind(inputs.ids),
    positions: graph.bind(inputs.positions),
    rotaryTable: graph.bind(inputs.rotaryTable),
  };
  const attend = attendSequences(graph, config, { batch, length, start: graph.bind(inputs.start) }, forward);
  const { hidden } = transformerForward(graph, config, bound, rows, attend, forward);
  const targets = graph.bind(inputs.targets);
  const { loss: losses } = tokenCrossEntropy(graph, languageHead(config, bound, hidden), targets);
  return { losses, targets };
}

/** @throws Emu3Error `shape` when a batch has another shape than the graph. */
export function checkSequenceShape(packed: PackedBatch, { batch, length }: SequenceShape): void {
  if (packed.batch === batch && packed.length === length) return;
  throw new Emu3Error(`A micro-batch is ${packed.batch} x ${packed.length}, the trainer ${batch} x ${length}.`, {
    code: 'shape',
    where: 'training batch',
    fix: 'Pack to the shape of the trainer.',
  });
}

/** Sends a batch to the GPU, all but its weights. */
export function writeSequences(inputs: SequenceInputs, packed: PackedBatch): void {
  inputs.ids.write(packed.ids);
  inputs.positions.write(packed.positions);
  inputs.start.write(packed.start);
  inputs.targets.write(packed.targets);
}
