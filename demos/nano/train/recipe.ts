import type { Emu3VisionVQConfig } from '../../../loader/index.js';
import type { AdamwHyper, LearningRateSchedule } from '../../../engine/train/optimizer.js';

/** Everything that decides the nano model, so that the training command gives it again. */
export const seed = 20261122;

/** Emu3's vision tokenizer at a sixteenth of its width or less: 64 x 64 pixels become 8 x 8 codes. */
export const visionConfig: Emu3VisionVQConfig = {
  codebook_size: 1024,
  embed_dim: 8,
  z_channels: 8,
  double_z: false,
  in_channels: 3,
  out_channels: 3,
  temporal_downsample_factor: 4,
  ch: 32,
  ch_mult: [1, 1, 2, 2],
  num_res_blocks: 1,
  attn_resolutions: [3],
  dropout: 0,
};

export interface StageRecipe {
  steps: number;
  batch: number;
  schedule: (steps: number) => LearningRateSchedule;
  maximumNorm: number;
  hyper: AdamwHyper;
}

export const visionRecipe: StageRecipe & {
  clipFrames: number;
  clipEvery: number;
  quantizeFrom: number;
  reviveUntil: number;
} = {
  steps: 1600,
  /** Pictures of a step. */
  batch: 4,
  /** Frames of the one clip that a clip step trains on. */
  clipFrames: 8,
  /** Every so many steps is a clip step, once the codebook is there. */
  clipEvery: 3,
  schedule: (totalSteps) => ({ kind: 'cosine', peak: 2e-3, final: 2e-5, warmupSteps: 100, totalSteps }),
  maximumNorm: 1,
  // A slower second moment than the transformer's, as batches of four pictures are noisy.
  hyper: { beta2: 0.99, weightDecay: 0.01 },
  /** Share of the steps that train a plain autoencoder, from whose latents the codebook then starts. */
  quantizeFrom: 0.15,
  /** Share of the steps after which codes out of use stay so, and the others settle. */
  reviveUntil: 0.7,
};

/** Sizes of the nano transformer; ids of special tokens follow from the vocabulary. */
export const transformerSizes = {
  hidden_size: 192,
  intermediate_size: 512,
  num_hidden_layers: 6,
  num_attention_heads: 6,
  num_key_value_heads: 2,
  max_position_embeddings: 512,
} as const;

export const transformerRecipe: StageRecipe & {
  length: number;
  dropout: number;
  captionDropout: number;
  contextNoise: { share: number; highest: number };
  firstCodes: { weight: number; span: number };
} = {
  steps: 3000,
  /** Sequences of a step. */
  batch: 4,
  length: 184,
  dropout: 0,
  /** Share of documents without their caption, for classifier-free guidance. */
  captionDropout: 0.1,
  /**
   * In this share of the documents up to `highest` of the codes that are read (not those to be predicted) are random.
   * A picture this small is known by its first codes, so that without noise its caption is hardly listened to.
   */
  contextNoise: { share: 0.5, highest: 0.5 },
  /**
   * The first code of a picture counts this much more than the last, which decays over so many codes: the first ones
   * have nothing but the caption to go by, and all that follow depend on them.
   */
  firstCodes: { weight: 4, span: 6 },
  schedule: (totalSteps) => ({ kind: 'cosine', peak: 3e-3, final: 1e-5, warmupSteps: 80, totalSteps }),
  maximumNorm: 1,
  hyper: { weightDecay: 0.05 },
};

/** Total size of the text and vision vocabulary asked for; the builder may need fewer merges. */
export const textVocabularySize = 1600;
