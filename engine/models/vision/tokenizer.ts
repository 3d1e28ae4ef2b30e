import { Emu3Error, throwIfAborted } from '../../../kernels/core/errors.js';
import { elementCount } from '../../../kernels/core/types.js';
import type { Device } from '../../device.js';
import { Graph, Program, type RunEvents, type Tensor } from '../../graph/index.js';
import { lookUpCodes, quantize } from '../../ops/vector-quantizer.js';
import { GpuTensor } from '../../tensor.js';
import { bandLimits, type BandLimits } from './bands.js';
import type { VisionContext } from './blocks.js';
import { ClipPasses, type ClipEvents } from './clip-passes.js';
import { checkCodebook, type CodeClip, type EncodedClip, type PixelClip } from './clips.js';
import { spatialFactor, type VisionConfig } from './config.js';
import { decode } from './decoder.js';
import { encode } from './encoder.js';
import { KeptPrograms, type Compiled } from './kept-programs.js';
import type { VisionWeights } from './weights.js';

interface EncoderOutputs {
  readonly encoderOut: Tensor;
  readonly latent: Tensor;
  readonly codes: Tensor;
}

/** Compiled shapes kept at a time, for encoding and decoding each. */
const keptPrograms = 4;

/** Emu3's vision tokenizer, ready to run: pixels to codes and back, any size and batch. Compiled once per shape. */
export class VisionTokenizer {
  readonly config: VisionConfig;
  private readonly device: Device;
  private readonly weights: VisionWeights;
  private readonly encoders = new KeptPrograms<EncoderOutputs>(keptPrograms);
  private readonly decoders = new KeptPrograms<{ pixels: Tensor }>(keptPrograms);
  private readonly passes: ClipPasses;

  private readonly limits: BandLimits;

  /** @param limits from which on frames go in bands of rows, and how much memory those aim at; default {@link bandLimits}. */
  constructor(device: Device, config: VisionConfig, weights: VisionWeights, limits: Partial<BandLimits> = {}) {
    this.device = device;
    this.config = config;
    this.weights = weights;
    this.limits = bandLimits(device, limits);
    this.passes = new ClipPasses(device, config, weights, this.limits);
  }

  private context(graph: Graph): VisionContext {
    return { graph, ...this.weights.bind(graph), batchStatistics: false };
  }

  /**
   * Turns pixels into codes. Sides that are not multiples of 8 lose the rest, as each halving rounds down. A single
   * picture that is too large for the device at once goes in bands of rows.
   *
   * @param onPart told how many of the operations are done, where there are too many for one submit.
   * @throws Emu3Error `image` for sides below one token, or a clip of 2 or 3 frames; `aborted`; `limit` for a batch that
   *   does not fit, or where not even bands do.
   */
  async encode(pixels: PixelClip, signal?: AbortSignal, onPart?: RunEvents['onPart']): Promise<EncodedClip> {
    throwIfAborted(signal, 'encode');
    const { batch, frames, height, width } = pixels;
    this.checkPixels(pixels);
    const { program, input, outputs } = await this.encoders.take([batch, frames, height, width], () =>
      this.compileEncoder(pixels),
    );
    input.write(pixels.data);
    await program.runInParts({ signal, onPart });
    const [, latentFrames, rows, columns] = outputs.latent.shape;
    const [encoderOut, latent, codes] = await Promise.all([
      program.output(outputs.encoderOut).readFloat32(),
      program.output(outputs.latent).readFloat32(),
      program.output(outputs.codes).readUint32(),
    ]);
    return { batch, frames: latentFrames, height: rows, width: columns, encoderOut, latent, codes };
  }

  private checkPixels({ batch, frames, height, width, data }: PixelClip): void {
    const factor = spatialFactor(this.config);
    const time = this.config.temporal_downsample_factor;
    const fail = (message: string, fix: string): never => {
      throw new Emu3Error(message, { code: 'image', where: 'vision tokenizer', fix });
    };
    if (height < factor || width < factor) {
      fail(
        `A picture of ${height} x ${width} pixels is smaller than one token.`,
        `Use at least ${factor} x ${factor}.`,
      );
    }
    if (frames !== 1 && frames < time) {
      fail(`A clip of ${frames} frames is shorter than one latent frame.`, `Use one frame, or ${time} and more.`);
    }
    if (data.length !== batch * frames * height * width * this.config.in_channels) {
      fail(
        `${data.length} values are not ${batch} x ${frames} x ${height} x ${width} pixels.`,
        'Give channels-last data of the stated size.',
      );
    }
  }

