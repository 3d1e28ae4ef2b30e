import { Emu3Error } from '../../kernels/core/errors.js';
import type { Device } from '../device.js';
import { Graph, Program } from '../graph/index.js';
import type { TransformerConfig } from '../models/transformer/config.js';
import type { ModelWeights } from '../models/transformer/weights.js';
import { accumulate, fill, scaleByState } from '../ops/elementwise.js';
import { accumulatePreferenceFigures, dpoLoss, segmentSum, weightedLosses, weightedMean } from '../ops/losses.js';
import { concatenate, slice } from '../ops/slice.js';
import { destroyTensors, GpuTensor } from '../tensor.js';
import type { StepMetrics, Trainer } from './loop.js';
import { accumulateGradients, Optimization, type OptimizationOptions } from './optimization.js';
import type { PreferenceBatch } from './preference.js';
import {
  checkSequenceShape,
  createSequenceInputs,
  sequenceLosses,
  writeSequences,
  type SequenceInputs,
} from './sequences.js';
import { trainedWeights, type AdapterOptions } from './trained.js';

export interface PreferenceTrainerOptions extends OptimizationOptions, AdapterOptions {
  /** Pairs of a micro-batch; twice as many sequences go through the model. */
  pairs: number;
  /** Tokens of a sequence, prompt and response. */
  length: number;
  /** How closely the policy is held to the reference, above 0: beta of Rafailov et al. 2023. */
  beta: number;
  /** Coefficient of the next-token cross-entropy of the chosen responses; 0 leaves it a mere figure. */
  crossEntropy: number;
  /**
   * Dropout rate as of `TransformerTrainer`. Default 0: the reference is scored without, and masks that differ between
   * the two responses are noise in their margin.
   */
  dropout?: number;
  /** Key of every random number of the training. */
  seed: number;
  /** Recompute activations in the backward pass instead of keeping them. */
  recompute?: boolean;
}

/** What a preference step reports, over all pairs of the step. */
export interface PreferenceMetrics extends StepMetrics {
  readonly preferenceLoss: number;
  /** Next-token cross-entropy of the chosen responses in nats a counted token, without its coefficient. */
  readonly crossEntropy: number;
  /** Mean of beta times what the policy, compared with the reference, puts between chosen and rejected, in nats. */
  readonly margin: number;
  /** Share of pairs with a margin above 0. */
  readonly accuracy: number;
  /** Means of the summed log-probabilities of the responses, in nats. */
  readonly chosenLogProbability: number;
  readonly rejectedLogProbability: number;
  readonly skippedSteps: number;
}

/**
 * Direct preference optimisation with next-token prediction (arXiv 2409.18869, section on DPO): the mean over all pairs
 * of the step of `-log sigmoid(margin)` (Rafailov et al. 2023, equation 7), plus `crossEntropy` times the mean
 * cross-entropy of the counted tokens of the chosen responses. Prompts and padding count in neither.
 */
export class PreferenceTrainer implements Trainer<readonly PreferenceBatch[]> {
  readonly optimization: Optimization;
  /** Forward and backward of one micro-batch. */
  readonly program: Program;
  private readonly options: PreferenceTrainerOptions;
  private readonly inputs: Inputs;
  private steps = 0;
  private pairsOfStep = 0;

  private constructor(options: PreferenceTrainerOptions, program: Program, optimization: Optimization, inputs: Inputs) {
    this.options = options;
    this.program = program;
    this.optimization = optimization;
    this.inputs = inputs;
  }

  /**
   * @param weights the policy; without `adapters` a store with gradients, which is what is trained. With adapters that
   *   begin as the model, the weights alone are the reference.
   * @throws Emu3Error `argument` for a beta or coefficient out of range, or for weights that can only be trained through
   *   adapters, `missing` when what is to be trained was made without gradients.
   */
  static async create(
    device: Device,
    config: TransformerConfig,
    weights: ModelWeights,
    options: PreferenceTrainerOptions,
  ): Promise<PreferenceTrainer> {
    checkOptions(options);
    const { pairs, length, beta } = options;
    const graph = new Graph(device.traits);
    const inputs = createInputs(device, config, options);
    const { store, read } = trainedWeights(weights, options, inputs.dropout);
    const { losses } = sequenceLosses(graph, config, read, inputs, { batch: 2 * pairs, length }, options);
    const sums = segmentSum(graph, losses, length, -1);
    const reference = graph.bind(inputs.reference);
    const chosen = slice(graph, sums, 0, pairs);
    const rejected = slice(graph, sums, pairs, pairs);
    const { loss, margins } = dpoLoss(
      graph,
      chosen,
      rejected,
      slice(graph, reference, 0, pairs),
      slice(graph, reference, pairs, pairs),
      beta,
    );
    // Micro-batches have equally many pairs, but not equally many tokens.
    const preference = scaleByState(graph, loss, graph.bind(inputs.share));
    const negative = fill(graph, [pairs], -1);
    const crossEntropy = weightedMean(graph, chosen, negative, graph.bind(inputs.chosenTokens));
    const total = weightedLosses(graph, [
      [1, preference],
      [options.crossEntropy, crossEntropy],
    ]);
    accumulateGradients(graph, store, total);
    const parts = concatenate(graph, [total, preference, crossEntropy]);
    accumulate(graph, graph.bind(inputs.losses), parts);
    accumulatePreferenceFigures(graph, graph.bind(inputs.figures), { margins, chosen, rejected });
    const program = await Program.compile(device, graph, { label: 'preference training' });
    const optimization = await Optimization.create(device, store, options);
    return new PreferenceTrainer(options, program, optimization, inputs);
  }

