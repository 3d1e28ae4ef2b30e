import { Emu3Error } from '../../kernels/core/errors.js';
import type { Device } from '../device.js';
import { Graph, Program } from '../graph/index.js';
import type { TransformerConfig } from '../models/transformer/config.js';
import type { ModelWeights } from '../models/transformer/weights.js';
import { targetWeights } from '../ops/cross-entropy.js';
import { accumulate, multiply } from '../ops/elementwise.js';
import { weightedMean } from '../ops/losses.js';
import { destroyTensors, GpuTensor } from '../tensor.js';
import type { StepMetrics, Trainer } from './loop.js';
import { accumulateGradients, Optimization, type OptimizationOptions } from './optimization.js';
import type { PackedBatch } from './packing.js';
import {
  checkSequenceShape,
  createSequenceInputs,
  sequenceLosses,
  writeSequences,
  type SequenceInputs,
} from './sequences.js';
import { trainedWeights, type AdapterOptions } from './trained.js';

export interface TransformerTrainerOptions extends OptimizationOptions, AdapterOptions {
  /** Sequences of a micro-batch. */
  batch: number;
  /** Tokens of a sequence. */
  length: number;
  /** Loss weight of targets within [first, last]; others have 1. Emu3's pre-training: 0.5 on vision tokens. */
  visionWeight: { first: number; last: number; weight: number };
  /** Dropout rate on embeddings, attention probabilities, attention output and MLP output; default the config's. */
  dropout?: number;
  /** Key of every random number of the training. */
  seed: number;
  /** Recompute activations in the backward pass instead of keeping them. */
  recompute?: boolean;
}

/**
 * Next-token prediction training of the transformer: cross-entropy with vision tokens weighted, and each target as its
 * document says, divided by the sum of weights over all micro-batches of the step (arXiv 2409.18869, section 3.2),
 * AdamW with clipping.
 */
export class TransformerTrainer implements Trainer<readonly PackedBatch[]> {
  readonly optimization: Optimization;
  /** Forward and backward of one micro-batch. */
  readonly program: Program;
  private readonly options: TransformerTrainerOptions;
  private readonly inputs: Inputs;
  private steps = 0;

  private constructor(
    options: TransformerTrainerOptions,
    program: Program,
    optimization: Optimization,
    inputs: Inputs,
  ) {
    this.options = options;
    this.program = program;
    this.optimization = optimization;
    this.inputs = inputs;
  }

  /**
   * @param weights the model; without `adapters` a store with gradients, which is what is trained.
   * @throws Emu3Error `missing` when what is to be trained was made without gradients, `argument` for weights that can only
   *   be trained through adapters.
   */
  static async create(
    device: Device,
    config: TransformerConfig,
    weights: ModelWeights,
    options: TransformerTrainerOptions,
  ): Promise<TransformerTrainer> {
    const { visionWeight } = options;
    const graph = new Graph(device.traits);
    const inputs = createInputs(device, config, options);
    const { store, read } = trainedWeights(weights, options, inputs.dropout);
    const { losses, targets } = sequenceLosses(graph, config, read, inputs, options, {
      dropout: options.dropout ?? config.attention_dropout,
      recompute: options.recompute,
    });
    const byKind = targetWeights(graph, targets, {
      visionRange: [visionWeight.first, visionWeight.last],
      vision: visionWeight.weight,
      text: 1,
    });
    const targetWeight = multiply(graph, byKind, graph.bind(inputs.weights));
    const loss = weightedMean(graph, losses, targetWeight, graph.bind(inputs.denominator));
    accumulateGradients(graph, store, loss);
    accumulate(graph, graph.bind(inputs.loss), loss);
    const program = await Program.compile(device, graph, { label: 'transformer training' });
    const optimization = await Optimization.create(device, store, options);
    return new TransformerTrainer(options, program, optimization, inputs);
  }

  get step(): number {
    return this.steps;
  }

  /** Continues counting from a restored optimiser state. */
  resumeAt(step: number): void {
    this.steps = step;
  }

  /**
   * @throws Emu3Error `shape` when a micro-batch has another shape than the trainer, `argument` when no target of the
   *   whole step is learned (rows or micro-batches without one are fine beside others); nothing is changed then.
   */
  train(batches: readonly PackedBatch[]): void {
    const { inputs, options } = this;
    let denominator = 0;
    for (const packed of batches) {
      checkSequenceShape(packed, options);
      const { targets, weights } = packed;
      const { first, last, weight } = options.visionWeight;
      targets.forEach((target, at) => {
        if (target >= 0) denominator += weights[at] * (target >= first && target <= last ? weight : 1);
      });
    }
    if (!(denominator > 0)) {
      throw new Emu3Error(`The step learns nothing: the weights of its targets sum to ${denominator}.`, {
        code: 'argument',
        where: 'training batch',
        fix: 'Give documents with labels that are learned, and weights above 0.',
      });
    }
    inputs.denominator.write(Float32Array.of(denominator));
    inputs.loss.write(Float32Array.of(0));
    batches.forEach((batch, index) => {
      inputs.dropout.write(Uint32Array.of(options.seed, this.steps * batches.length + index));
      writeSequences(inputs, batch);
      inputs.weights.write(batch.weights);
      this.program.run();
    });
    this.optimization.run();
    this.steps += 1;
  }

  async metrics(): Promise<StepMetrics> {
    const [loss] = await this.inputs.loss.readFloat32();
    const { gradientNorm, learningRate, skippedSteps } = await this.optimization.report();
    return { step: this.steps, loss, gradientNorm, learningRate, skippedSteps };
  }

  destroy(): void {
    this.program.destroy();
    this.optimization.destroy();
    destroyTensors(this.inputs);
  }
}

interface Inputs extends SequenceInputs {
  readonly weights: GpuTensor;
  readonly denominator: GpuTensor;
  readonly loss: GpuTensor;
}

function createInputs(device: Device, config: TransformerConfig, shape: { batch: number; length: number }): Inputs {
  return {
    ...createSequenceInputs(device, config, shape),
    weights: GpuTensor.create(device, [shape.batch * shape.length], 'f32', 'weights of targets'),
    denominator: GpuTensor.create(device, [1], 'f32', 'loss denominator'),
    loss: GpuTensor.create(device, [1], 'f32', 'loss'),
  };
}
