/**
 * A frame's way through the tokenizer in bands of rows, for pictures whose activations are too large to hold whole. The
 * result is that of whole activations up to rounding: a 3x3 convolution reads one row of the band above and of the one
 * below, norms take statistics of all bands before the first is normalised, and attention takes a few queries at a time.
 * Bands are recorded in the order in which they are asked for, so the planner reuses the memory of those that are done
 * with; an activation for which there is no room is computed anew, band by band, each time it is read.
 */
import { Emu3Error } from '../../../kernels/core/errors.js';
import { elementCount } from '../../../kernels/core/types.js';
import type { Device } from '../../device.js';
import type { Graph, Tensor } from '../../graph/index.js';
import { packConvWeight, type ConvGeometry } from '../../ops/conv.js';
import { add } from '../../ops/elementwise.js';
import { bandedStatistics } from '../../ops/group-norm.js';
import { concatenate, slice } from '../../ops/slice.js';
import { spatialAttention } from '../../ops/spatial-attention.js';
import { upsampleSpace } from '../../ops/upsample.js';
import {
  convolve,
  groupNormEpsilon,
  halving3x3,
  norm,
  normGroups,
  pointwise,
  same3x3,
  type Conditioning,
  type FrameBlocks,
  type VisionContext,
} from './blocks.js';
import type { VisionConfig } from './config.js';

export interface BandLimits {
  /** Most bytes of one activation: frames with larger ones go in bands. */
  readonly activationBytes: number;
  /** Bytes of all activations that bands keep to by computing again what there is no room for. */
  readonly memory: number;
}

const defaultMemory = 2 ** 30;

/**
 * What a device allows: activations of one storage binding, and 1 GiB of them where they go in bands.
 *
 * @throws Emu3Error `argument` for given limits that are no bytes.
 */
export function bandLimits(device: Device, given: Partial<BandLimits> = {}): BandLimits {
  const { maxStorageBufferBindingSize, maxBufferSize } = device.gpu.limits;
  const activationBytes = Math.min(maxStorageBufferBindingSize, maxBufferSize);
  for (const [name, bytes] of Object.entries(given)) {
    if (!(bytes > 0)) {
      throw new Emu3Error(`${name} is ${bytes} bytes.`, {
        code: 'argument',
        where: 'vision tokenizer',
        fix: 'Give a positive number of bytes, or leave it out.',
      });
    }
  }
  return { activationBytes, memory: defaultMemory, ...given };
}

/** Whether frames are taken in bands: a single one that has an activation above the limit. */
export function goesInBands(
  config: VisionConfig,
  direction: 'encode' | 'decode',
  size: { frames: number; height: number; width: number },
  limits: BandLimits | undefined,
): limits is BandLimits {
  return (
    limits !== undefined && size.frames === 1 && largestActivation(config, direction, size) > limits.activationBytes
  );
}

/** Bytes of the largest activation of a whole frame, its size in pixels. */
function largestActivation(
  config: VisionConfig,
  direction: 'encode' | 'decode',
  { height, width }: { height: number; width: number },
): number {
  const { ch, ch_mult: multiples, attn_resolutions: attended } = config;
  const sizes = multiples.flatMap((multiple, level) => {
    const area = Math.floor(height / 2 ** level) * Math.floor(width / 2 ** level);
    // A level's first block has the channels of the level before it.
    const entering = multiples.at(direction === 'decode' ? level + 1 : Math.max(0, level - 1)) ?? 0;
    const scores = attended.includes(level) || level === multiples.length - 1 ? area : 0;
    return [ch * multiple, ch * entering, scores].map((channels) => 4 * area * channels);
  });
  return Math.max(...sizes);
}

/** An activation of one frame, [1, 1, height, width, channels], that comes in bands of rows from top to bottom. */
interface Bands {
  readonly height: number;
  readonly width: number;
  readonly channels: number;
  /** Bytes held as long as it may be asked for: its own, or of what it is computed from each time. */
  readonly held: number;
  readonly stream: () => Iterable<Tensor>;
}

/** The share of the memory for activations that are kept; the rest is for the bands that are worked on. */
const keptShare = 0.75;
/**
 * Bands are at most this share of the memory where rows are not larger: so small that what is kept and what is worked on
 * fill each other's buffers, and large enough for a convolution of a band to fill a GPU.
 */
const bandShare = 1 / 128;

/** {@link FrameBlocks} on bands. Records forward passes only: bands have no gradients. */
export class BandedFrames implements FrameBlocks<Bands> {
  private readonly context: VisionContext;
  private readonly graph: Graph;
  private readonly config: VisionConfig;
  private readonly limits: BandLimits;
  private readonly conditioning: Conditioning;

