import { elementCount } from '../../kernels/core/types.js';
import { Emu3Error } from '../../kernels/core/errors.js';
import type { Device } from '../device.js';
import { Graph, Program } from '../graph/index.js';
import { checkCodebook, decode, encode, spatialFactor, type VisionConfig } from '../models/vision/index.js';
import type { VisionWeights } from '../models/vision/weights.js';
import { tokenCrossEntropy } from '../ops/cross-entropy.js';
import { addBias, linear } from '../ops/matmul.js';
import { keep } from '../ops/slice.js';
import { meanSquaredError, segmentSum } from '../ops/losses.js';
import { lookUpCodes } from '../ops/vector-quantizer.js';
import { GpuTensor } from '../tensor.js';
import type { StepMetrics, Trainer } from './loop.js';
import { accumulateGradients, Optimization, type OptimizationOptions } from './optimization.js';
import { psnrOf, type ClipShape } from './vision-trainer.js';

/** What a step trains on: pixels and their tokens, of which one is to become the other. */
export interface VisionPartBatch {
  /** Which of the trainer's shapes it has. */
  readonly shape: number;
  /** Codebook entries, [batch, latent frames, height / 8, width / 8], flattened. */
  readonly codes: Uint32Array;
  /** [batch, frames, height, width, 3] in -1..1, flattened. */
  readonly pixels: Float32Array;
}

/**
 * The decoder learns pixels of codes, by mean squared error. The encoder learns codes of pixels: by cross-entropy of the
 * given codes, in nats, where a code's logit is the negative squared distance of the latent to it over `temperature`. A
 * temperature of about half the squared distance between neighbouring codes asks for latents close by their codes.
 */
export type VisionPart = { readonly part: 'decoder' } | { readonly part: 'encoder'; readonly temperature: number };

export interface VisionPartTrainerOptions extends Omit<OptimizationOptions, 'hyper'> {
  trained: VisionPart;
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

/** The codebook as a classifier: squared distances without the latent's own square, which all codes have in common. */
interface Classifier {
  /** [codes, d] f32: codes times `2 / temperature`. */
  readonly weight: GpuTensor;
  /** [codes] f32: squares of the codes' lengths over `-temperature`. */
  readonly bias: GpuTensor;
}

/**
 * Trains one part of a vision tokenizer, with what tokens should be or show as given. The codebook and the other part stay
 * as they are to the bit, so that tokens keep their meaning for a transformer that knows them. BatchNorm goes by its
 * running statistics, which stay too: what is trained is what runs.
 */
export class VisionPartTrainer implements Trainer<VisionPartBatch> {
  private steps = 0;

  private constructor(
    readonly optimization: Optimization,
    private readonly config: VisionConfig,
    private readonly part: VisionPart['part'],
    private readonly recorded: readonly Recorded[],
    private readonly classifier: Classifier | undefined,
    private readonly loss: GpuTensor,
  ) {}

  /**
   * @param weights created for training.
   * @throws Emu3Error `shape` for sides or frames that are no whole number of tokens, `argument` for a temperature that is
   *   not above 0.
   */
  static async create(
    device: Device,
    config: VisionConfig,
    weights: VisionWeights,
    { trained, shapes, beta2, ...options }: VisionPartTrainerOptions,
  ): Promise<VisionPartTrainer> {
    const classifier =
      trained.part === 'encoder' ? await classifierOf(device, weights, trained.temperature) : undefined;
    const loss = GpuTensor.create(device, [1], 'f32', 'loss');
    const recorded: Recorded[] = [];
    for (const shape of shapes) recorded.push(await record(device, config, weights, shape, { classifier, loss }));
    // Without decay a parameter without a gradient does not move.
    const hyper = { weightDecay: 0, ...(beta2 !== undefined && { beta2 }) };
    const optimization = await Optimization.create(device, weights.parameters, { ...options, hyper });
    return new VisionPartTrainer(optimization, config, trained.part, recorded, classifier, loss);
  }

  get step(): number {
    return this.steps;
  }

  /** Continues counting from a restored optimiser state. */
  resumeAt(step: number): void {
    this.steps = step;
  }

