import type { Tensor } from '../../graph/index.js';
import { silu } from '../../ops/elementwise.js';
import { upsampleTime } from '../../ops/upsample.js';
import { BandedFrames, goesInBands, type BandLimits } from './bands.js';
import { causalConv, temporalResidualBlock, wholeFrames, type FrameBlocks, type VisionContext } from './blocks.js';
import { temporalHalvings, type VisionConfig } from './config.js';

export interface EncoderResult {
  /** Before `quant_conv`, [B, T', h, w, z_channels]. */
  readonly encoderOut: Tensor;
  /** What is quantised, [B, T', h, w, embed_dim]. */
  readonly latent: Tensor;
}

/**
 * The encoder of Emu3's vision tokenizer (arXiv 2409.18869, section 2.1): a per-frame MoVQGAN encoder, then causal
 * convolutions over time.
 *
 * @param pixels [B, T, H, W, 3] in -1..1. T = 1 is an image: it counts as a clip of equal frames, whose 2-D part is
 *   done once and repeated before the temporal part.
 * @param limits as for {@link encodeFrames}.
 */
export function encode(
  context: VisionContext,
  config: VisionConfig,
  pixels: Tensor,
  limits?: BandLimits,
): EncoderResult {
  let x = encodeFrames(context, config, pixels, limits);
  const repeats = x.shape[1] === 1 ? temporalHalvings(config) : 0;
  for (let index = 0; index < repeats; index++) x = upsampleTime(context.graph, x);
  return encodeTime(context, config, x);
}

/**
 * The part of the encoder that sees each frame alone.
 *
 * @param pixels [B, T, H, W, 3] in -1..1.
 * @param limits if B = T = 1, a frame above these goes in bands; then there are neither gradients nor traces.
 * @returns [B, T, h, w, z_channels].
 */
export function encodeFrames(
  context: VisionContext,
  config: VisionConfig,
  pixels: Tensor,
  limits?: BandLimits,
): Tensor {
  const [batch, time, height, width] = pixels.shape;
  if (!goesInBands(config, 'encode', { frames: batch * time, height, width }, limits)) {
    return encoderBlocks(wholeFrames(context), config, pixels);
  }
  const blocks = new BandedFrames(context, config, limits);
  return blocks.whole(encoderBlocks(blocks, config, blocks.cut(pixels, 0)));
}

function encoderBlocks<X>(blocks: FrameBlocks<X>, config: VisionConfig, pixels: X): X {
  const levels = config.ch_mult.length;
  let x = blocks.conv3x3('encoder.conv_in', pixels);
  blocks.trace?.('encoder.conv_in', x);
  for (let level = 0; level < levels; level++) {
    const name = `encoder.down.${level}`;
    for (let block = 0; block < config.num_res_blocks; block++) {
      x = blocks.residual(`${name}.block.${block}`, x);
      if (block === config.num_res_blocks - 1) blocks.trace?.(`${name}.last_block`, x);
      if (config.attn_resolutions.includes(level)) x = blocks.attention(`${name}.attn.${block}`, x);
    }
    if (config.attn_resolutions.includes(level)) blocks.trace?.(`${name}.attn.last`, x);
    if (level === levels - 1) continue;
    x = blocks.downsample(`${name}.downsample.conv`, x, level + 1);
    blocks.trace?.(`${name}.downsample`, x);
  }
  x = blocks.residual('encoder.mid.block_1', x);
  x = blocks.attention('encoder.mid.attn_1', x);
  x = blocks.residual('encoder.mid.block_2', x);
  x = blocks.finish('encoder.norm_out', 'encoder.conv_out', x);
  blocks.trace?.('encoder.conv_out', x);
  return x;
}

/**
 * The part of the encoder over time, which sees no later frame.
 *
 * @param frames what {@link encodeFrames} gives, [B, T, h, w, z_channels].
 */
export function encodeTime(context: VisionContext, config: VisionConfig, frames: Tensor): EncoderResult {
  const { graph, trace } = context;
  let x = frames;
  for (let index = 0; index < temporalHalvings(config); index++) {
    x = causalConv(context, `encoder.time_conv.${index}.conv`, x, [4, 3, 3], 2);
    trace?.(`encoder.time_conv.${index}`, x);
    x = silu(graph, x);
  }
  for (let index = 0; index < config.num_res_blocks; index++) {
    x = temporalResidualBlock(context, `encoder.time_res_stack.${index}`, x);
  }
  const latent = causalConv(context, 'quant_conv', x, [3, 1, 1]);
  trace?.('quant_conv', latent);
  return { encoderOut: x, latent };
}
