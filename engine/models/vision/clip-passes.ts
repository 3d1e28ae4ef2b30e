/**
 * The vision tokenizer on clips of any length. Its work is per frame but for a part over time on latents, which are small:
 * frames pass through the GPU a few at a time, their latents stay on the host, and the part over time sees the whole clip.
 */
import { throwIfAborted } from '../../../kernels/core/errors.js';
import { elementCount } from '../../../kernels/core/types.js';
import type { Device } from '../../device.js';
import { Graph, Program, type Tensor } from '../../graph/index.js';
import { lookUpCodes, quantize } from '../../ops/vector-quantizer.js';
import { GpuTensor } from '../../tensor.js';
import { bandLimits, type BandLimits } from './bands.js';
import type { VisionContext } from './blocks.js';
import type { CodeClip, EncodedClip, PixelClip } from './clips.js';
import { spatialFactor, type VisionConfig } from './config.js';
import { decodeFrames, decodeTime } from './decoder.js';
import { encodeFrames, encodeTime } from './encoder.js';
import { KeptPrograms, type Compiled } from './kept-programs.js';
import type { VisionWeights } from './weights.js';

export interface ClipEvents {
  readonly signal?: AbortSignal | undefined;
  /** Told after each pass how many of the clip's frames are done. */
  readonly onFrames?: ((done: number, total: number) => void) | undefined;
}

const defaultPassBytes = 32 * 2 ** 20;
/** Recorded programs kept of each kind. */
const keptPrograms = 2;

/** Numbers on the host, channels last. */
interface Block {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

export class ClipPasses {
  private readonly device: Device;
  private readonly config: VisionConfig;
  private readonly weights: VisionWeights;
  private readonly frameEncoders = new KeptPrograms<{ latents: Tensor }>(keptPrograms);
  private readonly timeEncoders = new KeptPrograms<{ encoderOut: Tensor; latent: Tensor; codes: Tensor }>(keptPrograms);
  private readonly timeDecoders = new KeptPrograms<{ both: Tensor }>(keptPrograms);
  private readonly frameDecoders = new KeptPrograms<{ pixels: Tensor }>(keptPrograms);

  private readonly limits: BandLimits;
  private readonly passBytes: number;

  /**
   * @param limits from which on a single frame goes in bands.
   * @param passBytes most bytes that one activation at full resolution takes in a pass, unless a single frame takes more.
   */
  constructor(
    device: Device,
    config: VisionConfig,
    weights: VisionWeights,
    limits = bandLimits(device),
    passBytes = defaultPassBytes,
  ) {
    this.limits = limits;
    this.passBytes = passBytes;
    this.device = device;
    this.config = config;
    this.weights = weights;
  }

  async encode({ batch, frames, height, width, data }: PixelClip, events: ClipEvents): Promise<EncodedClip> {
    const { config } = this;
    const frameShape = [height, width, config.in_channels];
    const pixels: Block = { shape: [batch * frames, ...frameShape], data };
    const latents = await this.inPasses(pixels, height * width, events, async (block) => {
      const { program, input, outputs } = await this.frameEncoders.take(block.shape, () =>
        this.compile(
          'frame encoder',
          GpuTensor.create(this.device, [1, ...block.shape], 'f32', 'pixels'),
          (context, x) => ({
            latents: encodeFrames(context, config, x, this.limits),
          }),
        ),
      );
      input.write(block.data);
      await program.runInParts({ signal: events.signal });
      return { shape: outputs.latents.shape.slice(1), data: await program.output(outputs.latents).readFloat32() };
    });
    throwIfAborted(events.signal, 'encode');
    const shape = [batch, frames, ...latents.shape.slice(1)];
    const { program, input, outputs } = await this.timeEncoders.take(shape, () =>
      this.compile('encoder over time', GpuTensor.create(this.device, shape, 'f32', 'frame latents'), (context, x) => {
        const { encoderOut, latent } = encodeTime(context, config, x);
        const { codes } = quantize(context.graph, latent, context.parameter('quantize.embedding.weight'));
        return { encoderOut, latent, codes };
      }),
    );
    input.write(latents.data);
    program.run();
    const [, latentFrames, rows, columns] = outputs.latent.shape;
    const [encoderOut, latent, codes] = await Promise.all([
      program.output(outputs.encoderOut).readFloat32(),
      program.output(outputs.latent).readFloat32(),
      program.output(outputs.codes).readUint32(),
    ]);
    return { batch, frames: latentFrames, height: rows, width: columns, encoderOut, latent, codes };
  }