  /**
   * @throws Emu3Error `shape` for another number of codes or pixels, or for a shape the trainer does not have; `token` for
   *   a code beyond the codebook.
   */
  train({ shape, codes, pixels }: VisionPartBatch): void {
    const recorded = this.recorded.at(shape);
    const fits = codes.byteLength === recorded?.codes.byteLength && pixels.byteLength === recorded.pixels.byteLength;
    if (recorded === undefined || shape < 0 || !fits) {
      throw new Emu3Error(`${codes.length} codes and ${pixels.length} values are no batch of shape ${shape}.`, {
        code: 'shape',
        where: 'training batch',
        fix: 'Give codes and channels-last pixels of one of the shapes of the trainer.',
      });
    }
    // Either loss would go on with them: the decoder takes them for zeros, the encoder for codes infinitely far away.
    checkCodebook(codes, this.config, 'training batch');
    recorded.codes.write(codes);
    recorded.pixels.write(pixels);
    recorded.program.run();
    this.optimization.run();
    this.steps += 1;
  }

  async metrics(): Promise<StepMetrics> {
    const [loss] = await this.loss.readFloat32();
    const { gradientNorm, learningRate, skippedSteps } = await this.optimization.report();
    const metrics = { step: this.steps, loss, gradientNorm, learningRate, skippedSteps };
    return this.part === 'decoder' ? { ...metrics, psnr: psnrOf(loss) } : metrics;
  }

  destroy(): void {
    for (const { codes, pixels, program } of this.recorded) {
      for (const part of [codes, pixels, program]) part.destroy();
    }
    this.optimization.destroy();
    for (const tensor of [this.loss, this.classifier?.weight, this.classifier?.bias]) tensor?.destroy();
  }
}

async function classifierOf(device: Device, weights: VisionWeights, temperature: number): Promise<Classifier> {
  if (!(temperature > 0 && temperature < Infinity)) {
    throw new Emu3Error(`A temperature of ${temperature} makes no logits of distances.`, {
      code: 'argument',
      where: 'encoder training',
      fix: 'Give a number above 0.',
    });
  }
  const { shape } = weights.tensor('quantize.embedding.weight');
  const [size, dimension] = shape;
  const codebook = await weights.read('quantize.embedding.weight');
  const bias = new Float32Array(size);
  codebook.forEach((value, at) => (bias[Math.floor(at / dimension)] -= value ** 2 / temperature));
  const weight = codebook.map((value) => (2 / temperature) * value);
  return {
    weight: GpuTensor.from(device, shape, 'f32', weight, 'codes as classifier'),
    bias: GpuTensor.from(device, [size], 'f32', bias, 'squares of the codes'),
  };
}

async function record(
  device: Device,
  config: VisionConfig,
  weights: VisionWeights,
  { batch, frames, height, width }: ClipShape,
  { classifier, loss }: { classifier: Classifier | undefined; loss: GpuTensor },
): Promise<Recorded> {
  const factor = spatialFactor(config);
  const isPicture = frames === 1;
  const latents = [batch, isPicture ? 1 : frames / config.temporal_downsample_factor, height / factor, width / factor];
  if (!latents.every(Number.isInteger)) {
    throw new Emu3Error(`${frames} frames of ${height} x ${width} pixels are no whole number of tokens.`, {
      code: 'shape',
      where: 'vision tokenizer training',
      fix: `Give multiples of ${config.temporal_downsample_factor} frames, or 1, and of ${factor} pixels.`,
    });
  }
  const codes = GpuTensor.create(device, [elementCount(latents)], classifier ? 'i32' : 'u32', 'codes');
  const pixels = GpuTensor.create(device, [batch, frames, height, width, config.out_channels], 'f32', 'pixels');
  const graph = new Graph(device.traits);
  const context = { graph, ...weights.bind(graph), batchStatistics: false };
  const [tokens, colors] = [graph.bind(codes), graph.bind(pixels)];
  let error;
  if (classifier === undefined) {
    const codebook = context.parameter('quantize.embedding.weight');
    const quantized = lookUpCodes(graph, tokens, codebook, [...latents, config.embed_dim]);
    error = meanSquaredError(graph, decode(context, config, graph.detach(quantized), isPicture), colors);
  } else {
    const { latent } = encode(context, config, colors);
    const rows = graph.reshape(latent, [elementCount(latents), config.embed_dim]);
    const products = linear(graph, rows, graph.bind(classifier.weight));
    const logits = addBias(graph, products, graph.bind(classifier.bias));
    const { loss: nats } = tokenCrossEntropy(graph, logits, tokens);
    error = segmentSum(graph, nats, nats.shape[0], 1 / nats.shape[0]);
  }
  accumulateGradients(graph, weights.parameters, error);
  keep(graph, graph.bind(loss), error);
  return { codes, pixels, program: await Program.compile(device, graph, { label: "training of a tokenizer's part" }) };
}
