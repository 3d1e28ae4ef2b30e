import { Emu3Error } from '../../kernels/core/errors.js';
import type { Device } from '../device.js';
import { Graph, Program } from '../graph/index.js';
import type { VisionConfig } from '../models/vision/config.js';
import type { VisionWeights } from '../models/vision/weights.js';
import { fill } from '../ops/elementwise.js';
import { concatenate, keep } from '../ops/slice.js';
import { countCodes, reviveCodes } from '../ops/vector-quantizer.js';
import { GpuTensor } from '../tensor.js';
import type { StepMetrics, Trainer } from './loop.js';
import { accumulateGradients, Optimization, type OptimizationOptions } from './optimization.js';
import { autoencoderLoss, visionLoss } from './vision-loss.js';

export interface VisionTrainerOptions extends OptimizationOptions {
  /** Clips of a step, [batch, frames, height, width, 3]; frames = 1 trains on images. */
  batch: number;
  frames: number;
  height: number;
  width: number;
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

/** Trains the vision tokenizer: L2, codebook and commitment losses, BatchNorm by batch statistics, dead codes revived. */
export class VisionTrainer implements Trainer<Float32Array> {
  readonly optimization: Optimization;
  readonly program: Program;
  private readonly revival: Program;
  private readonly warmUp: Program | undefined;
  private readonly tensors: Tensors;
  private readonly weights: VisionWeights;
  private readonly options: VisionTrainerOptions;
  private steps = 0;

  private constructor(
    options: VisionTrainerOptions,
    programs: { program: Program; revival: Program; warmUp: Program | undefined },
    optimization: Optimization,
    tensors: Tensors,
    weights: VisionWeights,
  ) {
    this.options = options;
    this.weights = weights;
    this.program = programs.program;
    this.revival = programs.revival;
    this.warmUp = programs.warmUp;
    this.optimization = optimization;
    this.tensors = tensors;
  }

  static async create(
    device: Device,
    config: VisionConfig,
    weights: VisionWeights,
    options: VisionTrainerOptions,
  ): Promise<VisionTrainer> {
    const { batch, frames, height, width } = options;
    const pixels = GpuTensor.create(device, [batch, frames, height, width, config.in_channels], 'f32', 'pixels');
    const graph = new Graph(device.traits);
    const context = { graph, ...weights.bind(graph), batchStatistics: true };
    const { latent, codes, terms, total } = visionLoss(context, config, graph.bind(pixels));
    const size = config.codebook_size;
    const tensors: Tensors = {
      pixels,
      losses: GpuTensor.create(device, [4], 'f32', 'losses'),
      counts: GpuTensor.create(device, [size], 'u32', 'code counts'),
      revived: GpuTensor.create(device, [size], 'u32', 'revived codes'),
      reviveSeed: GpuTensor.create(device, [1], 'u32', 'revival seed'),
      latents: GpuTensor.create(device, latent.shape, 'f32', 'latents of the last batch'),
    };
    accumulateGradients(graph, weights.parameters, total);
    const reports = [total, terms.reconstruction, terms.codebook, terms.commitment];
    const losses = reports.reduce((all, term) => concatenate(graph, all, term));
    keep(graph, graph.bind(tensors.losses), losses);
    keep(graph, graph.bind(tensors.latents), latent);
    countCodes(graph, codes, graph.bind(tensors.counts));
    const program = await Program.compile(device, graph, { label: 'vision tokenizer training' });

    const revivalGraph = new Graph(device.traits);
    const bind = (tensor: GpuTensor): ReturnType<Graph['bind']> => revivalGraph.bind(tensor);
    reviveCodes(
      revivalGraph,
      {
        latents: bind(tensors.latents),
        state: bind(tensors.reviveSeed),
        counts: bind(tensors.counts),
        codebook: bind(weights.parameters.tensor('quantize.embedding.weight')),
        revived: bind(tensors.revived),
      },
      options.reviveBelow,
    );
    const revival = await Program.compile(device, revivalGraph, { label: 'codebook revival' });
    const optimization = await Optimization.create(device, weights.parameters, options);
    const warmUp = (options.quantizeFrom ?? 0) > 0 ? await compileWarmUp(device, config, weights, tensors) : undefined;
    return new VisionTrainer(options, { program, revival, warmUp }, optimization, tensors, weights);
  }

