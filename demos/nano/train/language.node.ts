import type { Device } from '../../../engine/device.js';
import { VisionTokenizer } from '../../../engine/models/vision/index.js';
import { ParameterStore } from '../../../engine/parameters.js';
import type { PackedBatch } from '../../../engine/train/packing.js';
import { TransformerTrainer } from '../../../engine/train/transformer-trainer.js';
import {
  diskFolder,
  loadVisionTokenizer,
  transformerTensorShapes,
  type Emu3Config,
  type JsonValue,
} from '../../../loader/index.node.js';
import { buildTokenizerJson, textTokenizerFromJson, type SpecialTokens } from '../../../tokenizer/index.js';
import { fullCaption, fullClipCaption, variedCaption, variedClipCaption } from '../world/captions.js';
import { Artwork } from '../world/draw.node.js';
import { drawClipQuestion, drawQuestion } from '../world/questions.js';
import { SeededRandom } from '../world/random.js';
import {
  bestScored,
  corpusMaker,
  corpusScene,
  type Corpora,
  type CorpusKind,
  type TokenizedScene,
} from './corpus.node.js';
import { DocumentStream, type DocumentPosition } from './documents.js';
import { addCodebookProjection, initialTransformerTensor, type Codebook } from './initialise.js';
import { seed, textVocabularySize, transformerSizes, type LanguageStage } from './recipe.js';
import { openRun } from './run-folder.node.js';
import {
  destroyStageModel,
  exportModel,
  loraConfig,
  noBase,
  openStageModel,
  type LoraTraining,
  type StageModel,
} from './stage-model.node.js';
import type { TrainStageOptions } from './tokenizer.node.js';

export interface LanguageStageOptions extends TrainStageOptions {
  /** Folder of the finished vision tokenizer. */
  vision: string;
  /** Folder in which the corpora's tokens are kept between stages. */
  cache: string;
  /** Train adapters beside the model instead of the model itself; needs one to start from. */
  lora?: LoraTraining | undefined;
  /** Told what is being made ready before the first step. */
  onPreparing?: (what: string) => void;
}

/**
 * Trains the transformer on a mixture of documents, or adapters beside it, and writes the whole model as a hub folder.
 * Resumes.
 *
 * @throws Emu3Error `argument` for adapters without a model to start from.
 */
export async function trainLanguage(
  device: Device,
  stage: LanguageStage,
  options: LanguageStageOptions,
): Promise<void> {
  const steps = options.steps ?? stage.steps;
  const { from, lora } = options;
  if (lora && from === undefined) throw noBase(stage.name);
  const { corpora, codebook } = await makeCorpora(device, stage, options);
  const model = from === undefined ? startFromNothing(device, codebook) : await openStageModel(device, from, lora);
  const { config, store } = model;
  const text = textTokenizerFromJson(model.json);
  const { special } = text;
  const { batch, length } = stage;
  const trainer = await TransformerTrainer.create(device, config, model.weights, {
    ...(model.adapters && { adapters: model.adapters }),
    batch,
    length,
    dropout: 0,
    schedule: stage.schedule(steps),
    maximumNorm: stage.maximumNorm,
    hyper: stage.hyper,
    visionWeight: {
      first: special.visualStart,
      last: special.visualStart + special.visualCount - 1,
      weight: stage.visionWeight,
    },
    seed,
  });
  const { position, train } = await openRun<readonly PackedBatch[]>(options.run, stage.name, trainer, {
    store,
    config: { config, stage, steps, seed, lora: loraConfig(lora, model) },
  });
  const start: DocumentPosition = position
    ? documentPosition(position.dataPosition)
    : { random: new SeededRandom(seed + stage.seedOffset).nextUint32(), waiting: [] };
  const data = new DocumentStream(corpora, text, stage.documents, start);
  const { onMetrics, checkpointEvery, signal } = options;
  await train({
    steps,
    next: () => [data.nextBatch({ batch, length })],
    onMetrics,
    checkpointEvery,
    save: async () => ({ dataPosition: { ...data.save() }, randomState: 0 }),
    signal,
  });
  await exportModel(device, options.output, model, options.vision);
  trainer.destroy();
  destroyStageModel(model);
}

