import { describe, expect, it } from 'vitest';
import { Decoder } from '../../engine/decode/index.js';
import { SequenceScorer, type TransformerConfig } from '../../engine/models/transformer/index.js';
import { weightedMean } from '../../engine/ops/losses.js';
import { ParameterStore } from '../../engine/parameters.js';
import { accumulateGradients } from '../../engine/train/optimization.js';
import { parseTransformerConfig, transformerTensorShapes } from '../../loader/index.js';
import { expectClose, pseudoRandom, relativeError } from '../support/compare.js';
import { testDevice } from '../support/gpu.js';
import { shiftedTargets, TrainingGraph } from '../parity/training-graph.js';
import { meanLossReference, transformerReference, type Weights } from './reference.js';

interface Sizes {
  heads: number;
  keyValueHeads: number;
  headDimension: number;
  layers: number;
  vocabulary: number;
  tied?: boolean;
}

/** Head counts and dimensions that no recording here has, dimensions that are no multiple of 4 among them. */
const table: Sizes[] = [
  { heads: 1, keyValueHeads: 1, headDimension: 8, layers: 1, vocabulary: 33 },
  { heads: 3, keyValueHeads: 1, headDimension: 6, layers: 2, vocabulary: 41 },
  { heads: 6, keyValueHeads: 3, headDimension: 10, layers: 1, vocabulary: 64 },
  { heads: 5, keyValueHeads: 5, headDimension: 2, layers: 2, vocabulary: 37, tied: true },
  { heads: 4, keyValueHeads: 2, headDimension: 12, layers: 2, vocabulary: 53 },
];

async function makeModel(sizes: Sizes): Promise<{
  config: TransformerConfig;
  parameters: ParameterStore;
  weights: Weights;
}> {
  const hidden = sizes.heads * sizes.headDimension;
  const tokens = Object.fromEntries(
    ['pad', 'bos', 'eos', 'img', 'boi', 'eoi', 'eol', 'eof'].map((name, index) => [`${name}_token_id`, index]),
  );
  const config = parseTransformerConfig(
    JSON.stringify({
      ...tokens,
      vocab_size: sizes.vocabulary,
      hidden_size: hidden,
      intermediate_size: 2 * hidden + 3,
      num_hidden_layers: sizes.layers,
      num_attention_heads: sizes.heads,
      num_key_value_heads: sizes.keyValueHeads,
      max_position_embeddings: 64,
      tie_word_embeddings: sizes.tied ?? false,
    }),
    'test',
  );
  const shapes = transformerTensorShapes(config);
  const parameters = ParameterStore.create(await testDevice(), shapes, { training: true });
  const weights: Record<string, Float64Array> = {};
  let seed = 1;
  for (const [name, shape] of shapes) {
    const count = shape.reduce((product, size) => product * size, 1);
    const isNorm = shape.length === 1;
    const width = isNorm ? 0.3 : name.includes('embed') ? 1 : 2 / Math.sqrt(shape[1]);
    const values = pseudoRandom(count, seed++).map((value) => value * width + (isNorm ? 1 : 0));
    parameters.tensor(name).write(values);
    weights[name] = Float64Array.from(values);
  }
  return { config, parameters, weights };
}

function randomIds(count: number, vocabulary: number, seed: number): Uint32Array {
  return Uint32Array.from(pseudoRandom(count, seed), (value) => Math.floor(((value + 1) / 2) * (vocabulary - 1)));
}

