import type { GpuTensor } from '../../tensor.js';
import type { Graph, Tensor } from '../../graph/index.js';
import { add, silu } from '../../ops/elementwise.js';
import { batchNorm } from '../../ops/batch-norm.js';
import { conv, type ConvGeometry } from '../../ops/conv.js';
import { groupNorm, type GroupNormOptions } from '../../ops/group-norm.js';
import { spatialAttention } from '../../ops/spatial-attention.js';
import { spatialNorm } from '../../ops/spatial-norm.js';
import { upsampleSpace } from '../../ops/upsample.js';

export const normGroups = 32;
export const groupNormEpsilon = 1e-6;
export const batchNormEpsilon = 1e-5;

/** What the blocks of the vision tokenizer share: the graph, the weights by hub name, and where traces go. */
export interface VisionContext {
  readonly graph: Graph;
  readonly parameter: (name: string) => Tensor;
  /** BatchNorm running statistics, by name. */
  readonly statistics: (name: string) => Tensor;
  /** Normalise by the batch and update the running statistics, as in training. */
  readonly batchStatistics: boolean;
  /** Called with each module's output under the module's name, for debugging against recordings. */
  readonly trace?: ((module: string, output: Tensor) => void) | undefined;
}

/** Persistent tensors by name, for callers that hold parameters and statistics in different stores. */
export type TensorLookup = (name: string) => GpuTensor;

/** Conditioning of the decoder's norms: codebook vectors [B, T, h, w, C]; none in the encoder. */
export type Conditioning = Tensor | undefined;

/** The blocks of a frame's way through the tokenizer, on whole activations or on bands of them. */
export interface FrameBlocks<X> {
  conv3x3(name: string, x: X): X;
  residual(name: string, x: X): X;
  attention(name: string, x: X): X;
  /** To `level` from the one below it: nearest x2 in height and width, then 3x3. */
  upsample(name: string, x: X, level: number): X;
  /** To `level` from the one above it. */
  downsample(name: string, x: X, level: number): X;
  /** The last norm, SiLU and 3x3. */
  finish(norm: string, convolution: string, x: X): X;
  trace?: ((module: string, output: X) => void) | undefined;
}

/** Frames [B, T, H, W, C] as whole tensors. */
export function wholeFrames(context: VisionContext, conditioning?: Conditioning): FrameBlocks<Tensor> {
  return {
    conv3x3: (name, x) => conv3x3(context, name, x),
    residual: (name, x) => residualBlock(context, name, x, conditioning),
    attention: (name, x) => attentionBlock(context, name, x, conditioning),
    upsample: (name, x) => conv3x3(context, name, upsampleSpace(context.graph, x)),
    downsample: (name, x) => convolve(context, name, x, halving3x3),
    finish: (norm, name, x) => conv3x3(context, name, normAndActivate(context, norm, x, conditioning)),
    trace: context.trace,
  };
}

export const same3x3: ConvGeometry = { kernel: [1, 3, 3], stride: [1, 1, 1], before: [0, 1, 1], after: [0, 1, 1] };
/** 3x3 with stride 2, padded by one at the bottom and right only. */
export const halving3x3: ConvGeometry = {
  kernel: [1, 3, 3],
  stride: [1, 2, 2],
  before: [0, 0, 0],
  after: [0, 1, 1],
};
export const pointwise: ConvGeometry = {
  kernel: [1, 1, 1],
  stride: [1, 1, 1],
  before: [0, 0, 0],
  after: [0, 0, 0],
};

/** A named convolution; `packed` as in {@link conv}. */
export function convolve(
  context: VisionContext,
  name: string,
  x: Tensor,
  geometry: ConvGeometry,
  packed?: Tensor,
): Tensor {
  const weight = context.parameter(`${name}.weight`);
  return conv(context.graph, x, weight, context.parameter(`${name}.bias`), geometry, packed);
}

/** 3x3 convolution with a border of one, per frame. */
function conv3x3(context: VisionContext, name: string, x: Tensor): Tensor {
  return convolve(context, name, x, same3x3);
}

