import { Emu3Error } from '../../kernels/core/errors.js';
import type { Device } from '../device.js';
import { Graph, Program } from '../graph/index.js';
import {
  attendSequences,
  languageHead,
  transformerForward,
  transformerRotaryTable,
  type ForwardOptions,
} from '../models/transformer/forward.js';
import { withAdapters } from '../models/transformer/adapters/adapted.js';
import type { LoraAdapters } from '../models/transformer/adapters/lora.js';
import type { TransformerConfig } from '../models/transformer/config.js';
import { bindWeights, type ModelWeights } from '../models/transformer/weights.js';
import { tokenCrossEntropy, targetWeights } from '../ops/cross-entropy.js';
import { accumulate, multiply } from '../ops/elementwise.js';
import { weightedMean } from '../ops/losses.js';
import { ParameterStore } from '../parameters.js';
import { GpuTensor } from '../tensor.js';
import type { StepMetrics, Trainer } from './loop.js';
import { accumulateGradients, Optimization, type OptimizationOptions } from './optimization.js';
import type { PackedBatch } from './packing.js';

export interface TransformerTrainerOptions extends OptimizationOptions {
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
  /** Train these, made with gradients, and leave the model's weights as they are: those need no gradients then. */
  adapters?: LoraAdapters;
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
    const { batch, length, visionWeight, adapters } = options;
    const store = adapters?.store ?? trainable(weights);
    const graph = new Graph(device.traits);
    const inputs = createInputs(device, config, batch, length);
    const bound = bindWeights(graph, adapters ? withAdapters(weights, adapters, inputs.dropout) : weights);
    const rate = options.dropout ?? config.attention_dropout;
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
    const { loss: rowLosses } = tokenCrossEntropy(graph, languageHead(config, bound, hidden), targets);
    const byKind = targetWeights(graph, targets, {
      visionRange: [visionWeight.first, visionWeight.last],
      vision: visionWeight.weight,
      text: 1,
    });
    const targetWeight = multiply(graph, byKind, graph.bind(inputs.weights));
    const loss = weightedMean(graph, rowLosses, targetWeight, graph.bind(inputs.denominator));
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

  /** @throws Emu3Error `shape` when a micro-batch has another shape than the trainer. */
  train(batches: readonly PackedBatch[]): void {
    const { inputs, options } = this;
    let denominator = 0;
    for (const { batch, length, targets, weights } of batches) {
      if (batch !== options.batch || length !== options.length) {
        throw new Emu3Error(
          `A micro-batch is ${batch} x ${length}, the trainer ${options.batch} x ${options.length}.`,
          {
            code: 'shape',
            where: 'training batch',
            fix: 'Pack to the shape of the trainer.',
          },
        );
      }
      const { first, last, weight } = options.visionWeight;
      targets.forEach((target, at) => {
        if (target >= 0) denominator += weights[at] * (target >= first && target <= last ? weight : 1);
      });
    }
    inputs.denominator.write(Float32Array.of(denominator));
    inputs.loss.write(Float32Array.of(0));
    batches.forEach((batch, index) => {
      inputs.dropout.write(Uint32Array.of(options.seed, this.steps * batches.length + index));
      inputs.ids.write(batch.ids);
      inputs.positions.write(batch.positions);
      inputs.start.write(batch.start);
      inputs.targets.write(batch.targets);
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
    for (const tensor of Object.values<GpuTensor>({ ...this.inputs })) tensor.destroy();
  }
}

function trainable(weights: ModelWeights): ParameterStore {
  if (weights instanceof ParameterStore) return weights;
  throw new Emu3Error('These weights cannot be trained themselves.', {
    code: 'argument',
    where: 'weights',
    fix: 'Give adapters to train, or the weights as a parameter store with gradients.',
  });
}

interface Inputs {
  readonly ids: GpuTensor;
  readonly positions: GpuTensor;
  readonly start: GpuTensor;
  readonly targets: GpuTensor;
  readonly weights: GpuTensor;
  readonly rotaryTable: GpuTensor;
  readonly dropout: GpuTensor;
  readonly denominator: GpuTensor;
  readonly loss: GpuTensor;
}

function createInputs(device: Device, config: TransformerConfig, batch: number, length: number): Inputs {
  const rows = [batch * length];
  const table = transformerRotaryTable(config, length);
  const tableShape = [length, table.length / length];
  return {
    ids: GpuTensor.create(device, rows, 'u32', 'ids'),
    positions: GpuTensor.create(device, rows, 'u32', 'positions'),
    start: GpuTensor.create(device, rows, 'u32', 'start'),
    targets: GpuTensor.create(device, rows, 'i32', 'targets'),
    weights: GpuTensor.create(device, rows, 'f32', 'weights of targets'),
    rotaryTable: GpuTensor.from(device, tableShape, 'f32', table, 'rotary table'),
    dropout: GpuTensor.create(device, [2], 'u32', 'dropout state'),
    denominator: GpuTensor.create(device, [1], 'f32', 'loss denominator'),
    loss: GpuTensor.create(device, [1], 'f32', 'loss'),
  };
}
