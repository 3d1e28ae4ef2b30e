import type { Tensor } from '../graph/index.js';
import { decode, encode, type VisionConfig, type VisionContext } from '../models/vision/index.js';
import { meanSquaredError, weightedLosses } from '../ops/losses.js';
import { codebookLoss, commitmentLoss, quantize, straightThrough } from '../ops/vector-quantizer.js';

/** Weight of the commitment term, as in van den Oord et al. 2017 (arXiv 1711.00937), section 3.2. */
export const defaultCommitment = 0.25;

/** The forward pass of a tokenizer in training. Losses are [1] f32. */
export interface VisionLoss {
  /** `reconstruction + codebook + weight * commitment`. */
  readonly total: Tensor;
  readonly terms: {
    /** mean((pixels' - pixels)^2) over all elements. */
    readonly reconstruction: Tensor;
    /** mean((stopgrad(latent) - codebook[code])^2). */
    readonly codebook: Tensor;
    /** mean((latent - stopgrad(codebook[code]))^2), without its weight. */
    readonly commitment: Tensor;
  };
  /** Decoded pixels around -1..1 in the shape of the input. */
  readonly pixels: Tensor;
  /** Before quantisation, [B, T', h, w, embed_dim]. */
  readonly latent: Tensor;
  /** u32 [B * T' * h * w]. */
  readonly codes: Tensor;
}

/**
 * The plain autoencoder's loss on Emu3's vision tokenizer: as {@link visionLoss}, with the latents themselves handed to
 * the decoder, so that they spread over all their dimensions before the codebook is made of them.
 *
 * @param pixels as of {@link visionLoss}.
 * @returns mean((pixels' - pixels)^2) as [1] f32, and the latents [B, T', h, w, embed_dim].
 * @throws Emu3Error `shape` when the decoded size differs from the input's.
 */
export function autoencoderLoss(
  context: VisionContext,
  config: VisionConfig,
  pixels: Tensor,
): { reconstruction: Tensor; latent: Tensor } {
  const { latent } = encode(context, config, pixels);
  const decoded = decode(context, config, latent, pixels.shape[1] === 1);
  return { reconstruction: meanSquaredError(context.graph, decoded, pixels), latent };
}

/**
 * The vector-quantised autoencoder's loss on Emu3's vision tokenizer (van den Oord et al. 2017, equation 3, with the
 * codebook and commitment terms averaged over elements). The straight-through latent takes the codebook vectors' place
 * on both ways into the decoder: through `post_quant_conv` and as conditioning of its norms.
 *
 * @param context with `batchStatistics` as the training wants it; true updates the running statistics once per run.
 * @param pixels [B, T, H, W, 3] in -1..1, sides multiples of 8. T = 1 is a picture, of whose four frames the first is
 *   decoded; a clip has a multiple of 4 frames.
 * @param commitment weight of the commitment term.
 * @throws Emu3Error `shape` when the decoded size differs from the input's.
 */
export function visionLoss(
  context: VisionContext,
  config: VisionConfig,
  pixels: Tensor,
  commitment = defaultCommitment,
): VisionLoss {
  const { graph } = context;
  const codebook = context.parameter('quantize.embedding.weight');
  const { latent } = encode(context, config, pixels);
  const nearest = quantize(graph, latent, codebook);
  const passed = straightThrough(graph, latent, nearest.quantized);
  const decoded = decode(context, config, passed, pixels.shape[1] === 1);
  const terms = {
    reconstruction: meanSquaredError(graph, decoded, pixels),
    codebook: codebookLoss(graph, latent, codebook, nearest),
    commitment: commitmentLoss(graph, latent, nearest.quantized, 1),
  };
  const total = weightedLosses(graph, [
    [1, terms.reconstruction],
    [1, terms.codebook],
    [commitment, terms.commitment],
  ]);
  return { total, terms, pixels: decoded, latent, codes: nearest.codes };
}
