import type { CorpusKind } from './corpus.node.js';
import type { DocumentOptions } from './documents.js';
import type { Emu3VisionVQConfig } from '../../../loader/index.js';
import type { VisionPart } from '../../../engine/train/vision-part-trainer.js';
import type { AdamwHyper, LearningRateSchedule } from '../../../engine/train/optimizer.js';

/** Everything that decides the nano model, so that the training command gives it again. */
export const seed = 20261122;

/** Emu3's vision tokenizer at a sixteenth of its width or less, as it is trained: 64 x 64 pixels become 8 x 8 codes. */
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

/** Shots that there are in the world; what moves in films and for the decoder is composed of them. */
const shotCount = 18_784;

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
  mergedCodes: number;
  clipFrames: number;
  clipEvery: number;
  reviveEvery: number;
  quantizeFrom: number;
  reviveUntil: number;
} = {
  name: 'tokenizer',
  /** Entries that the codebook is merged to when it is trained. */
  mergedCodes: 192,
  steps: 9000,
  /** Pictures of a step: few, as many small steps go further than few large ones. */
  batch: 2,
  /** Frames of the one clip that a clip step trains on. */
  clipFrames: 8,
  /** Every so many steps is a clip step, once the codebook is there. */
  clipEvery: 8,
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

/** A part of the vision tokenizer once more, alone. */
export interface VisionPartStage extends StageRecipe {
  trained: VisionPart;
  /** Every so many steps is a clip step. */
  clipEvery: number;
  scenes: Readonly<Record<'stills' | 'clips' | 'shots', number>>;
  seedOffset: number;
}

const visionPart: Omit<VisionPartStage, 'name' | 'trained' | 'steps' | 'seedOffset'> = {
  batch: 2,
  clipEvery: 2,
  scenes: { stills: 10_000, clips: 6000, shots: shotCount },
  schedule: (totalSteps) => ({ kind: 'cosine', peak: 1e-3, final: 1e-5, warmupSteps: 40, totalSteps }),
  maximumNorm: 1,
  hyper: { beta2: 0.99 },
};

/** Learns to name by canonical codes what is there, so that pictures are read in the codes that they are drawn in. */
export const encoderRecipe: VisionPartStage = {
  ...visionPart,
  name: 'encoder',
  // Squared distances between neighbouring codes are about 0.5.
  trained: { part: 'encoder', temperature: 0.25 },
  steps: 5200,
  seedOffset: 8,
};

/** Learns to show what the transformer will write. */
export const decoderRecipe: VisionPartStage = {
  ...visionPart,
  name: 'decoder',
  trained: { part: 'decoder' },
  steps: 14_000,
  seedOffset: 6,
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
export const generationDefaults = { do_sample: true, temperature: 0.5, top_k: 192, guidance_scale: 2 };

/** A stage of the transformer's training on a mixture of documents. */
export interface LanguageStage extends StageRecipe {
  /** Tokens of a sequence; `batch` sequences make a step. */
  length: number;
  documents: DocumentOptions;
  /** Scenes of each corpus. */
  scenes: Readonly<Partial<Record<CorpusKind, number>>>;
  /** Share of the large stills that is kept, the best-scored. */
  bestShare?: number;
  /** Weight of a visual token's loss; 1 for text. */
  visionWeight: number;
  /** Stages see other orders of documents. */
  seedOffset: number;
}

const documents = {
  captionDropout: 0.1,
  fullCaptions: 0.8,
  contextNoise: { share: 0.3, highest: 0.2 },
  strangers: 0.5,
  continued: 0.25,
  disguised: 0.12,
  begun: 0.3,
  toldInPart: 0.4,
  beginWeight: 3,
  thingWeight: 3,
  textWeight: 0.1,
  questions: 2,
  answerWeight: 2,
  conclusionWeight: 6,
  letters: 0.5,
};

/** Pre-training, stage 1: text and pictures. */
const pretrainPictures: LanguageStage = {
  name: 'pretrain-1',
  steps: 7000,
  batch: 2,
  length: 384,
  documents: { ...documents, mixture: { draw: 0.76, ask: 0.2, tell: 0.04 } },
  scenes: { stills: 10_000 },
  visionWeight: 0.5,
  seedOffset: 1,
  schedule: (totalSteps) => ({ kind: 'cosine', peak: 3e-3, final: 1e-3, warmupSteps: 80, totalSteps }),
  maximumNorm: 1,
  hyper: { weightDecay: 0.05 },
};

/**
 * Pre-training, stage 2: video joins, with sequences long enough for a clip. Half of the films are disguised: copying from one
 * latent frame to the next is learned all at once after some thousand of them, and hardly before.
 */
const pretrainVideo: LanguageStage = {
  ...pretrainPictures,
  name: 'pretrain-2',
  steps: 7500,
  documents: {
    ...documents,
    disguised: 0.5,
    begun: 0.1,
    mixture: { draw: 0.5, ask: 0.22, tell: 0.03, compare: 0.02, film: 0.6, 'ask clip': 0.06, 'tell clip': 0.02 },
  },
  scenes: { stills: 10_000, clips: 6000, shots: shotCount },
  seedOffset: 2,
  schedule: (totalSteps) => ({ kind: 'cosine', peak: 1.5e-3, final: 2e-5, warmupSteps: 40, totalSteps }),
};

export const pretrainStages: readonly LanguageStage[] = [pretrainPictures, pretrainVideo];

/** Understanding, first half: pictures and clips to text, without a loss on vision tokens, and some drawing not to forget it. */
const understandCaptions: LanguageStage = {
  ...pretrainVideo,
  name: 'understand-1',
  steps: 250,
  documents: {
    ...documents,
    mixture: { tell: 0.4, 'tell clip': 0.15, ask: 0.2, draw: 0.15, film: 0.1 },
  },
  seedOffset: 3,
  schedule: (totalSteps) => ({ kind: 'cosine', peak: 5e-4, final: 2e-4, warmupSteps: 20, totalSteps }),
};

/**
 * Understanding, second half: instruction tuning on questions and answers, for as long as pre-training, with as much drawing
 * and filming: one checkpoint does all.
 */
const understandInstructions: LanguageStage = {
  ...pretrainVideo,
  name: 'understand-2',
  steps: 8000,
  documents: {
    ...documents,
    // By now the rest is known: what is left to learn is to go on from what a clip begins with.
    continued: 0.6,
    disguised: 0.03,
    begun: 0.12,
    mixture: {
      draw: 0.55,
      ask: 0.25,
      compare: 0.02,
      tell: 0.06,
      rewrite: 0.08,
      conclude: 0.2,
      film: 0.6,
      'ask clip': 0.4,
      'tell clip': 0.35,
      'rewrite clip': 0.04,
      'rewrite continued': 0.8,
      'conclude clip': 0.1,
    },
  },
  seedOffset: 4,
  schedule: (totalSteps) => ({ kind: 'cosine', peak: 2e-3, final: 1e-5, warmupSteps: 40, totalSteps }),
};

export const understandStages: readonly LanguageStage[] = [understandCaptions, understandInstructions];

/**
 * Quality fine-tuning: a loss on vision tokens only, the best-scored half of larger pictures, the rate down to 0 along a
 * line at the end. Small pictures and clips go along so that one checkpoint keeps all its tasks.
 */
export const qualityStage: LanguageStage = {
  ...pretrainVideo,
  name: 'qft',
  steps: 300,
  documents: {
    ...documents,
    textWeight: 0,
    contextNoise: { share: 0.25, highest: 0.2 },
    mixture: { 'draw large': 0.5, draw: 0.3, film: 0.1, ask: 0.1 },
  },
  scenes: { stills: 10_000, clips: 6000, shots: shotCount, 'large stills': 800 },
  bestShare: 0.5,
  seedOffset: 5,
  schedule: (totalSteps) => ({
    kind: 'linear',
    peak: 5e-4,
    final: 0,
    warmupSteps: 20,
    holdSteps: Math.floor(totalSteps / 2),
    totalSteps,
  }),
};

/** Direct preference optimisation on the model's own pictures. */
export const preferenceRecipe: StageRecipe & {
  prompts: number;
  samplesPerPrompt: number;
  temperature: number;
  length: number;
  beta: number;
  crossEntropy: number;
} = {
  name: 'dpo',
  prompts: 120,
  samplesPerPrompt: 8,
  /** Of the samples: higher than for drawing, so that they differ. */
  temperature: 1,
  steps: 60,
  /** Pairs of a step. */
  batch: 4,
  length: 128,
  beta: 0.1,
  crossEntropy: 0.5,
  schedule: (totalSteps) => ({ kind: 'cosine', peak: 1e-4, final: 0, warmupSteps: 6, totalSteps }),
  maximumNorm: 1,
  hyper: { weightDecay: 0 },
};