/** Convolution over time and space that sees no later frame: all time padding is in front. */
export function causalConv(
  context: VisionContext,
  name: string,
  x: Tensor,
  kernel: readonly [number, number, number],
  timeStride = 1,
): Tensor {
  // The reference pads two zero frames whatever the stride, also for the kernel of four.
  const before = [kernel[0] > 1 ? 2 : 0, (kernel[1] - 1) / 2, (kernel[2] - 1) / 2] as const;
  const after = [0, before[1], before[2]] as const;
  return convolve(context, `${name}.conv`, x, { kernel, stride: [timeStride, 1, 1], before, after });
}

/** GroupNorm in the encoder; spatially conditioned norm in the decoder (MoVQ, arXiv 2209.09002, section 3.2). */
export function norm(
  context: VisionContext,
  name: string,
  x: Tensor,
  conditioning: Conditioning,
  options: Pick<GroupNormOptions, 'silu' | 'statistics'> = {},
): Tensor {
  const { graph, parameter } = context;
  const { silu, statistics } = options;
  const common = { groups: normGroups, epsilon: groupNormEpsilon, statistics };
  if (conditioning === undefined) {
    const affine = { weight: parameter(`${name}.weight`), bias: parameter(`${name}.bias`) };
    return groupNorm(graph, x, { ...affine, ...common, silu });
  }
  return spatialNorm(
    graph,
    groupNorm(graph, x, {
      weight: parameter(`${name}.norm_layer.weight`),
      bias: parameter(`${name}.norm_layer.bias`),
      ...common,
    }),
    convolve(context, `${name}.conv_y`, conditioning, pointwise),
    convolve(context, `${name}.conv_b`, conditioning, pointwise),
    { silu },
  );
}

/** Norm, then SiLU: one kernel, but for traces, which show the norm's own output. */
function normAndActivate(context: VisionContext, name: string, x: Tensor, conditioning: Conditioning): Tensor {
  if (context.trace === undefined) return norm(context, name, x, conditioning, { silu: true });
  const out = norm(context, name, x, conditioning);
  context.trace(name, out);
  return silu(context.graph, out);
}

/** Residual block: norm, SiLU, 3x3, norm, SiLU, 3x3, plus the input (through a 1x1 where the channels change). */
function residualBlock(context: VisionContext, name: string, x: Tensor, conditioning?: Conditioning): Tensor {
  const { graph, parameter } = context;
  const first = conv3x3(context, `${name}.conv1`, normAndActivate(context, `${name}.norm1`, x, conditioning));
  const second = conv3x3(context, `${name}.conv2`, normAndActivate(context, `${name}.norm2`, first, conditioning));
  const outChannels = parameter(`${name}.conv2.weight`).shape[0];
  const shortcut = x.shape[4] === outChannels ? x : convolve(context, `${name}.nin_shortcut`, x, pointwise);
  const out = add(graph, shortcut, second);
  context.trace?.(name, out);
  return out;
}

/** Single-head attention over the positions of each frame, plus the input. */
function attentionBlock(context: VisionContext, name: string, x: Tensor, conditioning?: Conditioning): Tensor {
  const { graph } = context;
  const [batch, time, height, width, channels] = x.shape;
  const normed = norm(context, `${name}.norm`, x, conditioning);
  const project = (which: string, input: Tensor): Tensor => convolve(context, `${name}.${which}`, input, pointwise);
  const attended = spatialAttention(graph, project('q', normed), project('k', normed), project('v', normed), {
    frames: batch * time,
    tokens: height * width,
    channels,
  });
  const out = add(graph, x, project('proj_out', graph.reshape(attended, x.shape)));
  context.trace?.(name, out);
  return out;
}

/** Residual block over time: BatchNorm, SiLU, causal 3x3x3, twice, plus the input. */
export function temporalResidualBlock(context: VisionContext, name: string, x: Tensor): Tensor {
  const { graph, parameter, statistics } = context;
  const half = (input: Tensor, index: 1 | 2): Tensor => {
    const normed = batchNorm(graph, input, {
      weight: parameter(`${name}.norm${index}.weight`),
      bias: parameter(`${name}.norm${index}.bias`),
      runningMean: statistics(`${name}.norm${index}.running_mean`),
      runningVariance: statistics(`${name}.norm${index}.running_var`),
      training: context.batchStatistics,
      epsilon: batchNormEpsilon,
      silu: true,
    });
    return causalConv(context, `${name}.conv${index}`, normed, [3, 3, 3]);
  };
  const out = add(graph, x, half(half(x, 1), 2));
  context.trace?.(name, out);
  return out;
}
