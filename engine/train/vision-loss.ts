import type { Tensor } from '../graph/index.js';
import type { VisionContext } from '../models/vision/blocks.js';
import type { VisionConfig } from '../models/vision/config.js';
import { decode } from '../models/vision/decoder.js';
import { encode } from '../models/vision/encoder.js';
import { meanSquaredError, weightedLosses } from '../ops/losses.js';
import { codebookLoss, commitmentLoss, quantize, straightThrough } from '../ops/vector-quantizer.js';

/** Weight of the commitment term (van den Oord et al. 2017, section 3.2). */
export const commitmentWeight = 0.25;

export interface VisionLoss {
  /** [B, T', h, w, embed_dim], before quantisation. */
  readonly latent: Tensor;
  /** [B * T' * h * w] u32. */
  readonly codes: Tensor;
  /** [B, T, H, W, 3]; T = 1 for images. */
  readonly reconstruction: Tensor;
  /** [1] each. */
  readonly terms: { readonly reconstruction: Tensor; readonly codebook: Tensor; readonly commitment: Tensor };
  /** Sum of the terms, [1]. */
  readonly total: Tensor;
}

/**
 * The vision tokenizer's training loss on pixels [B, T, H, W, 3] in -1..1 (T = 1: images):
 * mean((x' - x)^2) + mean((sg(z) - q)^2) + 0.25 mean((z - sg(q))^2), where z_st = z + sg(q - z) takes the place of the
 * codebook vectors on both ways into the decoder.
 */
export function visionLoss(context: VisionContext, config: VisionConfig, pixels: Tensor): VisionLoss {
  const { graph, parameter } = context;
  const codebook = parameter('quantize.embedding.weight');
  const { latent } = encode(context, config, pixels);
  const { codes, quantized } = quantize(graph, latent, codebook);
  const image = pixels.shape[1] === 1;
  const reconstruction = decode(context, config, straightThrough(graph, latent, quantized), image);
  const terms = {
    reconstruction: meanSquaredError(graph, reconstruction, pixels),
    codebook: codebookLoss(graph, latent, codebook, { codes, quantized }),
    commitment: commitmentLoss(graph, latent, quantized, commitmentWeight),
  };
  const total = weightedLosses(graph, [
    [1, terms.reconstruction],
    [1, terms.codebook],
    [1, terms.commitment],
  ]);
  return { latent, codes, reconstruction, terms, total };
}
