import type { DocumentOptions } from './documents.js';
import type { Emu3VisionVQConfig } from '../../../loader/index.js';
import type { AdamwHyper, LearningRateSchedule } from '../../../engine/train/optimizer.js';

/** Everything that decides the nano model, so that the training command gives it again. */
export const seed = 20261122;

/** Emu3's vision tokenizer at a sixteenth of its width or less: 64 x 64 pixels become 8 x 8 codes. */
export const visionConfig: Emu3VisionVQConfig = {
  codebook_size: 2048,
  embed_dim: 16,
  z_channels: 16,
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
  /** Of its checkpoints, curves and folder. */
  name: string;
  steps: number;
  batch: number;
  schedule: (steps: number) => LearningRateSchedule;
  maximumNorm: number;
  hyper: AdamwHyper;
}

export const visionRecipe: StageRecipe & {
  clipFrames: number;
  clipEvery: number;
  reviveEvery: number;
  quantizeFrom: number;
  reviveUntil: number;
} = {
  name: 'tokenizer',
  steps: 4200,
  /** Pictures of a step: few, as many small steps go further than few large ones. */
  batch: 2,
  /** Frames of the one clip that a clip step trains on. */
  clipFrames: 8,
  /** Every so many steps is a clip step, once the codebook is there. */
  clipEvery: 6,
  schedule: (totalSteps) => ({ kind: 'cosine', peak: 1.5e-3, final: 1e-5, warmupSteps: 150, totalSteps }),
  maximumNorm: 1,
  // A slower second moment than the transformer's, as batches of two pictures are noisy.
  hyper: { beta2: 0.99, weightDecay: 0.01 },
  /** Share of the steps that train a plain autoencoder, from whose latents the codebook then starts. */
  quantizeFrom: 0.12,
  /** Steps between replacements of codes out of use. */
  reviveEvery: 150,
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

/** Total size of the text vocabulary asked for; the builder may need fewer merges. Each word of the world is one token. */
export const textVocabularySize = 800;

/** What the shipped model's generation_config.json says. */
export const generationDefaults = { do_sample: true, temperature: 0.2, top_k: 16, guidance_scale: 1 };

/** A stage of the transformer's training on a mixture of documents. */
export interface LanguageStage extends StageRecipe {
  /** Tokens of a sequence; `batch` sequences make a step. */
  length: number;
  documents: DocumentOptions;
  /** Scenes of the corpora. */
  stills: number;
  clips: number;
  /** Side of the stills in pixels; default 64. */
  pixels?: number;
  /** Weight of a visual token's loss; 1 for text. */
  visionWeight: number;
  /** Stages see other orders of documents. */
  seedOffset: number;
}

const documents = {
  captionDropout: 0.05,
  contextNoise: { share: 0.5, highest: 0.3 },
  textWeight: 0.1,
  questions: 3,
};

/** Pre-training, stage 1: text and pictures. */
const pretrainPictures: LanguageStage = {
  name: 'pretrain-1',
  steps: 2600,
  batch: 4,
  length: 192,
  documents: { ...documents, mixture: { draw: 0.6, ask: 0.25, tell: 0.12, compare: 0.03 } },
  stills: 12_000,
  clips: 0,
  visionWeight: 0.5,
  seedOffset: 1,
  schedule: (totalSteps) => ({ kind: 'cosine', peak: 3e-3, final: 1e-3, warmupSteps: 80, totalSteps }),
  maximumNorm: 1,
  hyper: { weightDecay: 0.05 },
};

/** Pre-training, stage 2: video joins, with sequences long enough for a clip. */
const pretrainVideo: LanguageStage = {
  ...pretrainPictures,
  name: 'pretrain-2',
  steps: 1600,
  batch: 3,
  length: 256,
  documents: {
    ...documents,
    mixture: { draw: 0.35, ask: 0.15, tell: 0.06, compare: 0.02, film: 0.28, 'ask clip': 0.1, 'tell clip': 0.04 },
  },
  clips: 2500,
  seedOffset: 2,
  schedule: (totalSteps) => ({ kind: 'cosine', peak: 1.5e-3, final: 2e-5, warmupSteps: 40, totalSteps }),
};

export const pretrainStages: readonly LanguageStage[] = [pretrainPictures, pretrainVideo];