  get step(): number {
    return this.steps;
  }

  /** Continues counting from a restored optimiser state. */
  resumeAt(step: number): void {
    this.steps = step;
  }

  /**
   * @param pixels [batch, frames, height, width, 3] in -1..1, flattened.
   * @throws Emu3Error `shape` for another number of values.
   */
  train(pixels: Float32Array): void {
    const { tensors, options } = this;
    if (pixels.byteLength !== tensors.pixels.byteLength) {
      throw new Emu3Error(`${pixels.length} values are not [${tensors.pixels.shape.join(', ')}] pixels.`, {
        code: 'shape',
        where: 'training batch',
        fix: 'Give channels-last pixels of the size of the trainer.',
      });
    }
    const { reviveEvery, reviveUntil, quantizeFrom = 0 } = options;
    tensors.pixels.write(pixels);
    (this.steps < quantizeFrom && this.warmUp ? this.warmUp : this.program).run();
    this.optimization.run();
    this.weights.countBatch();
    this.steps += 1;
    const before = quantizeFrom - this.steps;
    if (before >= 0) {
      if (before < fillingSteps) this.fillCodes(before);
    } else if (reviveEvery > 0 && this.steps % reviveEvery === 0 && this.steps < reviveUntil) {
      this.revive();
    }
  }

  /** Every `fillingSteps`-th code becomes a latent of this batch, as the others are counted as used. */
  private fillCodes(remainder: number): void {
    const counts = new Uint32Array(this.tensors.counts.shape[0]).fill(this.options.reviveBelow);
    for (let code = remainder; code < counts.length; code += fillingSteps) counts[code] = 0;
    this.tensors.counts.write(counts);
    this.revive();
  }

  private revive(): void {
    const { tensors, options } = this;
    tensors.reviveSeed.write(Uint32Array.of((options.seed + Math.imul(this.steps, 0x9e3779b9)) >>> 0));
    this.revival.run();
  }

  async metrics(): Promise<StepMetrics> {
    const [loss, reconstruction, codebook, commitment] = await this.tensors.losses.readFloat32();
    const counts = await this.tensors.counts.readUint32();
    const used = counts.reduce((sum, count) => sum + (count > 0 ? 1 : 0), 0);
    const { gradientNorm, learningRate, skippedSteps } = await this.optimization.report();
    // Pixels span 2, so a mean squared error e is 10 log10(4 / e) dB.
    const psnr = 10 * Math.log10(4 / Math.max(reconstruction, 1e-12));
    return {
      step: this.steps,
      loss,
      gradientNorm,
      learningRate,
      skippedSteps,
      reconstruction,
      codebook,
      commitment,
      psnr,
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
    this.program.destroy();
    this.revival.destroy();
    this.warmUp?.destroy();
    this.optimization.destroy();
    for (const tensor of Object.values<GpuTensor>({ ...this.tensors })) tensor.destroy();
  }
}

/** A step of the plain autoencoder, into the same tensors; codebook and commitment loss are reported as 0. */
async function compileWarmUp(
  device: Device,
  config: VisionConfig,
  weights: VisionWeights,
  tensors: Tensors,
): Promise<Program> {
  const graph = new Graph(device.traits);
  const context = { graph, ...weights.bind(graph), batchStatistics: true };
  const { latent, reconstruction } = autoencoderLoss(context, config, graph.bind(tensors.pixels));
  accumulateGradients(graph, weights.parameters, reconstruction);
  const totalAndFirst = concatenate(graph, reconstruction, reconstruction);
  keep(graph, graph.bind(tensors.losses), concatenate(graph, totalAndFirst, fill(graph, [2], 0)));
  keep(graph, graph.bind(tensors.latents), latent);
  return Program.compile(device, graph, { label: 'vision tokenizer training without quantisation' });
}

interface Tensors {
  readonly pixels: GpuTensor;
  readonly losses: GpuTensor;
  readonly counts: GpuTensor;
  readonly revived: GpuTensor;
  readonly reviveSeed: GpuTensor;
  readonly latents: GpuTensor;
}
