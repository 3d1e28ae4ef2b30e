import { Emu3Error, throwIfAborted } from '../../../kernels/core/errors.js';
import { elementCount } from '../../../kernels/core/types.js';
import type { Device } from '../../device.js';
import { Graph, Program, type Tensor } from '../../graph/index.js';
import { lookUpCodes, quantize } from '../../ops/vector-quantizer.js';
import { GpuTensor } from '../../tensor.js';
import type { VisionContext } from './blocks.js';
import { spatialFactor, type VisionConfig } from './config.js';
import { decode } from './decoder.js';
import { encode } from './encoder.js';
import type { VisionWeights } from './weights.js';

/** Pixels in -1..1, channels last: [batch, frames, height, width, 3] flattened. An image has one frame. */
export interface PixelClip {
  readonly batch: number;
  readonly frames: number;
  readonly height: number;
  readonly width: number;
  readonly data: Float32Array;
}

/** Vision tokens, [batch, frames, height, width] flattened, each below `codebook_size`. `frames` are latent frames. */
export interface CodeClip {
  readonly batch: number;
  readonly frames: number;
  readonly height: number;
  readonly width: number;
  readonly codes: Uint32Array;
}

export interface EncodedClip extends CodeClip {
  /** Before `quant_conv`, [batch, frames, height, width, z_channels]. */
  readonly encoderOut: Float32Array;
  /** What was quantised, [batch, frames, height, width, embed_dim]. */
  readonly latent: Float32Array;
}

interface Compiled<Outputs> {
  readonly program: Program;
  readonly input: GpuTensor;
  readonly outputs: Outputs;
}

/** Compiled shapes kept at a time, for encoding and decoding each. */
const keptPrograms = 4;

/** Emu3's vision tokenizer, ready to run: pixels to codes and back, any size and batch. Compiled once per shape. */
export class VisionTokenizer {
  readonly config: VisionConfig;
  private readonly device: Device;
  private readonly weights: VisionWeights;
  private readonly encoders = new Map<
    string,
    Promise<Compiled<{ encoderOut: Tensor; latent: Tensor; codes: Tensor }>>
  >();
  private readonly decoders = new Map<string, Promise<Compiled<{ pixels: Tensor }>>>();

  constructor(device: Device, config: VisionConfig, weights: VisionWeights) {
    this.device = device;
    this.config = config;
    this.weights = weights;
  }

  private context(graph: Graph): VisionContext {
    return { graph, ...this.weights.bind(graph), batchStatistics: false };
  }

  /**
   * Turns pixels into codes. Sides that are not multiples of 8 lose the rest, as each halving rounds down.
   *
   * @throws Emu3Error `image` for sides below one token, or a clip of 2 or 3 frames.
   */
  async encode(pixels: PixelClip, signal?: AbortSignal): Promise<EncodedClip> {
    throwIfAborted(signal, 'encode');
    const { batch, frames, height, width } = pixels;
    this.checkPixels(pixels);
    const { program, input, outputs } = await remember(this.encoders, [batch, frames, height, width], () =>
      this.compileEncoder(pixels),
    );
    input.write(pixels.data);
    program.run();
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

  private async compileEncoder(
    pixels: PixelClip,
  ): Promise<Compiled<{ encoderOut: Tensor; latent: Tensor; codes: Tensor }>> {
    const { batch, frames, height, width } = pixels;
    const graph = new Graph(this.device.traits);
    const shape = [batch, frames, height, width, this.config.in_channels];
    const input = GpuTensor.create(this.device, shape, 'f32', 'pixels');
    const context = this.context(graph);
    const { encoderOut, latent } = encode(context, this.config, graph.bind(input));
    const { codes } = quantize(graph, latent, context.parameter('quantize.embedding.weight'));
    const program = await Program.compile(this.device, graph, {
      label: `vision encoder ${shape.join('x')}`,
      outputs: [encoderOut, latent, codes],
    });
    return { program, input, outputs: { encoderOut, latent, codes } };
  }

  /**
   * Turns codes into pixels around -1..1 (not clamped).
   *
   * @param image decode frame 0 only, for codes that are a picture (frames must be 1).
   * @throws Emu3Error `token` for a code beyond the codebook, `image` for a count that does not fit the size.
   */
  async decode(clip: CodeClip, image: boolean, signal?: AbortSignal): Promise<PixelClip> {
    throwIfAborted(signal, 'decode');
    const { batch, frames, height, width, codes } = clip;
    if (codes.length !== batch * frames * height * width || codes.length === 0 || (image && frames !== 1)) {
      throw new Emu3Error(`${codes.length} codes are not ${batch} x ${frames} x ${height} x ${width}.`, {
        code: 'image',
        where: 'vision tokenizer',
        fix: 'Give one code for each place of the grid; a picture has one latent frame.',
      });
    }
    const bad = codes.findIndex((code) => code >= this.config.codebook_size);
    if (bad >= 0) {
      throw new Emu3Error(`Code ${codes[bad]} at ${bad} is beyond the codebook of ${this.config.codebook_size}.`, {
        code: 'token',
        where: 'vision tokenizer',
        fix: 'Use codes of this tokenizer.',
      });
    }
    const { program, input, outputs } = await remember(
      this.decoders,
      [batch, frames, height, width, Number(image)],
      () => this.compileDecoder(clip, image),
    );
    input.write(codes);
    program.run();
    const [, outFrames, outHeight, outWidth] = outputs.pixels.shape;
    const data = await program.output(outputs.pixels).readFloat32();
    return { batch, frames: outFrames, height: outHeight, width: outWidth, data };
  }

  private async compileDecoder(clip: CodeClip, image: boolean): Promise<Compiled<{ pixels: Tensor }>> {
    const { batch, frames, height, width } = clip;
    const graph = new Graph(this.device.traits);
    const shape = [batch, frames, height, width];
    const input = GpuTensor.create(this.device, [elementCount(shape)], 'u32', 'codes');
    const context = this.context(graph);
    const codebook = context.parameter('quantize.embedding.weight');
    const quantized = lookUpCodes(graph, graph.bind(input), codebook, [...shape, this.config.embed_dim]);
    const pixels = decode(context, this.config, quantized, image);
    const program = await Program.compile(this.device, graph, {
      label: `vision decoder ${shape.join('x')}`,
      outputs: [pixels],
    });
    return { program, input, outputs: { pixels } };
  }

  /** Frees the compiled programs; the weights stay. */
  async destroy(): Promise<void> {
    for (const kept of [this.encoders, this.decoders]) {
      for (const compiled of kept.values()) release(await compiled);
      kept.clear();
    }
  }
}

async function remember<Outputs>(
  kept: Map<string, Promise<Compiled<Outputs>>>,
  shape: readonly number[],
  compile: () => Promise<Compiled<Outputs>>,
): Promise<Compiled<Outputs>> {
  const key = shape.join('x');
  const known = kept.get(key);
  if (known) return known;
  const [oldest] = kept;
  if (kept.size >= keptPrograms && oldest) {
    kept.delete(oldest[0]);
    release(await oldest[1]);
  }
  const compiled = compile();
  kept.set(key, compiled);
  return compiled;
}

function release({ program, input }: Compiled<unknown>): void {
  program.destroy();
  input.destroy();
}