  async decode({ batch, frames, height, width, codes }: CodeClip, events: ClipEvents): Promise<PixelClip> {
    throwIfAborted(events.signal, 'decode');
    const { config } = this;
    const shape = [batch, frames, height, width];
    const { program, input, outputs } = await this.timeDecoders.take(shape, () =>
      this.compile(
        'decoder over time',
        GpuTensor.create(this.device, [elementCount(shape)], 'u32', 'codes'),
        (context, x) => {
          const codebook = context.parameter('quantize.embedding.weight');
          const quantized = lookUpCodes(context.graph, x, codebook, [...shape, config.embed_dim]);
          return { both: decodeTime(context, config, quantized) };
        },
      ),
    );
    input.write(codes);
    program.run();
    const [, outFrames, ...place] = outputs.both.shape;
    const both = {
      shape: [batch * outFrames, 2 * elementCount(place)],
      data: pairFrames(await program.output(outputs.both).readFloat32(), elementCount(place)),
    };
    const area = height * width * spatialFactor(config) ** 2;
    const pixels = await this.inPasses(both, area, events, async (block) => {
      const count = block.shape[0];
      const blockShape = [2, count, ...place];
      const compiled = await this.frameDecoders.take(blockShape, () =>
        this.compile(
          'frame decoder',
          GpuTensor.create(this.device, blockShape, 'f32', 'frame latents'),
          (context, x) => ({
            pixels: decodeFrames(context, config, x, this.limits),
          }),
        ),
      );
      compiled.input.write(unpairFrames(block.data, elementCount(place)));
      await compiled.program.runInParts({ signal: events.signal });
      const output = compiled.outputs.pixels;
      return { shape: output.shape.slice(1), data: await compiled.program.output(output).readFloat32() };
    });
    const [, outHeight, outWidth] = pixels.shape;
    return { batch, frames: outFrames, height: outHeight, width: outWidth, data: pixels.data };
  }

  /**
   * Runs `work` on a few frames at a time, as many in every pass; the last pass is filled up with its last frame.
   *
   * @param frames [frames, ...].
   * @param area pixels of a frame.
   */
  private async inPasses(
    frames: Block,
    area: number,
    { signal, onFrames }: ClipEvents,
    work: (block: Block) => Promise<Block>,
  ): Promise<Block> {
    const [count, ...rest] = frames.shape;
    const length = elementCount(rest);
    const fitting = Math.max(1, Math.floor(this.passBytes / (4 * area * this.config.ch)));
    const perPass = Math.ceil(count / Math.ceil(count / fitting));
    let result: Block = { shape: [], data: new Float32Array() };
    for (let begin = 0; begin < count; begin += perPass) {
      throwIfAborted(signal, 'clip');
      const end = Math.min(begin + perPass, count);
      const data = new Float32Array(perPass * length);
      data.set(frames.data.subarray(begin * length, end * length));
      for (let index = end - begin; index < perPass; index++) {
        data.set(frames.data.subarray((end - 1) * length, end * length), index * length);
      }
      const done = await work({ shape: [perPass, ...rest], data });
      const doneRest = done.shape.slice(1);
      const doneLength = elementCount(doneRest);
      if (begin === 0) result = { shape: [count, ...doneRest], data: new Float32Array(count * doneLength) };
      result.data.set(done.data.subarray(0, (end - begin) * doneLength), begin * doneLength);
      onFrames?.(end, count);
    }
    return result;
  }

  private async compile<Outputs extends Record<string, Tensor>>(
    label: string,
    input: GpuTensor,
    build: (context: VisionContext, input: Tensor) => Outputs,
  ): Promise<Compiled<Outputs>> {
    try {
      const graph = new Graph(this.device.traits);
      const context = { graph, ...this.weights.bind(graph), batchStatistics: false };
      const outputs = build(context, graph.bind(input));
      const program = await Program.compile(this.device, graph, {
        label: `vision ${label} ${input.shape.join('x')}`,
        outputs: Object.values(outputs),
      });
      return { program, input, outputs };
    } catch (error) {
      input.destroy();
      throw error;
    }
  }

  async destroy(): Promise<void> {
    for (const kept of [this.frameEncoders, this.timeEncoders, this.timeDecoders, this.frameDecoders]) {
      await kept.destroy();
    }
  }
}

/** [2, frames, length] to [frames, 2, length]: each frame's latent and conditioning side by side. */
function pairFrames(data: Float32Array, length: number): Float32Array {
  return swapAxes(data, 2, data.length / (2 * length), length);
}

/** [frames, 2, length] to [2, frames, length]. */
function unpairFrames(data: Float32Array, length: number): Float32Array {
  return swapAxes(data, data.length / (2 * length), 2, length);
}

function swapAxes(data: Float32Array, first: number, second: number, length: number): Float32Array {
  const out = new Float32Array(data.length);
  for (let a = 0; a < first; a++) {
    for (let b = 0; b < second; b++) {
      const from = (a * second + b) * length;
      out.set(data.subarray(from, from + length), (b * first + a) * length);
    }
  }
  return out;
}
