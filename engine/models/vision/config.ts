/** The fields of the hub's Emu3VisionVQ config.json that shape the computation, under the hub's names. */
export interface VisionConfig {
  codebook_size: number;
  embed_dim: number;
  z_channels: number;
  in_channels: number;
  out_channels: number;
  temporal_downsample_factor: number;
  ch: number;
  ch_mult: readonly number[];
  /** Residual blocks per encoder level, one less than per decoder level; also those over time on either side. */
  num_res_blocks: number;
  attn_resolutions: readonly number[];
}

/** Frames that become one latent frame come from halvings: this many temporal convolutions. */
export function temporalHalvings(config: VisionConfig): number {
  return Math.log2(config.temporal_downsample_factor);
}

/** Pixels along one side that become one token: one halving between neighbouring levels. */
export function spatialFactor(config: VisionConfig): number {
  return 2 ** (config.ch_mult.length - 1);
}
