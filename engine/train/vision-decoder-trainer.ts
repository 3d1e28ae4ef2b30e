import { elementCount } from '../../kernels/core/types.js';
import { Emu3Error } from '../../kernels/core/errors.js';
import type { Device } from '../device.js';
import { Graph, Program } from '../graph/index.js';
import { decode, spatialFactor, type VisionConfig } from '../models/vision/index.js';
import type { VisionWeights } from '../models/vision/weights.js';
import { keep } from '../ops/slice.js';
import { meanSquaredError } from '../ops/losses.js';
import { lookUpCodes } from '../ops/vector-quantizer.js';
import { GpuTensor } from '../tensor.js';
import type { StepMetrics, Trainer } from './loop.js';
import { accumulateGradients, Optimization, type OptimizationOptions } from './optimization.js';
import { psnrOf, type ClipShape } from './vision-trainer.js';

/** What a step trains on: tokens, and the pixels that they are to become. */
export interface DecoderBatch {
  /** Which of the trainer's shapes it has. */
  readonly shape: number;
  /** Codebook entries, [batch, latent frames, height / 8, width / 8], flattened. */
  readonly codes: Uint32Array;
  /** [batch, frames, height, width, 3] in -1..1, flattened. */
  readonly pixels: Float32Array;
}

export interface DecoderTrainerOptions extends Omit<OptimizationOptions, 'hyper'> {
  /** A step has one of these shapes. */
  shapes: readonly ClipShape[];
  /** Decay of the second moment; default as AdamW's. */
  beta2?: number;
}

interface Recorded {
  readonly codes: GpuTensor;
  readonly pixels: GpuTensor;
  readonly program: Program;
}

/**
 * Trains the decoder of a vision tokenizer alone, by squared error of the pixels. Encoder and codebook stay as they are to
 * the bit, so that tokens keep their meaning for a transformer that knows them. BatchNorm goes by its running statistics,
 * which stay too: what is trained is what decodes.
 */
export class VisionDecoderTrainer implements Trainer<DecoderBatch> {
  private steps = 0;

  private constructor(
    readonly optimization: Optimization,
    private readonly recorded: readonly Recorded[],
    private readonly loss: GpuTensor,
  ) {}

  /**
   * @param weights created for training.
   * @throws Emu3Error `shape` for sides or frames that are no whole number of tokens.
   */
  static async create(
    device: Device,
    config: VisionConfig,
    weights: VisionWeights,
    { shapes, beta2, ...options }: DecoderTrainerOptions,
  ): Promise<VisionDecoderTrainer> {
    const loss = GpuTensor.create(device, [1], 'f32', 'loss');
    const recorded: Recorded[] = [];
    for (const shape of shapes) recorded.push(await record(device, config, weights, shape, loss));
    // Without decay a parameter without a gradient does not move.
    const hyper = { weightDecay: 0, ...(beta2 !== undefined && { beta2 }) };
    const optimization = await Optimization.create(device, weights.parameters, { ...options, hyper });
    return new VisionDecoderTrainer(optimization, recorded, loss);
  }

  get step(): number {
    return this.steps;
  }

  /** Continues counting from a restored optimiser state. */
  resumeAt(step: number): void {
    this.steps = step;
  }

  /** @throws Emu3Error `shape` for another number of codes or pixels, or for a shape the trainer does not have. */
  train({ shape, codes, pixels }: DecoderBatch): void {
    const recorded = this.recorded.at(shape);
    const fits = codes.byteLength === recorded?.codes.byteLength && pixels.byteLength === recorded.pixels.byteLength;
    if (recorded === undefined || shape < 0 || !fits) {
      throw new Emu3Error(`${codes.length} codes and ${pixels.length} values are no batch of shape ${shape}.`, {
        code: 'shape',
        where: 'training batch',
        fix: 'Give codes and channels-last pixels of one of the shapes of the trainer.',
      });
    }
    recorded.codes.write(codes);
    recorded.pixels.write(pixels);
    recorded.program.run();
    this.optimization.run();
    this.steps += 1;
  }

  async metrics(): Promise<StepMetrics> {
    const [loss] = await this.loss.readFloat32();
    const { gradientNorm, learningRate, skippedSteps } = await this.optimization.report();
    return { step: this.steps, loss, gradientNorm, learningRate, skippedSteps, psnr: psnrOf(loss) };
  }

  destroy(): void {
    for (const { codes, pixels, program } of this.recorded) {
      for (const part of [codes, pixels, program]) part.destroy();
    }
    this.optimization.destroy();
    this.loss.destroy();
  }
}

async function record(
  device: Device,
  config: VisionConfig,
  weights: VisionWeights,
  { batch, frames, height, width }: ClipShape,
  loss: GpuTensor,
): Promise<Recorded> {
  const factor = spatialFactor(config);
  const isPicture = frames === 1;
  const latents = [batch, isPicture ? 1 : frames / config.temporal_downsample_factor, height / factor, width / factor];
  if (!latents.every(Number.isInteger)) {
    throw new Emu3Error(`${frames} frames of ${height} x ${width} pixels are no whole number of tokens.`, {
      code: 'shape',
      where: 'decoder training',
      fix: `Give multiples of ${config.temporal_downsample_factor} frames, or 1, and of ${factor} pixels.`,
    });
  }
  const codes = GpuTensor.create(device, [elementCount(latents)], 'u32', 'codes');
  const pixels = GpuTensor.create(device, [batch, frames, height, width, config.out_channels], 'f32', 'pixels');
  const graph = new Graph(device.traits);
  const context = { graph, ...weights.bind(graph), batchStatistics: false };
  const codebook = context.parameter('quantize.embedding.weight');
  const quantized = lookUpCodes(graph, graph.bind(codes), codebook, [...latents, config.embed_dim]);
  const decoded = decode(context, config, graph.detach(quantized), isPicture);
  const error = meanSquaredError(graph, decoded, graph.bind(pixels));
  accumulateGradients(graph, weights.parameters, error);
  keep(graph, graph.bind(loss), error);
  return { codes, pixels, program: await Program.compile(device, graph, { label: 'vision decoder training' }) };
}
