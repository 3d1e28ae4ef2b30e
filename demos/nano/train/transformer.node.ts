import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Device } from '../../../engine/device.js';
import { VisionTokenizer } from '../../../engine/models/vision/index.js';
import { ParameterStore } from '../../../engine/parameters.js';
import { runTraining, type StepMetrics } from '../../../engine/train/loop.js';
import { packDocuments, type PackedBatch, type TokenDocument } from '../../../engine/train/packing.js';
import { TransformerTrainer } from '../../../engine/train/transformer-trainer.js';
import {
  diskFolder,
  loadVisionTokenizer,
  replaceFile,
  storeTensors,
  transformerTensorShapes,
  writeModel,
  type Emu3Config,
} from '../../../loader/index.node.js';
import {
  buildTokenizerJson,
  documentIds,
  generationSample,
  textTokenizerFromJson,
  type SpecialTokens,
  type TextTokenizer,
} from '../../../tokenizer/index.js';
import { loadEmojiDataset, type EmojiItem } from '../data/dataset.node.js';
import { SeededRandom } from '../data/random.js';
import { addCodebookProjection, initialTransformerTensor, type Codebook } from './initialise.js';
import { seed, textVocabularySize, transformerRecipe, transformerSizes, visionConfig } from './recipe.js';
import { LossCurve, resumeRun, saveRun, type RunState } from './run-folder.node.js';
import type { TrainStageOptions } from './tokenizer.node.js';

interface TokenizedItem {
  readonly item: EmojiItem;
  readonly codes: Uint32Array;
}

/**
 * Trains the nano transformer on the training pairs' captions and codes and writes it as a hub folder, with a text
 * tokenizer made from the captions. Needs the finished vision tokenizer in `<output>/vision_tokenizer`.
 */
export async function trainNanoTransformer(device: Device, options: TrainStageOptions): Promise<void> {
  const steps = options.steps ?? transformerRecipe.steps;
  const { items } = await loadEmojiDataset();
  const training = items.filter((item) => item.split === 'train');
  const { json, special, vocabularySize } = buildTokenizerJson(items.flatMap((item) => item.captions).concat('8*8'), {
    vocabularySize: textVocabularySize + visionConfig.codebook_size,
    visualCount: visionConfig.codebook_size,
  });
  const text = textTokenizerFromJson(json);
  const config = transformerConfig(special, vocabularySize);
  const shapes = transformerTensorShapes(config);
  const store = ParameterStore.create(device, shapes, { training: true });
  const random = new SeededRandom(seed + 1);
  const { tokenized, codebook } = await tokenize(device, join(options.output, 'vision_tokenizer'), training);
  for (const [name, shape] of shapes) {
    const values = initialTransformerTensor(name, shape, config.num_hidden_layers, random);
    if (name === 'model.embed_tokens.weight' || name === 'lm_head.weight') {
      const [first, end] = [special.visualStart, special.visualStart + special.visualCount];
      const rows = values.subarray(first * config.hidden_size, end * config.hidden_size);
      addCodebookProjection(rows, codebook, random);
    }
    store.tensor(name).write(values);
  }

  const { batch, length, dropout } = transformerRecipe;
  const trainer = await TransformerTrainer.create(device, config, store, {
    batch,
    length,
    dropout,
    schedule: transformerRecipe.schedule(steps),
    maximumNorm: transformerRecipe.maximumNorm,
    hyper: transformerRecipe.hyper,
    visionWeight: { first: special.visualStart, last: special.visualStart + special.visualCount - 1, weight: 0.5 },
    seed,
  });
  const runState: RunState = {
    store,
    optimization: trainer.optimization,
    config: JSON.parse(JSON.stringify({ config, transformerRecipe, steps, seed })) as RunState['config'],
  };
  const curve = new LossCurve(options.run, 'transformer-curve');
  const position = await resumeRun(options.run, runState);
  let data = new DocumentStream(tokenized, text, special, random.nextUint32());
  if (position) {
    trainer.resumeAt(position.step);
    data = DocumentStream.restore(tokenized, text, special, position.dataPosition as DataPosition);
    const kept = await readFile(join(options.run, 'transformer-curve.json'), 'utf8').catch(() => '[]');
    curve.continueFrom(JSON.parse(kept) as StepMetrics[], position.step);
  }
  await runTraining<readonly PackedBatch[]>(trainer, {
    steps,
    next: () => [data.nextBatch({ batch, length })],
    metricsEvery: 10,
    onMetrics: (metrics, seconds) => {
      curve.add(metrics);
      options.onMetrics(metrics, seconds);
    },
    checkpointEvery: options.checkpointEvery ?? 100,
    checkpoint: async () => {
      await saveRun(options.run, runState, { step: trainer.step, dataPosition: data.save(), randomState: 0 });
      await curve.save();
    },
    signal: options.signal,
  });
  await exportTransformer(options.output, config, store, json);
  trainer.destroy();
  store.destroy();
}

