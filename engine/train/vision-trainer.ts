import { Emu3Error } from '../../kernels/core/errors.js';
import type { Device } from '../device.js';
import { Graph, Program } from '../graph/index.js';
import type { VisionConfig } from '../models/vision/config.js';
import type { VisionWeights } from '../models/vision/weights.js';
import { fill } from '../ops/elementwise.js';
import { concatenate, keep } from '../ops/slice.js';
import { countCodes, reviveCodes } from '../ops/vector-quantizer.js';
import { destroyTensors, GpuTensor } from '../tensor.js';
import type { StepMetrics, Trainer } from './loop.js';
import { accumulateGradients, Optimization, type OptimizationOptions } from './optimization.js';
import { autoencoderLoss, visionLoss } from './vision-loss.js';

/** Clips of a step, [batch, frames, height, width, 3]; frames = 1 is a batch of pictures, a clip has a multiple of 4. */
export interface ClipShape {
  readonly batch: number;
  readonly frames: number;
  readonly height: number;
  readonly width: number;
}

/** What a step trains on. */
export interface VisionBatch {
  /** Which of the trainer's shapes it has. */
  readonly shape: number;
  /** [batch, frames, height, width, 3] in -1..1, flattened. */
  readonly pixels: Float32Array;
}

export interface VisionTrainerOptions extends OptimizationOptions {
  /** A step has one of these shapes, so that pictures and clips, small and large, train the same weights in turn. */
  shapes: readonly ClipShape[];
  /** Every so many steps codes that were used fewer than `reviveBelow` times since are replaced by latents; 0: never. */
  reviveEvery: number;
  /** At least 1. */
  reviveBelow: number;
  /** No more replacements from this step on, so that the codes settle. */
  reviveUntil: number;
  /**
   * Steps before this one hand the latents to the decoder as they are, and the last of them fill the codebook with
   * latents. A codebook learned from the first step on keeps to the few dimensions its first codes told apart.
   * Default 0: quantised from the start.
   */
  quantizeFrom?: number;
  seed: number;
}

/** The codebook is filled over so many steps, a share in each, so that its codes come from many pictures. */
const fillingSteps = 64;

/** What is recorded for one shape of batches. */
interface Recorded {
  readonly pixels: GpuTensor;
  readonly latents: GpuTensor;
  readonly program: Program;
  /** A step of the plain autoencoder, where there are such steps. */
  readonly warmUp: Program | undefined;
  readonly revival: Program;
}

/** Trains the vision tokenizer: L2, codebook and commitment losses, BatchNorm by batch statistics, dead codes revived. */
export class VisionTrainer implements Trainer<VisionBatch> {
  readonly optimization: Optimization;
  private readonly recorded: readonly Recorded[];
  private readonly tensors: Tensors;
  private readonly weights: VisionWeights;
  private readonly options: VisionTrainerOptions;
  private steps = 0;

  private constructor(
    options: VisionTrainerOptions,
    recorded: readonly Recorded[],
    optimization: Optimization,
    tensors: Tensors,
    weights: VisionWeights,
  ) {
    this.options = options;
    this.weights = weights;
    this.recorded = recorded;
    this.optimization = optimization;
    this.tensors = tensors;
  }

  /** @throws Emu3Error `argument` for no shape, `shape` for sides or frames that the tokenizer cannot halve. */
  static async create(
    device: Device,
    config: VisionConfig,
    weights: VisionWeights,
    options: VisionTrainerOptions,
  ): Promise<VisionTrainer> {
    if (options.shapes.length === 0) {
      throw new Emu3Error('The trainer has no shape to train on.', {
        code: 'argument',
        where: 'shapes',
        fix: 'Give the batch, frames, height and width of a step.',
      });
    }
    const size = config.codebook_size;
    const tensors: Tensors = {
      losses: GpuTensor.create(device, [4], 'f32', 'losses'),
      counts: GpuTensor.create(device, [size], 'u32', 'code counts'),
      revived: GpuTensor.create(device, [size], 'u32', 'revived codes'),
      reviveSeed: GpuTensor.create(device, [1], 'u32', 'revival seed'),
    };
    const recorded: Recorded[] = [];
    for (const shape of options.shapes) recorded.push(await record(device, config, weights, tensors, shape, options));
    const optimization = await Optimization.create(device, weights.parameters, options);
    return new VisionTrainer(options, recorded, optimization, tensors, weights);
  }

  get step(): number {
    return this.steps;
  }

  /** The program of the forward and backward pass of a shape. */
  program(shape = 0): Program {
    return this.recordedAs(shape).program;
  }

  /** Continues counting from a restored optimiser state. */
  resumeAt(step: number): void {
    this.steps = step;
  }

  /** @throws Emu3Error `shape` for another number of values, `argument` for a shape the trainer does not have. */
  train({ shape, pixels }: VisionBatch): void {
    const recorded = this.recordedAs(shape);
    if (pixels.byteLength !== recorded.pixels.byteLength) {
      throw new Emu3Error(`${pixels.length} values are not [${recorded.pixels.shape.join(', ')}] pixels.`, {
        code: 'shape',
        where: 'training batch',
        fix: 'Give channels-last pixels of the size of the trainer.',
      });
    }
    const { reviveEvery, reviveUntil, quantizeFrom = 0 } = this.options;
    recorded.pixels.write(pixels);
    (this.steps < quantizeFrom && recorded.warmUp ? recorded.warmUp : recorded.program).run();
    this.optimization.run();
    this.weights.countBatch();
    this.steps += 1;
    const before = quantizeFrom - this.steps;
    if (before >= 0) {
      if (before < fillingSteps) this.fillCodes(before, recorded);
    } else if (reviveEvery > 0 && this.steps % reviveEvery === 0 && this.steps < reviveUntil) {
      this.revive(recorded);
    }
  }