  get step(): number {
    return this.steps;
  }

  /** Continues counting from a restored optimiser state. */
  resumeAt(step: number): void {
    this.steps = step;
  }

  /**
   * @param batches micro-batches of one optimiser step, at least one.
   * @throws Emu3Error `shape` when one has another shape than the trainer, `argument` when there is none or no token of
   *   a chosen response counts; nothing is changed then.
   */
  train(batches: readonly PreferenceBatch[]): void {
    const { inputs, options } = this;
    const rows = options.pairs * options.length;
    let chosenTokens = 0;
    for (const { sequences, reference } of batches) {
      checkSequenceShape(sequences, { batch: 2 * options.pairs, length: options.length });
      if (reference.length !== 2 * options.pairs) {
        throw new Emu3Error(`There are ${reference.length} reference log-probabilities, not ${2 * options.pairs}.`, {
          code: 'shape',
          where: 'preference batch',
          fix: 'Give one for each sequence.',
        });
      }
      for (let at = 0; at < rows; at++) if (sequences.targets[at] >= 0) chosenTokens += 1;
    }
    if (chosenTokens === 0) {
      throw new Emu3Error(`No token of a chosen response counts in ${batches.length} micro-batches.`, {
        code: 'argument',
        where: 'preference batch',
        fix: 'Give at least one micro-batch, with responses that have targets.',
      });
    }
    inputs.share.write(Float32Array.of(1 / batches.length));
    inputs.chosenTokens.write(Float32Array.of(chosenTokens));
    inputs.losses.write(new Float32Array(3));
    inputs.figures.write(new Float32Array(4));
    batches.forEach(({ sequences, reference }, index) => {
      inputs.dropout.write(Uint32Array.of(options.seed, this.steps * batches.length + index));
      writeSequences(inputs, sequences);
      inputs.reference.write(reference);
      this.program.run();
    });
    this.optimization.run();
    this.pairsOfStep = batches.length * options.pairs;
    this.steps += 1;
  }

  async metrics(): Promise<PreferenceMetrics> {
    const [loss, preferenceLoss, crossEntropy] = await this.inputs.losses.readFloat32();
    const sums = await this.inputs.figures.readFloat32();
    const [margin, accuracy, chosenLogProbability, rejectedLogProbability] = Array.from(
      sums,
      (sum) => sum / Math.max(1, this.pairsOfStep),
    );
    const { gradientNorm, learningRate, skippedSteps } = await this.optimization.report();
    return {
      step: this.steps,
      loss,
      gradientNorm,
      learningRate,
      skippedSteps,
      preferenceLoss,
      crossEntropy,
      margin,
      accuracy,
      chosenLogProbability,
      rejectedLogProbability,
    };
  }

  destroy(): void {
    this.program.destroy();
    this.optimization.destroy();
    destroyTensors(this.inputs);
  }
}

function checkOptions({ beta, crossEntropy, pairs, length }: PreferenceTrainerOptions): void {
  const refuse = (where: string, message: string, fix: string): Emu3Error =>
    new Emu3Error(message, { code: 'argument', where, fix });
  if (!(beta > 0 && Number.isFinite(beta))) {
    throw refuse('beta', `Beta is ${beta}.`, 'Give a finite number above 0, such as 0.1.');
  }
  if (!(crossEntropy >= 0 && Number.isFinite(crossEntropy))) {
    throw refuse('cross-entropy', `The coefficient is ${crossEntropy}.`, 'Give a finite number, 0 or above.');
  }
  if (!(Number.isInteger(pairs) && pairs >= 1 && Number.isInteger(length) && length >= 2)) {
    throw refuse('micro-batch', `${pairs} pairs of ${length} tokens are no micro-batch.`, 'Give 1 x 2 or more.');
  }
}

interface Inputs extends SequenceInputs {
  /** f32 [2 * pairs]. */
  readonly reference: GpuTensor;
  /** f32 [1]: what a micro-batch's mean over pairs counts in the step's. */
  readonly share: GpuTensor;
  /** f32 [1]: counted tokens of all chosen responses of the step. */
  readonly chosenTokens: GpuTensor;
  /** f32 [3]: total, preference loss, cross-entropy; summed over micro-batches. */
  readonly losses: GpuTensor;
  /** f32 [4], see `accumulatePreferenceFigures`. */
  readonly figures: GpuTensor;
}

function createInputs(device: Device, config: TransformerConfig, shape: { pairs: number; length: number }): Inputs {
  const batch = 2 * shape.pairs;
  return {
    ...createSequenceInputs(device, config, { batch, length: shape.length }),
    reference: GpuTensor.create(device, [batch], 'f32', 'reference log-probabilities'),
    share: GpuTensor.create(device, [1], 'f32', 'share of a micro-batch'),
    chosenTokens: GpuTensor.create(device, [1], 'f32', 'counted tokens'),
    losses: GpuTensor.create(device, [3], 'f32', 'losses'),
    figures: GpuTensor.create(device, [4], 'f32', 'figures of the pairs'),
  };
}