  /** @param conditioning of the norms, [1, 1, h, w, C]; each level's height is a multiple of h. */
  constructor(context: VisionContext, config: VisionConfig, limits: BandLimits, conditioning?: Conditioning) {
    this.context = context;
    this.graph = context.graph;
    this.config = config;
    this.limits = limits;
    this.conditioning = conditioning;
  }

  /** A whole activation of a level, [1, 1, H, W, C], in bands. */
  cut(x: Tensor, level: number): Bands {
    const [, , height, width, channels] = x.shape;
    const rows = this.rowsAt(level, height, width, channels);
    const held = 4 * elementCount(x.shape);
    return { height, width, channels, held, stream: () => regrouped(this.graph, [x], rows) };
  }

  /** All bands as one tensor. */
  whole(x: Bands): Tensor {
    return joinRows(this.graph, [...x.stream()]);
  }

  conv3x3(name: string, x: Bands): Bands {
    return this.roomFor(this.derived(name, x, () => this.convolved(name, x.stream())));
  }

  residual(name: string, x: Bands): Bands {
    const normed1 = this.normed(`${name}.norm1`, x, true);
    const first = this.roomFor(
      this.derived(`${name}.conv1`, x, () => this.convolved(`${name}.conv1`, normed1.stream())),
    );
    const normed2 = this.normed(`${name}.norm2`, first, true);
    const second = this.derived(`${name}.conv2`, x, () => this.convolved(`${name}.conv2`, normed2.stream()));
    const shortcut = x.channels === second.channels ? x : this.projected(`${name}.nin_shortcut`, x);
    return this.kept(this.sum(shortcut, second));
  }

  attention(name: string, x: Bands): Bands {
    const { width, channels } = x;
    const normed = this.normed(`${name}.norm`, x, false);
    const tokens = x.height * width;
    const keys = this.whole(this.projected(`${name}.k`, normed));
    const values = this.whole(this.projected(`${name}.v`, normed));
    const queries = this.projected(`${name}.q`, normed);
    const rows = rowsWithin(this.bandBytes, 4 * width * tokens, x.height, 1);
    const attend = (q: Tensor): Tensor => {
      const size = { frames: 1, tokens, channels };
      const parts: Tensor[] = [];
      for (const part of regrouped(this.graph, [q], rows)) {
        parts.push(this.graph.reshape(spatialAttention(this.graph, part, keys, values, size), part.shape));
      }
      return joinRows(this.graph, parts);
    };
    const attended = { ...queries, stream: () => mapped(queries.stream(), attend) };
    return this.kept(this.sum(x, this.projected(`${name}.proj_out`, attended)));
  }

  upsample(name: string, x: Bands, level: number): Bands {
    const { graph } = this;
    const size = { height: 2 * x.height, width: 2 * x.width };
    const rows = this.rowsAt(level, size.height, size.width, x.channels) / 2;
    const larger = (): Iterable<Tensor> =>
      mapped(regrouped(graph, x.stream(), rows), (band) => upsampleSpace(graph, band));
    return this.roomFor({ ...this.derived(name, x, () => this.convolved(name, larger())), ...size });
  }

  downsample(name: string, x: Bands, level: number): Bands {
    const size = { height: Math.floor(x.height / 2), width: Math.floor(x.width / 2) };
    const rows = this.rowsAt(level, size.height, size.width, x.channels);
    const smaller = (): Iterable<Tensor> => regrouped(this.graph, this.convolved(name, x.stream(), halving3x3), rows);
    return this.roomFor({ ...this.derived(name, x, smaller), ...size });
  }

  finish(normName: string, name: string, x: Bands): Bands {
    const normed = this.normed(normName, x, true);
    return this.derived(name, x, () => this.convolved(name, normed.stream()));
  }

  private get bandBytes(): number {
    return Math.min(this.limits.activationBytes, this.limits.memory * bandShare);
  }

  /** Rows of a level's bands: whole rows of the conditioning, or even numbers for halving, of equal size but for the last. */
  private rowsAt(level: number, height: number, width: number, entering: number): number {
    const align = this.conditioning ? height / this.conditioning.shape[2] : 2;
    const rowBytes = 4 * width * Math.max(entering, this.config.ch * this.config.ch_mult[level]);
    return rowsWithin(this.bandBytes - 2 * rowBytes, rowBytes, height, align);
  }

  /** What a convolution makes of x, of x's size. */
  private derived(name: string, x: Bands, stream: Bands['stream']): Bands {
    return { ...x, channels: this.context.parameter(`${name}.weight`).shape[0], stream };
  }

  /** x computed once and held. */
  private kept(x: Bands): Bands {
    const bands = [...x.stream()];
    return { ...x, held: 4 * x.height * x.width * x.channels, stream: () => bands };
  }

