import { join } from 'node:path';
import type { Device } from '../../../engine/device.js';
import {
  packPairs,
  type PairLayout,
  type PreferenceBatch,
  type ReferencedPair,
} from '../../../engine/train/preference.js';
import { PreferenceTrainer } from '../../../engine/train/preference-trainer.js';
import { SequenceLogProbabilities } from '../../../engine/train/sequence-log-probabilities.js';
import { Emu3Error } from '../../../kernels/core/errors.js';
import { choosePairs, collectPreferences, diskFolder, type PreferenceSample } from '../../../loader/index.node.js';
import { Emu3 } from '../../../loader/pipeline/emu3.js';
import { generationPrompts, type RgbImage } from '../../../tokenizer/index.js';
import { SceneChecker, type Sight } from '../check/checker.js';
import { groupsOf, listOf, nameOf } from '../world/captions.js';
import { Artwork } from '../world/draw.node.js';
import { SeededRandom } from '../world/random.js';
import { pictureSize, type Scene } from '../world/scene.js';
import { corpusScene } from './corpus.node.js';
import type { LanguageStageOptions } from './language.node.js';
import { preferenceRecipe, seed } from './recipe.js';
import { openRun } from './run-folder.node.js';
import { destroyStageModel, exportModel, loraConfig, openStageModel } from './stage-model.node.js';

/** Scenes whose pictures are asked for: others than those of the corpora. */
const promptSeed = seed + 7;
/** Pictures drawn side by side. */
const drawnTogether = 16;

/**
 * Direct preference optimisation on pictures of the model itself (arXiv 2409.18869): several samples for each prompt, on
 * which the checker and an aesthetic proxy vote; the very tokens that were drawn are kept and trained on. Resumes, in the
 * middle of drawing as well.
 */
export async function trainPreference(device: Device, options: LanguageStageOptions): Promise<void> {
  const recipe = preferenceRecipe;
  const { from, signal, run, lora } = options;
  if (from === undefined) {
    throw new Emu3Error('There is no model to refine.', {
      code: 'missing',
      where: 'dpo',
      fix: 'Train the stages before with the same --run, or give --from a model folder.',
    });
  }
  const steps = options.steps ?? recipe.steps;
  const samples = await drawSamples(device, from, options);
  const { pairs: voted, dropped } = choosePairs(samples);
  options.onPreparing?.(`${voted.length} pairs, ${dropped.tied} prompts tied`);
  if (voted.length < recipe.batch) {
    throw new Emu3Error(`Only ${voted.length} pairs came of ${recipe.prompts} prompts.`, {
      code: 'argument',
      where: 'dpo',
      fix: 'Give a model that draws more than one picture of a prompt, or more prompts.',
    });
  }
  const model = await openStageModel(device, from, lora);
  const { config, store, weights } = model;
  const layout: PairLayout = {
    pairs: recipe.batch,
    length: recipe.length,
    padId: config.pad_token_id,
    vocabularySize: config.vocab_size,
    counted: { first: config.eoi_token_id + 1, last: config.vocab_size - 1 },
  };
  const scorer = await SequenceLogProbabilities.create(device, config, weights, {
    batch: 2 * recipe.batch,
    length: recipe.length,
  });
  const pairs = await scorer.ofPairs(voted, layout, {
    ...(signal && { signal }),
    onProgress: (done, total) => options.onPreparing?.(`${done} of ${total} pairs scored`),
  });
  scorer.destroy();
  const trainer = await PreferenceTrainer.create(device, config, weights, {
    ...(model.adapters && { adapters: model.adapters }),
    pairs: recipe.batch,
    length: recipe.length,
    beta: recipe.beta,
    crossEntropy: recipe.crossEntropy,
    schedule: recipe.schedule(steps),
    maximumNorm: recipe.maximumNorm,
    hyper: recipe.hyper,
    seed,
  });
  const { position, train } = await openRun<readonly PreferenceBatch[]>(run, recipe.name, trainer, {
    store,
    config: { config, recipe, steps, seed, lora: loraConfig(lora, model) },
  });
  const random = new SeededRandom(position ? Number(position.randomState) : seed);
  await train({
    steps,
    next: () => [packPairs(drawGroup(pairs, recipe.batch, random), layout)],
    metricsEvery: 5,
    onMetrics: options.onMetrics,
    checkpointEvery: options.checkpointEvery ?? 20,
    save: async () => ({ dataPosition: null, randomState: random.save() }),
    signal,
  });
  await exportModel(device, options.output, model, options.vision);
  trainer.destroy();
  destroyStageModel(model);
}

/** A step's pairs, all different. */
function drawGroup(pairs: readonly ReferencedPair[], count: number, random: SeededRandom): ReferencedPair[] {
  return random.shuffled(pairs).slice(0, count);
}

async function drawSamples(
  device: Device,
  from: string,
  { run, signal, lora, onPreparing }: LanguageStageOptions,
): Promise<readonly PreferenceSample[]> {
  const { prompts, samplesPerPrompt, temperature } = preferenceRecipe;
  const wishes = Array.from({ length: prompts }, (_, index): [prompt: string, scene: Scene] => {
    const scene = corpusScene('stills', promptSeed, index);
    return [listOf(groupsOf(scene)), scene];
  });
  const scenes = new Map(wishes);
  const checker = new SceneChecker(await Artwork.load());
  const weights = lora?.weights ?? 'f32';
  const emu3 = await Emu3.load({ device, folder: diskFolder(from), weights, ...(signal && { signal }) });
  const side = pictureSize / emu3.factor;
  try {
    return await collectPreferences({
      path: join(run, 'samples.jsonl'),
      prompts: wishes.map(([prompt]) => prompt),
      samplesPerPrompt,
      seed,
      settings: { temperature, prompts, voters: ['checker', 'aesthetic'], ...(lora && { weights }) },
      batch: drawnTogether,
      signal,
      draw: async (requests) => {
        const pictures = await emu3.generateBatch(
          requests.map((request) => ({ ...request, temperature, guidance: 1, size: { height: side, width: side } })),
          signal && { signal },
        );
        return pictures.map(({ ids, image, size }, index) => {
          const { prompt } = requests[index];
          const { conditional } = generationPrompts(emu3.tokenizer, { prompt, size });
          const scene = scenes.get(prompt);
          return {
            promptIds: conditional,
            responseIds: [...ids],
            scores: scene ? vote(checker, scene, image) : { checker: 0, aesthetic: 0 },
          };
        });
      },
      onProgress: (done, total) => onPreparing?.(`${done} of ${total} samples`),
    });
  } finally {
    await emu3.destroy();
  }
}

function vote(checker: SceneChecker, scene: Scene, image: RgbImage): { checker: number; aesthetic: number } {
  const sight = checker.check(image);
  return { checker: agreement(scene, sight), aesthetic: cleanness(sight) };
}

/** F1 of the names of the things that were asked for and of those that were found. */
function agreement({ objects }: Scene, { things }: Sight): number {
  const asked = objects.map(nameOf);
  let right = 0;
  for (const thing of things) {
    const at = asked.findIndex((name) => name === nameOf(thing) || name === thing.noun);
    if (at < 0) continue;
    asked.splice(at, 1);
    right += 1;
  }
  return (2 * right) / Math.max(1, objects.length + things.length);
}

/** How like finished artwork the things are, less what is no thing at all: in -1..1. */
function cleanness({ things, unknown }: Sight): number {
  const count = things.length + unknown.length;
  if (count === 0) return -1;
  return (things.reduce((sum, { score }) => sum + score, 0) - unknown.length) / count;
}