function documentPosition(value: JsonValue): DocumentPosition {
  const { random, waiting } = value as { random: number; waiting: number[] };
  return { random, waiting };
}

/** The stage's scenes in tokens by the finished vision tokenizer, as it will be shipped, and its codebook. */
async function makeCorpora(
  device: Device,
  { scenes, bestShare }: LanguageStage,
  { vision: folder, cache, onPreparing, signal }: LanguageStageOptions,
): Promise<{ corpora: Corpora; codebook: Codebook }> {
  const artwork = await Artwork.load();
  const { config, weights } = await loadVisionTokenizer(device, diskFolder(folder));
  const tokenizer = new VisionTokenizer(device, config, weights);
  const corpusOf = await corpusMaker({ tokenizer, weights, artwork }, { seed, cache, folder, onPreparing, signal });
  const made = (kind: CorpusKind): Promise<TokenizedScene[]> => corpusOf(kind, scenes[kind] ?? 0);
  const corpora: Record<CorpusKind, TokenizedScene[]> = {
    stills: await made('stills'),
    'large stills': await made('large stills'),
    clips: await made('clips'),
    shots: await made('shots'),
  };
  if (bestShare !== undefined) {
    corpora['large stills'] = await bestScored(tokenizer, artwork, corpora['large stills'], bestShare, signal);
  }
  const values = await weights.read('quantize.embedding.weight');
  await tokenizer.destroy();
  weights.destroy();
  return { corpora, codebook: { size: config.codebook_size, dimension: config.embed_dim, values } };
}

function startFromNothing(device: Device, codebook: Codebook): StageModel {
  const { json, special, vocabularySize } = buildTokenizerJson(worldText(), {
    vocabularySize: textVocabularySize + codebook.size,
    visualCount: codebook.size,
  });
  const config = transformerConfig(special, vocabularySize);
  const shapes = transformerTensorShapes(config);
  const store = ParameterStore.create(device, shapes, { training: true });
  const random = new SeededRandom(seed + 1);
  for (const [name, shape] of shapes) {
    const values = initialTransformerTensor(name, shape, config.num_hidden_layers, random);
    if (name === 'model.embed_tokens.weight' || name === 'lm_head.weight') {
      const [first, end] = [special.visualStart, special.visualStart + special.visualCount];
      const rows = values.subarray(first * config.hidden_size, end * config.hidden_size);
      addCodebookProjection(rows, codebook, random);
    }
    store.tensor(name).write(values);
  }
  return { config, json, store, weights: store, adapters: undefined, base: undefined };
}

/** Captions, questions and answers of some thousands of scenes, from which the text vocabulary is made. */
function worldText(): string[] {
  const random = new SeededRandom(seed);
  const lines = [
    '8*8',
    '8*8*3*8',
    '12*12',
    'You are a helpful assistant. USER:',
    ' USER: in the first picture, in the second picture, ',
    '. ASSISTANT:',
  ];
  for (let index = 0; index < 4000; index++) {
    const still = corpusScene('stills', seed, index);
    const asked = drawQuestion(still, random);
    lines.push(variedCaption(still, random), fullCaption(still), `${asked.question}. ASSISTANT: ${asked.answer}`);
    if (index % 4 > 0) continue;
    const clip = corpusScene('clips', seed, index);
    const askedOfClip = drawClipQuestion(clip, random);
    lines.push(variedClipCaption(clip, random), fullClipCaption(clip));
    lines.push(`${askedOfClip.question}. ASSISTANT: ${askedOfClip.answer}`);
  }
  return lines;
}

function transformerConfig(special: SpecialTokens, vocabularySize: number): Emu3Config {
  return {
    vocab_size: vocabularySize,
    ...transformerSizes,
    rms_norm_eps: 1e-5,
    rope_theta: 1e6,
    rope_scaling: null,
    attention_dropout: 0,
    initializer_range: 0.02,
    tie_word_embeddings: false,
    image_area: 64 * 64,
    pad_token_id: special.pad,
    bos_token_id: special.bos,
    eos_token_id: special.eos,
    img_token_id: special.img,
    boi_token_id: special.boi,
    eoi_token_id: special.eoi,
    eol_token_id: special.eol,
    eof_token_id: special.eof,
  };
}
