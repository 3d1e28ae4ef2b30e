import type { Tensor } from '../../graph/index.js';
import { silu } from '../../ops/elementwise.js';
import { concatenate, slice } from '../../ops/slice.js';
import { upsampleTime } from '../../ops/upsample.js';
import { BandedFrames, goesInBands, type BandLimits } from './bands.js';
import { causalConv, temporalResidualBlock, wholeFrames, type FrameBlocks, type VisionContext } from './blocks.js';
import { spatialFactor, temporalHalvings, type VisionConfig } from './config.js';

/**
 * The decoder of Emu3's vision tokenizer: the temporal stack runs on the post-quantisation latent and on the raw
 * codebook vectors alike, then each frame is decoded with norms conditioned on those vectors.
 *
 * @param quantized codebook vectors, [B, T', h, w, embed_dim].
 * @param firstFrameOnly decode only frame 0 of each clip, as a picture is frame 0 of its four.
 * @param limits as for {@link decodeFrames}.
 * @returns pixels around -1..1, not clamped: [B, 4 T', 8 h, 8 w, 3], or T = 1 with `firstFrameOnly`.
 */
export function decode(
  context: VisionContext,
  config: VisionConfig,
  quantized: Tensor,
  firstFrameOnly: boolean,
  limits?: BandLimits,
): Tensor {
  const both = decodeTime(context, config, quantized);
  return decodeFrames(context, config, firstFrameOnly ? slice(context.graph, both, 0, 1, 1) : both, limits);
}

/**
 * The part of the decoder over time, which sees no later frame.
 *
 * @param quantized codebook vectors, [B, T', h, w, embed_dim].
 * @returns the latent frames and, behind them, what the norms are conditioned on: [2 B, 4 T', h, w, embed_dim].
 */
export function decodeTime(context: VisionContext, config: VisionConfig, quantized: Tensor): Tensor {
  const { graph, trace } = context;
  const z = causalConv(context, 'post_quant_conv', quantized, [3, 1, 1]);
  trace?.('post_quant_conv', z);
  let both = concatenate(graph, [z, quantized]);
  for (let index = 0; index < config.num_res_blocks; index++) {
    both = temporalResidualBlock(context, `decoder.time_res_stack.${index}`, both);
  }
  for (let index = 0; index < temporalHalvings(config); index++) {
    both = causalConv(context, `decoder.time_conv.${index}.conv`, upsampleTime(graph, both), [3, 3, 3]);
    trace?.(`decoder.time_conv.${index}`, both);
    both = silu(graph, both);
  }
  return both;
}

/**
 * The part of the decoder that sees each frame alone.
 *
 * @param both what {@link decodeTime} gives, [2 B, T, h, w, embed_dim].
 * @param limits if B = T = 1, a frame above these goes in bands; then there are neither gradients nor traces.
 * @returns pixels around -1..1, [B, T, 8 h, 8 w, 3].
 */
export function decodeFrames(context: VisionContext, config: VisionConfig, both: Tensor, limits?: BandLimits): Tensor {
  const { graph } = context;
  const [twice, time, rows, columns] = both.shape;
  const batch = twice / 2;
  const conditioning = slice(graph, both, batch, batch);
  const latents = slice(graph, both, 0, batch);
  const factor = spatialFactor(config);
  const size = { frames: batch * time, height: factor * rows, width: factor * columns };
  if (!goesInBands(config, 'decode', size, limits)) {
    return decoderBlocks(wholeFrames(context, conditioning), config, latents);
  }
  const blocks = new BandedFrames(context, config, limits, conditioning);
  return blocks.whole(decoderBlocks(blocks, config, blocks.cut(latents, config.ch_mult.length - 1)));
}

function decoderBlocks<X>(blocks: FrameBlocks<X>, config: VisionConfig, latents: X): X {
  let x = blocks.conv3x3('decoder.conv_in', latents);
  blocks.trace?.('decoder.conv_in', x);
  x = blocks.residual('decoder.mid.block_1', x);
  x = blocks.attention('decoder.mid.attn_1', x);
  x = blocks.residual('decoder.mid.block_2', x);
  for (let level = config.ch_mult.length - 1; level >= 0; level--) {
    const name = `decoder.up.${level}`;
    for (let block = 0; block <= config.num_res_blocks; block++) {
      x = blocks.residual(`${name}.block.${block}`, x);
      if (block === config.num_res_blocks) blocks.trace?.(`${name}.last_block`, x);
      if (config.attn_resolutions.includes(level)) x = blocks.attention(`${name}.attn.${block}`, x);
    }
    if (config.attn_resolutions.includes(level)) blocks.trace?.(`${name}.attn.last`, x);
    if (level === 0) continue;
    x = blocks.upsample(`${name}.upsample.conv`, x, level - 1);
    blocks.trace?.(`${name}.upsample`, x);
  }
  x = blocks.finish('decoder.norm_out', 'decoder.conv_out', x);
  blocks.trace?.('decoder.conv_out', x);
  return x;
}
