import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { initialTransformerTensor, initialVisionTensor } from '../../demos/nano/train/initialise.js';
import { SeededRandom } from '../../demos/nano/world/random.js';
import { textVocabularySize, transformerSizes, visionConfig } from '../../demos/nano/train/recipe.js';
import type { Device } from '../../engine/device.js';
import { headDimension } from '../../engine/models/transformer/index.js';
import { VisionWeights } from '../../engine/models/vision/index.js';
import { ParameterStore } from '../../engine/parameters.js';
import { elementCount } from '../../kernels/core/index.js';
import {
  diskFolder,
  loadTransformer,
  loadVisionTokenizer,
  transformerTensorShapes,
  visionTensorShapes,
  type Emu3Config,
  type Emu3VisionVQConfig,
} from '../../loader/index.node.js';
import type { LanguageSizes } from '../cases/index.js';

/** The nano model: the trained weights where there are any, else random ones of the recipe's sizes, which run alike. */
export interface NanoModel {
  readonly origin: 'trained weights' | 'random weights';
  readonly config: Emu3Config;
  readonly visionConfig: Emu3VisionVQConfig;
  readonly parameters: ParameterStore;
  readonly visionWeights: VisionWeights;
  destroy(): void;
}

export async function openNanoModel(
  device: Device,
  folder: string,
  options: { training: boolean },
): Promise<NanoModel> {
  const visionFolder = join(folder, 'vision_tokenizer');
  const shipped = (await isFile(join(folder, 'config.json'))) && (await isFile(join(visionFolder, 'config.json')));
  const loaded = shipped
    ? await loadShipped(device, folder, visionFolder, options)
    : makeRandom(device, options.training);
  return {
    ...loaded,
    origin: shipped ? 'trained weights' : 'random weights',
    destroy: () => {
      loaded.parameters.destroy();
      loaded.visionWeights.destroy();
    },
  };
}

type Parts = Omit<NanoModel, 'origin' | 'destroy'>;

async function loadShipped(
  device: Device,
  folder: string,
  visionFolder: string,
  options: { training: boolean },
): Promise<Parts> {
  const { config, parameters } = await loadTransformer(device, diskFolder(folder), options);
  const vision = await loadVisionTokenizer(device, diskFolder(visionFolder), options);
  await vision.tokenizer.destroy();
  return { config, parameters, visionConfig: vision.config, visionWeights: vision.weights };
}

function makeRandom(device: Device, training: boolean): Parts {
  const random = new SeededRandom(1);
  const config = recipeConfig();
  const shapes = transformerTensorShapes(config);
  const parameters = ParameterStore.create(device, shapes, { training });
  for (const [name, shape] of shapes) {
    parameters.tensor(name).write(initialTransformerTensor(name, shape, config.num_hidden_layers, random));
  }
  const visionShapes = visionTensorShapes(visionConfig);
  const visionWeights = VisionWeights.create(device, visionShapes, { training });
  for (const name of visionWeights.names) {
    visionWeights.write(name, initialVisionTensor(name, visionShapes.get(name) ?? [], random));
  }
  return { config, visionConfig, parameters, visionWeights };
}

/** The recipe's transformer with a vocabulary as large as it may become; special tokens lie before the vision tokens. */
function recipeConfig(): Emu3Config {
  const special = textVocabularySize - 8;
  return {
    vocab_size: textVocabularySize + visionConfig.codebook_size,
    ...transformerSizes,
    rms_norm_eps: 1e-5,
    rope_theta: 1e6,
    rope_scaling: null,
    attention_dropout: 0,
    initializer_range: 0.02,
    tie_word_embeddings: false,
    image_area: 64 * 64,
    pad_token_id: special,
    bos_token_id: special + 1,
    eos_token_id: special + 2,
    img_token_id: special + 3,
    boi_token_id: special + 4,
    eoi_token_id: special + 5,
    eol_token_id: special + 6,
    eof_token_id: special + 7,
  };
}

/** Vision tokens are the last ids of the vocabulary. */
export function firstVisionId({ config, visionConfig: { codebook_size } }: NanoModel): number {
  return config.vocab_size - codebook_size;
}

export function nanoSizes({ config, visionConfig: { codebook_size } }: NanoModel): LanguageSizes {
  return {
    name: 'nano decode',
    hidden: config.hidden_size,
    intermediate: config.intermediate_size,
    heads: config.num_attention_heads,
    keyValueHeads: config.num_key_value_heads,
    headDimension: headDimension(config),
    vocabulary: config.vocab_size,
    visionIds: codebook_size,
  };
}

export function parameterCount({ parameters }: NanoModel): number {
  return [...parameters.shapes.values()].reduce((sum, shape) => sum + elementCount(shape), 0);
}

async function isFile(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isFile() ?? false;
}
