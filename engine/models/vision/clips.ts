/** Clips in numbers, on the host. */

import { Emu3Error } from '../../../kernels/core/errors.js';
import type { VisionConfig } from './config.js';

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

/** @throws Emu3Error `token` for codes that the codebook does not have. */
export function checkCodebook(codes: Uint32Array, { codebook_size: size }: VisionConfig, where: string): void {
  const bad = codes.findIndex((code) => code >= size);
  if (bad < 0) return;
  throw new Emu3Error(`Code ${codes[bad]} at ${bad} is beyond the codebook of ${size}.`, {
    code: 'token',
    where,
    fix: 'Use codes of this tokenizer.',
  });
}