function transformerConfig(special: SpecialTokens, vocabularySize: number): Emu3Config {
  return {
    vocab_size: vocabularySize,
    ...transformerSizes,
    rms_norm_eps: 1e-5,
    rope_theta: 1e6,
    rope_scaling: null,
    attention_dropout: transformerRecipe.dropout,
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

/** Codes of every picture by the finished vision tokenizer, as it will be shipped (bf16 weights), and its codebook. */
async function tokenize(
  device: Device,
  folder: string,
  items: readonly EmojiItem[],
): Promise<{ tokenized: TokenizedItem[]; codebook: Codebook }> {
  const { config, weights } = await loadVisionTokenizer(device, diskFolder(folder));
  const tokenizer = new VisionTokenizer(device, config, weights);
  const tokenized: TokenizedItem[] = [];
  const perBatch = 16;
  const size = Math.sqrt(items[0].rgb.length / 3);
  for (let from = 0; from < items.length; from += perBatch) {
    const group = items.slice(from, from + perBatch);
    const data = new Float32Array(group.length * size * size * 3);
    group.forEach(({ rgb }, index) => {
      for (let at = 0; at < rgb.length; at++) data[index * rgb.length + at] = (rgb[at] / 255 - 0.5) / 0.5;
    });
    const { codes, height, width } = await tokenizer.encode({
      batch: group.length,
      frames: 1,
      height: size,
      width: size,
      data,
    });
    const count = height * width;
    group.forEach((item, index) => tokenized.push({ item, codes: codes.slice(index * count, (index + 1) * count) }));
  }
  const values = await weights.read('quantize.embedding.weight');
  await tokenizer.destroy();
  weights.destroy();
  return { tokenized, codebook: { size: config.codebook_size, dimension: config.embed_dim, values } };
}

/** One document to be made: which picture, under which caption, with how much noise among the codes that are read. */
type Draw = { item: number; caption: string; noise: { rate: number; seed: number } };

/** Where the document order stands. */
type DataPosition = {
  random: number;
  order: number[];
  cursor: number;
  pending: Draw | null;
};

/** Endless documents in epochs of random order: caption (sometimes dropped), then picture. */
class DocumentStream {
  private readonly tokenized: readonly TokenizedItem[];
  private readonly text: TextTokenizer;
  private readonly special: SpecialTokens;
  private random: SeededRandom;
  private order: number[] = [];
  private cursor = 0;
  private pending: Draw | null = null;

  constructor(tokenized: readonly TokenizedItem[], text: TextTokenizer, special: SpecialTokens, randomSeed: number) {
    this.tokenized = tokenized;
    this.text = text;
    this.special = special;
    this.random = new SeededRandom(randomSeed);
  }

  static restore(
    tokenized: readonly TokenizedItem[],
    text: TextTokenizer,
    special: SpecialTokens,
    position: DataPosition,
  ): DocumentStream {
    const stream = new DocumentStream(tokenized, text, special, position.random);
    stream.order = [...position.order];
    stream.cursor = position.cursor;
    stream.pending = position.pending;
    return stream;
  }

  save(): DataPosition {
    return { random: this.random.save(), order: this.order, cursor: this.cursor, pending: this.pending };
  }

  private draw(): Draw {
    if (this.cursor === this.order.length) {
      this.order = this.random.shuffled(this.tokenized.map((_, index) => index));
      this.cursor = 0;
    }
    const item = this.order[this.cursor++];
    const { captions } = this.tokenized[item].item;
    // Half of the documents carry the canonical caption, which is what prompts look like.
    const varied = captions[this.random.integer(captions.length)];
    const caption = this.random.next() < 0.5 ? captions[0] : varied;
    const { captionDropout, contextNoise } = transformerRecipe;
    const noisy = this.random.next() < contextNoise.share;
    return {
      item,
      caption: this.random.next() < captionDropout ? '' : caption,
      noise: { rate: noisy ? this.random.next() * contextNoise.highest : 0, seed: this.random.nextUint32() },
    };
  }

  /** Ids with some codes replaced by random ones, and the true ids as labels: see `contextNoise` of the recipe. */
  private document({ item, caption, noise }: Draw): TokenDocument {
    const { codes } = this.tokenized[item];
    const side = Math.sqrt(codes.length);
    const segments = generationSample(caption, { height: side, width: side, codes });
    const labels = [...documentIds(segments, this.text), this.special.eos];
    const { visualStart, visualCount } = this.special;
    const random = new SeededRandom(noise.seed);
    const ids = labels.map((id) =>
      id >= visualStart && random.next() < noise.rate ? visualStart + random.integer(visualCount) : id,
    );
    let code = 0;
    const weights = labels.map((id) => (id >= visualStart ? codeWeight(code++) : 1));
    return { ids, labels, weights };
  }

  nextBatch(shape: { batch: number; length: number }): PackedBatch {
    let last = this.pending ?? this.draw();
    let started = false;
    const next = (): TokenDocument => {
      if (started) last = this.draw();
      started = true;
      return this.document(last);
    };
    const packed = packDocuments(next, shape, this.special.pad);
    this.pending = last;
    return packed;
  }
}

/** Weight of the loss of a picture's code by its place in raster order: see `firstCodes` of the recipe. */
function codeWeight(place: number): number {
  const { weight, span } = transformerRecipe.firstCodes;
  return 1 + (weight - 1) * Math.exp(-place / span);
}

async function exportTransformer(
  folder: string,
  config: Emu3Config,
  store: ParameterStore,
  tokenizerJson: object,
): Promise<void> {
  await writeModel(folder, storeTensors(store, 'BF16'), { metadata: { format: 'pt' } });
  const files = {
    'config.json': { architectures: ['Emu3ForCausalLM'], model_type: 'Emu3', ...config, torch_dtype: 'bfloat16' },
    'tokenizer.json': tokenizerJson,
    'generation_config.json': { do_sample: true, temperature: 0.2, top_k: 16, guidance_scale: 1 },
  };
  for (const [name, content] of Object.entries(files)) {
    const bytes = new TextEncoder().encode(`${JSON.stringify(content, undefined, 2)}\n`);
    await replaceFile(join(folder, name), [bytes]);
  }
}