describe.each(table)('$heads heads of $headDimension over $keyValueHeads, $layers layers', (sizes) => {
  it('scores left-padded sequences as the float64 reference does', async () => {
    const { config, parameters, weights } = await makeModel(sizes);
    const [batch, length] = [2, 11];
    const tokens = { batch, length, ids: randomIds(batch * length, sizes.vocabulary, 7), leftPadding: [0, 4] };
    const scorer = await SequenceScorer.create(await testDevice(), config, parameters, { batch, length });
    const { logits } = await scorer.score(tokens);
    const expected = transformerReference(config, weights, tokens);
    for (const [row, padding] of tokens.leftPadding.entries()) {
      const [begin, end] = [row * length + padding, (row + 1) * length].map((place) => place * sizes.vocabulary);
      expectClose(logits.subarray(begin, end), expected.subarray(begin, end), { absolute: 1e-4 }, `row ${row}`);
    }
    scorer.destroy();
    parameters.destroy();
  });

  it('decodes through the cache as it scores whole', async () => {
    const { config, parameters } = await makeModel(sizes);
    const device = await testDevice();
    const prompt = randomIds(9, sizes.vocabulary, 3);
    const decoder = await Decoder.create(device, config, parameters, { sequences: 1, guided: false, capacity: 16 });
    const ids: number[] = [];
    const sequences = [{ prompt, sampling: { seed: 0, temperature: 0 } }];
    for await (const block of decoder.decode({ sequences, newTokens: 5 })) ids.push(...block.ids[0]);
    const { data } = await decoder.lastLogits();
    decoder.destroy();
    const length = prompt.length + 4;
    const scorer = await SequenceScorer.create(device, config, parameters, { batch: 1, length });
    const { logits } = await scorer.score({ ids: [...prompt, ...ids.slice(0, 4)] });
    expectClose(data, logits.subarray((length - 1) * sizes.vocabulary), { absolute: 1e-4 }, 'last logits');
    scorer.destroy();
    parameters.destroy();
  });

  it('has the gradient of the reference along a random direction of every parameter', async () => {
    const { config, parameters, weights } = await makeModel(sizes);
    const [batch, length] = [2, 7];
    const ids = randomIds(batch * length, sizes.vocabulary, 11).map((id) => Math.max(1, id));
    const labels = Int32Array.from(ids, (id, index) => (index % 5 === 3 ? -100 : id));
    const sequences = { batch, length, ids, labels };
    const training = new TrainingGraph(await testDevice());
    const parts = training.sequences(config, parameters, sequences);
    const loss = weightedMean(training.graph, parts.tokenLosses, training.weights(parts, 1, [0, 0]), 'count');
    accumulateGradients(training.graph, parameters, loss);
    const [[value]] = await training.run([loss]);
    training.destroy();
    const targets = shiftedTargets(sequences);
    const lossAt = (changed: Weights): number => {
      const logits = transformerReference(config, changed, { ...sequences, leftPadding: [0, 0] });
      return meanLossReference(logits, targets, sizes.vocabulary);
    };
    expect(Math.abs(value - lossAt(weights))).toBeLessThan(1e-5);
    for (const name of parameters.shapes.keys()) {
      const direction = pseudoRandom(weights[name].length, 99);
      const moved = (step: number): Weights => ({
        ...weights,
        [name]: weights[name].map((weight, index) => weight + step * direction[index]),
      });
      const expected = (lossAt(moved(1e-5)) - lossAt(moved(-1e-5))) / 2e-5;
      const gradient = await parameters.gradient(name).readFloat32();
      const actual = gradient.reduce((sum, slope, index) => sum + slope * direction[index], 0);
      expect(relativeError([actual, 1e-2], [expected, 1e-2]), `${name}: ${actual}, expected ${expected}`).toBeLessThan(
        1e-3,
      );
    }
    parameters.destroy();
  });
});

it('refuses ids, positions and paddings that do not fit', async () => {
  const { config, parameters } = await makeModel(table[0]);
  const scorer = await SequenceScorer.create(await testDevice(), config, parameters, { batch: 1, length: 3 });
  await expect(scorer.score({ ids: [1, 2] })).rejects.toMatchObject({ code: 'shape' });
  await expect(scorer.score({ ids: [1, 2, 33] })).rejects.toMatchObject({ code: 'token' });
  await expect(scorer.score({ ids: [1, NaN, 3] })).rejects.toMatchObject({ code: 'token' });
  await expect(scorer.score({ ids: [1, 2, 3], positions: [0, 1, 3] })).rejects.toMatchObject({ code: 'argument' });
  await expect(scorer.score({ ids: [1, 2, 3], leftPadding: [3] })).rejects.toMatchObject({ code: 'argument' });
  scorer.destroy();
  parameters.destroy();
});