  private async compileEncoder(pixels: PixelClip): Promise<Compiled<EncoderOutputs>> {
    const { batch, frames, height, width } = pixels;
    const graph = new Graph(this.device.traits);
    const shape = [batch, frames, height, width, this.config.in_channels];
    const input = GpuTensor.create(this.device, shape, 'f32', 'pixels');
    const context = this.context(graph);
    const { encoderOut, latent } = encode(context, this.config, graph.bind(input), this.limits);
    const { codes } = quantize(graph, latent, context.parameter('quantize.embedding.weight'));
    const program = await Program.compile(this.device, graph, {
      label: `vision encoder ${shape.join('x')}`,
      outputs: [encoderOut, latent, codes],
    });
    return { program, input, outputs: { encoderOut, latent, codes } };
  }

  /**
   * Turns codes into pixels around -1..1 (not clamped). A single picture that is too large for the device
   * at once goes in bands of rows.
   *
   * @param image decode frame 0 only, for codes that are a picture (frames must be 1).
   * @param onPart told how many of the operations are done, where there are too many for one submit.
   * @throws Emu3Error `token` for a code beyond the codebook, `image` for a count that does not fit the size, `aborted`;
   *   `limit` for a batch that does not fit, or where not even bands do.
   */
  async decode(clip: CodeClip, image: boolean, signal?: AbortSignal, onPart?: RunEvents['onPart']): Promise<PixelClip> {
    throwIfAborted(signal, 'decode');
    const { batch, frames, height, width, codes } = clip;
    this.checkCodes(clip, image);
    const { program, input, outputs } = await this.decoders.take([batch, frames, height, width, Number(image)], () =>
      this.compileDecoder(clip, image),
    );
    input.write(codes);
    await program.runInParts({ signal, onPart });
    const [, outFrames, outHeight, outWidth] = outputs.pixels.shape;
    const data = await program.output(outputs.pixels).readFloat32();
    return { batch, frames: outFrames, height: outHeight, width: outWidth, data };
  }

  /**
   * {@link encode} for clips of any length: frames go through the GPU a few at a time, and only their latents, which are
   * small, meet in the part over time. So the memory it takes does not grow with the clip.
   *
   * @param onFrames told how many of the clip's frames are done.
   * @throws Emu3Error as {@link encode}; a single frame is no clip.
   */
  async encodeClip(pixels: PixelClip, events: ClipEvents = {}): Promise<EncodedClip> {
    this.checkPixels(pixels);
    return this.passes.encode(pixels, events);
  }

  /** {@link decode} for clips of any length, in the way of {@link encodeClip}. */
  async decodeClip(clip: CodeClip, events: ClipEvents = {}): Promise<PixelClip> {
    this.checkCodes(clip, false);
    return this.passes.decode(clip, events);
  }

  private checkCodes({ batch, frames, height, width, codes }: CodeClip, image: boolean): void {
    if (codes.length !== batch * frames * height * width || codes.length === 0 || (image && frames !== 1)) {
      throw new Emu3Error(`${codes.length} codes are not ${batch} x ${frames} x ${height} x ${width}.`, {
        code: 'image',
        where: 'vision tokenizer',
        fix: 'Give one code for each place of the grid; a picture has one latent frame.',
      });
    }
    checkCodebook(codes, this.config, 'vision tokenizer');
  }

  private async compileDecoder(clip: CodeClip, image: boolean): Promise<Compiled<{ pixels: Tensor }>> {
    const { batch, frames, height, width } = clip;
    const graph = new Graph(this.device.traits);
    const shape = [batch, frames, height, width];
    const input = GpuTensor.create(this.device, [elementCount(shape)], 'u32', 'codes');
    const context = this.context(graph);
    const codebook = context.parameter('quantize.embedding.weight');
    const quantized = lookUpCodes(graph, graph.bind(input), codebook, [...shape, this.config.embed_dim]);
    const pixels = decode(context, this.config, quantized, image, this.limits);
    const program = await Program.compile(this.device, graph, {
      label: `vision decoder ${shape.join('x')}`,
      outputs: [pixels],
    });
    return { program, input, outputs: { pixels } };
  }

  /** Frees the compiled programs; the weights stay. */
  async destroy(): Promise<void> {
    await this.encoders.destroy();
    await this.decoders.destroy();
    await this.passes.destroy();
  }
}
