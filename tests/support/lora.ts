import {
  SequenceScorer,
  LoraAdapters,
  type LoraOptions,
  type ModelWeights,
} from '../../engine/models/transformer/index.js';
import { ParameterStore, type ParameterStoreOptions } from '../../engine/parameters.js';
import { dequantize, type QuantizedParameters } from '../../engine/quantized/index.js';
import { parseTransformerConfig, transformerTensorShapes } from '../../loader/index.js';
import { matmulReference } from '../../kernels/matmul/reference.js';
import { transformerReference, type Weights } from '../models/reference.js';
import { pseudoRandom } from './compare.js';
import { testDevice } from './gpu.js';

/** A hub config of awkward sizes: no dimension is a multiple of 4. */
export const tinyConfigJson = JSON.stringify({
  model_type: 'Emu3',
  vocab_size: 41,
  hidden_size: 18,
  intermediate_size: 39,
  num_hidden_layers: 2,
  num_attention_heads: 3,
  num_key_value_heads: 1,
  max_position_embeddings: 64,
  attention_dropout: 0,
  tie_word_embeddings: false,
  ...Object.fromEntries(
    ['pad', 'bos', 'eos', 'img', 'boi', 'eoi', 'eol', 'eof'].map((name, index) => [`${name}_token_id`, index]),
  ),
});

export const tinyConfig = parseTransformerConfig(tinyConfigJson, 'test');

/** Layers that can be packed, three groups wide, but for `down_proj`, whose 40 inputs are no whole groups. */
export const packableConfigJson = JSON.stringify({
  ...(JSON.parse(tinyConfigJson) as object),
  vocab_size: 203,
  hidden_size: 96,
  intermediate_size: 40,
});

export const packableConfig = parseTransformerConfig(packableConfigJson, 'test');

/** A tiny model with random weights; the same ones for every call. */
export async function tinyBase(options: ParameterStoreOptions = {}, config = tinyConfig): Promise<ParameterStore> {
  const store = ParameterStore.create(await testDevice(), transformerTensorShapes(config), options);
  let seed = 1;
  for (const [name, shape] of store.shapes) {
    const count = shape.reduce((product, size) => product * size, 1);
    const isNorm = shape.length === 1;
    const width = isNorm ? 0.3 : name.includes('embed') ? 1 : 2 / Math.sqrt(shape[1]);
    store.tensor(name).write(pseudoRandom(count, seed++).map((value) => value * width + (isNorm ? 1 : 0)));
  }
  return store;
}

/** Adapters of the tiny model as training might leave them: A and B random. */
export async function trainedAdapters(
  base: Pick<ParameterStore, 'shapes'>,
  options: LoraOptions = { rank: 3, alpha: 7 },
  storeOptions: ParameterStoreOptions = {},
): Promise<LoraAdapters> {
  const adapters = LoraAdapters.create(await testDevice(), base.shapes, options, storeOptions);
  let seed = 500;
  for (const [name, [rows, columns]] of adapters.store.shapes) {
    adapters.store.tensor(name).write(pseudoRandom(rows * columns, seed++).map((value) => value * 0.4));
  }
  return adapters;
}

/** Every tensor, packed ones as what they stand for, in float64. */
export async function hostWeights(from: ParameterStore | QuantizedParameters): Promise<Record<string, Float64Array>> {
  const weights: Record<string, Float64Array> = {};
  for (const name of from.shapes.keys()) {
    const packed = from instanceof ParameterStore ? undefined : from.weights.get(name);
    const values = packed ? await dequantize(await testDevice(), packed) : from.tensor(name);
    weights[name] = Float64Array.from(await values.readFloat32());
    if (packed) values.destroy();
  }
  return weights;
}

/** W + (alpha / rank) B A in float64. */
export function mergedReference(base: Weights, adapters: LoraAdapters, values: Weights): Weights {
  const { pairs, scale, options } = adapters;
  const merged = { ...base };
  for (const { base: name, shape, a, b } of pairs.values()) {
    const delta = matmulReference(values[b], values[a], { m: shape[0], n: shape[1], depth: options.rank });
    merged[name] = base[name].map((weight, index) => weight + scale * delta[index]);
  }
  return merged;
}

/** Two sequences of eleven ids, none of them padding. */
export const tokens = {
  batch: 2,
  length: 11,
  ids: Uint32Array.from(pseudoRandom(22, 7), (value) => 1 + Math.floor(((value + 1) / 2) * 39)),
};

/** Logits of {@link tokens}, [2, 11, vocabulary]. */
export async function logitsOf(weights: ModelWeights, config = tinyConfig): Promise<Float32Array> {
  const scorer = await SequenceScorer.create(await testDevice(), config, weights, tokens);
  const { logits } = await scorer.score(tokens);
  scorer.destroy();
  return logits;
}

export function referenceLogits(weights: Weights, config = tinyConfig): Float64Array {
  return transformerReference(config, weights, { ...tokens, leftPadding: [0, 0] });
}