  private roomFor(x: Bands): Bands {
    const bytes = 4 * x.height * x.width * x.channels;
    return x.held + bytes <= this.limits.memory * keptShare ? this.kept(x) : x;
  }

  private normed(name: string, x: Bands, silu: boolean): Bands {
    const { context, graph, conditioning } = this;
    const statistics = bandedStatistics(graph, x.stream(), { groups: normGroups, epsilon: groupNormEpsilon });
    function* stream(): Generator<Tensor> {
      let row = 0;
      for (const band of x.stream()) {
        const rows = band.shape[2];
        const scale = conditioning ? conditioning.shape[2] / x.height : 0;
        const condition = conditioning && slice(graph, conditioning, row * scale, rows * scale, 2);
        yield norm(context, name, band, condition, { silu, statistics });
        row += rows;
      }
    }
    return { ...x, stream };
  }

  private projected(name: string, x: Bands): Bands {
    return this.derived(name, x, () => {
      const packed = packConvWeight(this.graph, this.context.parameter(`${name}.weight`));
      return mapped(x.stream(), (band) => convolve(this.context, name, band, pointwise, packed));
    });
  }

  /** A 3x3 convolution, padded at the picture's border as the geometry says. */
  private *convolved(name: string, bands: Iterable<Tensor>, geometry: ConvGeometry = same3x3): Generator<Tensor> {
    const packed = packConvWeight(this.graph, this.context.parameter(`${name}.weight`));
    const [before, after] = [geometry.before[1], geometry.after[1]];
    for (const { x, above, below } of haloed(this.graph, bands, before)) {
      // An odd last row alone: halving rounds it off.
      if (x.shape[2] + after < geometry.kernel[1] - before) continue;
      yield convolve(
        this.context,
        name,
        x,
        {
          ...geometry,
          before: [0, before - above, geometry.before[2]],
          after: [0, after - below, geometry.after[2]],
        },
        packed,
      );
    }
  }

  private sum(a: Bands, b: Bands): Bands {
    const { graph } = this;
    function* stream(): Generator<Tensor> {
      const other = b.stream()[Symbol.iterator]();
      for (const band of a.stream()) {
        const next = other.next();
        if (!next.done) yield add(graph, band, next.value);
      }
    }
    return { ...a, stream };
  }
}

/** Rows, a multiple of `align`, that take at most `bytes`, or `align` where none do; evened out over the height. */
function rowsWithin(bytes: number, rowBytes: number, height: number, align: number): number {
  const most = Math.max(align, Math.floor(bytes / rowBytes / align) * align);
  const bands = Math.ceil(height / most);
  return Math.ceil(height / bands / align) * align;
}

function* mapped(bands: Iterable<Tensor>, change: (band: Tensor) => Tensor): Generator<Tensor> {
  for (const band of bands) yield change(band);
}

/** The same rows in bands of `rows` each, the last one of what is left. */
function* regrouped(graph: Graph, bands: Iterable<Tensor>, rows: number): Generator<Tensor> {
  let parts: Tensor[] = [];
  let missing = rows;
  for (const band of bands) {
    for (let start = 0; start < band.shape[2];) {
      const count = Math.min(missing, band.shape[2] - start);
      parts.push(rowsOf(graph, band, start, count));
      start += count;
      missing -= count;
      if (missing > 0) continue;
      yield joinRows(graph, parts);
      parts = [];
      missing = rows;
    }
  }
  if (parts.length > 0) yield joinRows(graph, parts);
}

/**
 * Bands with the neighbouring rows of those above (if `before` is 1) and below, where there are such.
 *
 * @returns each band with how many rows it was given above and below.
 */
function* haloed(
  graph: Graph,
  bands: Iterable<Tensor>,
  before: number,
): Generator<{ x: Tensor; above: number; below: number }> {
  const framed = (above: Tensor[], band: Tensor, below: Tensor[]): { x: Tensor; above: number; below: number } => ({
    x: joinRows(graph, [...above, band, ...below]),
    above: above.length,
    below: below.length,
  });
  let above: Tensor[] = [];
  let current: Tensor | undefined;
  for (const next of bands) {
    if (current) {
      yield framed(above, current, [rowsOf(graph, next, 0, 1)]);
      above = before > 0 ? [rowsOf(graph, current, current.shape[2] - 1, 1)] : [];
    }
    current = next;
  }
  if (current) yield framed(above, current, []);
}

function rowsOf(graph: Graph, x: Tensor, start: number, count: number): Tensor {
  return count === x.shape[2] ? x : slice(graph, x, start, count, 2);
}

/** Bands one below the other. */
function joinRows(graph: Graph, parts: readonly Tensor[]): Tensor {
  return parts.length === 1 ? parts[0] : concatenate(graph, parts, 2);
}
