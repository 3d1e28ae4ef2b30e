import { Emu3Error } from '../../kernels/core/errors.js';
import type { Device } from '../device.js';
import { Graph, Program } from '../graph/index.js';
import type { VisionConfig } from '../models/vision/config.js';
import type { VisionWeights } from '../models/vision/weights.js';
import { concatenate, keep } from '../ops/slice.js';
import { countCodes, reviveCodes } from '../ops/vector-quantizer.js';
import { GpuTensor } from '../tensor.js';
import type { StepMetrics, Trainer } from './loop.js';
import { accumulateGradients, Optimization, type OptimizationOptions } from './optimization.js';
import { visionLoss } from './vision-loss.js';

export interface VisionTrainerOptions extends OptimizationOptions {
  /** Clips of a step, [batch, frames, height, width, 3]; frames = 1 trains on images. */
  batch: number;
  frames: number;
  height: number;
  width: number;
  /** Every so many steps codes that were used fewer than `reviveBelow` times since are replaced by latents; 0: never. */
  reviveEvery: number;
  reviveBelow: number;
  /** No more replacements from this step on, so that the codes settle. */
  reviveUntil: number;
  seed: number;
}

/** Trains the vision tokenizer: L2, codebook and commitment losses, BatchNorm by batch statistics, dead codes revived. */
export class VisionTrainer implements Trainer<Float32Array> {
  readonly optimization: Optimization;
  readonly program: Program;
  private readonly revival: Program;
  private readonly tensors: Tensors;
  private readonly weights: VisionWeights;
  private readonly options: VisionTrainerOptions;
  private steps = 0;

  private constructor(
    options: VisionTrainerOptions,
    programs: { program: Program; revival: Program },
    optimization: Optimization,
    tensors: Tensors,
    weights: VisionWeights,
  ) {
    this.options = options;
    this.weights = weights;
    this.program = programs.program;
    this.revival = programs.revival;
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
    return new VisionTrainer(options, { program, revival }, optimization, tensors, weights);
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
    tensors.pixels.write(pixels);
    this.program.run();
    this.optimization.run();
    this.weights.countBatch();
    this.steps += 1;
    const { reviveEvery, reviveUntil } = options;
    if (reviveEvery > 0 && this.steps % reviveEvery === 0 && this.steps < reviveUntil) {
      tensors.reviveSeed.write(Uint32Array.of((options.seed + Math.imul(this.steps, 0x9e3779b9)) >>> 0));
      this.revival.run();
    }
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
    this.optimization.destroy();
    for (const tensor of Object.values<GpuTensor>({ ...this.tensors })) tensor.destroy();
  }
}

interface Tensors {
  readonly pixels: GpuTensor;
  readonly losses: GpuTensor;
  readonly counts: GpuTensor;
  readonly revived: GpuTensor;
  readonly reviveSeed: GpuTensor;
  readonly latents: GpuTensor;
}
