import type { Device } from '../../engine/device.js';
import { trainLanguage } from '../nano/train/language.node.js';
import { trainPreference } from '../nano/train/preference.node.js';
import {
  decoderRecipe,
  encoderRecipe,
  preferenceRecipe,
  pretrainStages,
  qualityStage,
  understandStages,
  visionRecipe,
  type LanguageStage,
  type StageRecipe,
  type VisionPartStage,
} from '../nano/train/recipe.js';
import type { LoraTraining } from '../nano/train/stage-model.node.js';
import { trainNanoTokenizer, type TrainStageOptions } from '../nano/train/tokenizer.node.js';
import { trainNanoVisionPart } from '../nano/train/vision-part.node.js';
import type { CurvePlot } from './plot.js';

/** Where a stage keeps and finds its things. */
export interface StageFolders {
  /** Checkpoints and loss curve. */
  run: string;
  /** What the stage makes. */
  product: string;
  /** The finished vision tokenizer. */
  vision: string;
  /** The model to start from; undefined starts from random weights. */
  from: string | undefined;
  /** Tokens of corpora, for all stages. */
  cache: string;
}

export interface StageChoices {
  /** Train adapters beside the model the stage starts from, for stages that make a model. */
  lora?: LoraTraining | undefined;
  onPreparing: (what: string) => void;
}

/** One of the trainings that make the nano model. */
export interface Stage {
  /** Of its folder and curves. */
  name: string;
  makes: 'vision tokenizer' | 'model';
  train: (device: Device, options: Omit<TrainStageOptions, 'output'> & StageFolders & StageChoices) => Promise<void>;
  recipe: Pick<StageRecipe, 'steps' | 'schedule'>;
  plot: CurvePlot;
}

const tokenizerStage: Stage = {
  name: visionRecipe.name,
  makes: 'vision tokenizer',
  train: (device, options) => trainNanoTokenizer(device, { ...options, output: options.product }),
  recipe: visionRecipe,
  plot: {
    title: 'Vision tokenizer, training',
    left: { label: 'loss', logarithmic: true },
    right: { label: 'PSNR of the batch in dB' },
    series: [
      { field: 'loss', label: 'loss' },
      { field: 'reconstruction', label: 'reconstruction (L2)' },
      { field: 'commitment', label: 'commitment' },
      { field: 'psnr', label: 'PSNR', right: true },
    ],
  },
};

function visionPartStage(recipe: VisionPartStage, plot: CurvePlot): Stage {
  return {
    name: recipe.name,
    makes: 'vision tokenizer',
    train: (device, options) => trainNanoVisionPart(device, recipe, { ...options, output: options.product }),
    recipe,
    plot,
  };
}

const encoderStage = visionPartStage(encoderRecipe, {
  title: "Vision tokenizer's encoder, training",
  left: { label: 'cross-entropy in nats', logarithmic: true },
  right: { label: 'gradient norm' },
  series: [
    { field: 'loss', label: 'loss' },
    { field: 'gradientNorm', label: 'gradient norm', right: true },
  ],
});

const decoderStage = visionPartStage(decoderRecipe, {
  title: "Vision tokenizer's decoder, training",
  left: { label: 'loss (L2)', logarithmic: true },
  right: { label: 'PSNR of the batch in dB' },
  series: [
    { field: 'loss', label: 'loss' },
    { field: 'psnr', label: 'PSNR', right: true },
  ],
});

function languageStage(recipe: LanguageStage, title: string): Stage {
  return {
    name: recipe.name,
    makes: 'model',
    train: (device, options) => trainLanguage(device, recipe, { ...options, output: options.product }),
    recipe,
    plot: {
      title: `Transformer, ${title}`,
      left: { label: 'cross-entropy in nats' },
      right: { label: 'gradient norm' },
      series: [
        { field: 'loss', label: 'loss' },
        { field: 'gradientNorm', label: 'gradient norm', right: true },
      ],
    },
  };
}

const pretraining = pretrainStages.map((recipe) => languageStage(recipe, 'pre-training'));

const understanding = understandStages.map((recipe) => languageStage(recipe, 'understanding'));
const quality = languageStage(qualityStage, 'quality fine-tuning');

const preference: Stage = {
  name: preferenceRecipe.name,
  makes: 'model',
  train: (device, options) => trainPreference(device, { ...options, output: options.product }),
  recipe: preferenceRecipe,
  plot: {
    title: 'Transformer, preferences',
    left: { label: 'loss in nats' },
    right: { label: 'share of pairs ranked right' },
    series: [
      { field: 'preferenceLoss', label: 'preference loss' },
      { field: 'crossEntropy', label: 'cross-entropy' },
      { field: 'accuracy', label: 'accuracy', right: true },
    ],
  },
};

/** In their order: each starts from what the one before has made. */
export const stages: readonly Stage[] = [
  tokenizerStage,
  encoderStage,
  decoderStage,
  ...pretraining,
  ...understanding,
  quality,
  preference,
];

/** What can be trained by name. */
export const commands: Readonly<Record<string, readonly Stage[]>> = {
  tokenizer: [tokenizerStage, encoderStage, decoderStage],
  encoder: [encoderStage],
  decoder: [decoderStage],
  pretrain: pretraining,
  understand: understanding,
  qft: [quality],
  dpo: [preference],
  nano: stages,
};