  private recordedAs(shape: number): Recorded {
    const recorded = this.recorded.at(shape);
    if (recorded !== undefined && shape >= 0) return recorded;
    throw new Emu3Error(`The trainer has ${this.recorded.length} shape(s), and ${shape} is none of them.`, {
      code: 'argument',
      where: 'shape of the training batch',
      fix: `Give 0 to ${this.recorded.length - 1}.`,
    });
  }

  /** Every `fillingSteps`-th code becomes a latent of this batch, as the others are counted as used. */
  private fillCodes(remainder: number, recorded: Recorded): void {
    const counts = new Uint32Array(this.tensors.counts.shape[0]).fill(this.options.reviveBelow);
    for (let code = remainder; code < counts.length; code += fillingSteps) counts[code] = 0;
    this.tensors.counts.write(counts);
    this.revive(recorded);
  }

  private revive({ revival }: Recorded): void {
    const { tensors, options } = this;
    tensors.reviveSeed.write(Uint32Array.of((options.seed + Math.imul(this.steps, 0x9e3779b9)) >>> 0));
    revival.run();
  }

  async metrics(): Promise<StepMetrics> {
    const [loss, reconstruction, codebook, commitment] = await this.tensors.losses.readFloat32();
    const counts = await this.tensors.counts.readUint32();
    const used = counts.reduce((sum, count) => sum + (count > 0 ? 1 : 0), 0);
    const { gradientNorm, learningRate, skippedSteps } = await this.optimization.report();
    return {
      step: this.steps,
      loss,
      gradientNorm,
      learningRate,
      skippedSteps,
      reconstruction,
      codebook,
      commitment,
      psnr: psnrOf(reconstruction),
      codesUsed: used,
    };
  }

  /** Counts since the last revival, for checkpoints. */
  async codeCounts(): Promise<Uint32Array> {
    return this.tensors.counts.readUint32();
  }

  restoreCodeCounts(counts: Uint32Array): void {
    this.tensors.counts.write(counts);
  }

  destroy(): void {
    for (const { program, warmUp, revival, pixels, latents } of this.recorded) {
      for (const part of [program, warmUp, revival, pixels, latents]) part?.destroy();
    }
    this.optimization.destroy();
    destroyTensors(this.tensors);
  }
}

/** Decibels of a mean squared error of pixels in -1..1. */
export function psnrOf(error: number): number {
  return 10 * Math.log10(4 / Math.max(error, 1e-12));
}

async function record(
  device: Device,
  config: VisionConfig,
  weights: VisionWeights,
  tensors: Tensors,
  shape: ClipShape,
  options: VisionTrainerOptions,
): Promise<Recorded> {
  const { batch, frames, height, width } = shape;
  const pixels = GpuTensor.create(device, [batch, frames, height, width, config.in_channels], 'f32', 'pixels');
  const graph = new Graph(device.traits);
  const context = { graph, ...weights.bind(graph), batchStatistics: true };
  const { latent, codes, terms, total } = visionLoss(context, config, graph.bind(pixels));
  const latents = GpuTensor.create(device, latent.shape, 'f32', 'latents of the last batch');
  accumulateGradients(graph, weights.parameters, total);
  const reports = [total, terms.reconstruction, terms.codebook, terms.commitment];
  keep(graph, graph.bind(tensors.losses), concatenate(graph, reports));
  keep(graph, graph.bind(latents), latent);
  countCodes(graph, codes, graph.bind(tensors.counts));
  const program = await Program.compile(device, graph, { label: 'vision tokenizer training' });

  const revivalGraph = new Graph(device.traits);
  const bind = (tensor: GpuTensor): ReturnType<Graph['bind']> => revivalGraph.bind(tensor);
  reviveCodes(
    revivalGraph,
    {
      latents: bind(latents),
      state: bind(tensors.reviveSeed),
      counts: bind(tensors.counts),
      codebook: bind(weights.parameters.tensor('quantize.embedding.weight')),
      revived: bind(tensors.revived),
    },
    options.reviveBelow,
  );
  const revival = await Program.compile(device, revivalGraph, { label: 'codebook revival' });
  const warmed = (options.quantizeFrom ?? 0) > 0;
  const warmUp = warmed ? await compileWarmUp(device, config, weights, tensors, { pixels, latents }) : undefined;
  return { pixels, latents, program, warmUp, revival };
}

/** A step of the plain autoencoder, into the same tensors; codebook and commitment loss are reported as 0. */
async function compileWarmUp(
  device: Device,
  config: VisionConfig,
  weights: VisionWeights,
  tensors: Tensors,
  { pixels, latents }: Pick<Recorded, 'pixels' | 'latents'>,
): Promise<Program> {
  const graph = new Graph(device.traits);
  const context = { graph, ...weights.bind(graph), batchStatistics: true };
  const { latent, reconstruction } = autoencoderLoss(context, config, graph.bind(pixels));
  accumulateGradients(graph, weights.parameters, reconstruction);
  const reports = [reconstruction, reconstruction, fill(graph, [2], 0)];
  keep(graph, graph.bind(tensors.losses), concatenate(graph, reports));
  keep(graph, graph.bind(latents), latent);
  return Program.compile(device, graph, { label: 'vision tokenizer training without quantisation' });
}

interface Tensors {
  readonly losses: GpuTensor;
  readonly counts: GpuTensor;
  readonly revived: GpuTensor;
  readonly reviveSeed: GpuTensor;
}
