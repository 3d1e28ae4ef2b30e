import { describe, expect, it } from 'vitest';
import { SequenceScorer, type ModelWeights } from '../../engine/models/transformer/index.js';
import { QuantizedParameters } from '../../engine/quantized/index.js';
import { Emu3 } from '../../loader/pipeline/emu3.js';
import { corpusScene } from '../../demos/nano/train/corpus.node.js';
import { variedCaption } from '../../demos/nano/world/captions.js';
import { SeededRandom } from '../../demos/nano/world/random.js';
import { ParameterStore } from '../../engine/parameters.js';
import { diskFolder } from '../../loader/index.node.js';
import { generationPrompts } from '../../tokenizer/index.js';
import { testDevice } from '../support/gpu.js';
import { model, prompts } from './own-pictures.js';

describe('the shipped model with packed weights', () => {
  it('says what it says in f32 to nearly every token of its own pictures', async () => {
    const device = await testDevice();
    const emu3 = await Emu3.load({ device, folder: diskFolder(model) });
    const { parameters, config, tokenizer } = emu3;
    if (!(parameters instanceof ParameterStore)) throw new Error('f32 weights lie in a store');
    // The tokens of 8 pictures tell shares to a percent either way: there are four times as many, of captions of the world.
    const random = new SeededRandom(3);
    const captions = Array.from({ length: 24 }, (_, index) => variedCaption(corpusScene('stills', 555, index), random));
    const requests = [...prompts, ...captions].map((prompt, seed) => ({ prompt, seed, guidance: 1 }));
    const pictures = await emu3.generateBatch(requests);
    const sequences = pictures.map(({ prompt, size, ids }) => {
      const { conditional } = generationPrompts(tokenizer, { prompt, size });
      return { ids: [...conditional, ...ids], first: conditional.length - 1 };
    });
    const shape = { batch: sequences.length, length: Math.max(...sequences.map(({ ids }) => ids.length)) };
    const padded = sequences.flatMap(({ ids }) => [...ids, ...Array<number>(shape.length - ids.length).fill(0)]);

    /** The most probable token behind each token of the pictures, when the tokens before it are given. */
    const choices = async (weights: ModelWeights): Promise<number[]> => {
      const scorer = await SequenceScorer.create(device, config, weights, shape);
      const { logits } = await scorer.score({ ids: padded });
      scorer.destroy();
      return sequences.flatMap(({ ids, first }, row) =>
        Array.from({ length: ids.length - 1 - first }, (_, index) => {
          const from = (row * shape.length + first + index) * config.vocab_size;
          const scores = logits.subarray(from, from + config.vocab_size);
          return scores.reduce((best, score, id) => (score > scores[best] ? id : best), 0);
        }),
      );
    };
    const expected = await choices(parameters);
    expect(expected.length).toBeGreaterThan(2000);
    const agreement: Record<string, number> = {};
    for (const format of ['q8', 'q4'] as const) {
      const packed = await QuantizedParameters.from(device, parameters, { format });
      const found = await choices(packed);
      agreement[format] = found.filter((id, at) => id === expected[at]).length / found.length;
      packed.destroy();
    }
    await emu3.destroy();
    expect(agreement['q8']).toBeGreaterThanOrEqual(0.99);
    expect(agreement['q4']).toBeGreaterThanOrEqual(0.97);
  });
});
