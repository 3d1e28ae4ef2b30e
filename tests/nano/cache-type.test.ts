import { describe, expect, it } from 'vitest';
import { KeyValueCache } from '../../engine/decode/cache.js';
import type { CacheType } from '../../engine/decode/index.js';
import { Graph, Program } from '../../engine/graph/index.js';
import {
  bindWeights,
  inferenceHead,
  transformerInference,
  transformerRotaryTable,
} from '../../engine/models/transformer/index.js';
import { GpuTensor } from '../../engine/tensor.js';
import { diskFolder } from '../../loader/index.node.js';
import { Emu3 } from '../../loader/pipeline/emu3.js';
import { generationPrompts } from '../../tokenizer/index.js';
import { testDevice } from '../support/gpu.js';
import { model, prompts } from './own-pictures.js';

/** Logits `[place][sequence][vocabulary]` behind each token of sequences of one length, read `step` tokens at a time. */
async function logitsThroughCache(
  { device, config, parameters }: Emu3,
  sequences: readonly (readonly number[])[],
  type: CacheType,
  step: number,
): Promise<Float32Array[][]> {
  const rows = sequences.length;
  const { length } = sequences[0];
  const table = transformerRotaryTable(config, length);
  const tensors = {
    ids: GpuTensor.create(device, [rows * step], 'u32', 'ids'),
    positions: GpuTensor.create(device, [rows * step], 'u32', 'positions'),
    position: GpuTensor.create(device, [rows], 'u32', 'position'),
    start: GpuTensor.create(device, [rows], 'u32', 'start'),
    rotaryTable: GpuTensor.from(device, [length, table.length / length], 'f32', table, 'rotary table'),
  };
  const cache = new KeyValueCache(device, config, { rows, capacity: length, type });
  const graph = new Graph(device.traits);
  const weights = bindWeights(graph, parameters);
  const tokens = {
    ids: graph.bind(tensors.ids),
    positions: graph.bind(tensors.positions),
    rotaryTable: graph.bind(tensors.rotaryTable),
  };
  const places = {
    layers: cache.bind(graph),
    start: graph.bind(tensors.start),
    position: graph.bind(tensors.position),
  };
  const stream = transformerInference(graph, config, weights, tokens, places);
  const logits = inferenceHead(graph, config, weights, stream);
  const program = await Program.compile(device, graph, { label: `${type} cache`, outputs: [logits] });
  const found: Float32Array[][] = [];
  for (let begin = 0; begin < length; begin += step) {
    const at = Array.from({ length: step }, (_, index) => begin + index);
    tensors.ids.write(Uint32Array.from(sequences.flatMap((ids) => at.map((place) => ids[place]))));
    tensors.positions.write(Uint32Array.from(sequences.flatMap(() => at)));
    tensors.position.write(new Uint32Array(rows).fill(begin));
    program.run();
    const data = await program.output(logits).readFloat32();
    at.forEach((_, index) => {
      const vocabulary = config.vocab_size;
      found.push(
        sequences.map((_ids, row) => data.subarray((row * step + index) * vocabulary).subarray(0, vocabulary)),
      );
    });
  }
  program.destroy();
  cache.destroy();
  for (const tensor of Object.values(tensors)) tensor.destroy();
  return found;
}

const likeliest = (scores: Float32Array): number =>
  scores.reduce((best, score, id) => (score > scores[best] ? id : best), 0);

describe('the shipped model over smaller caches', () => {
  it('says what it says over f32 to nearly every token of its own pictures', async () => {
    const device = await testDevice();
    const emu3 = await Emu3.load({ device, folder: diskFolder(model) });
    const requests = prompts.map((prompt, seed) => ({ prompt, seed, guidance: 1 }));
    const pictures = await emu3.generateBatch(requests);
    const whole = pictures.map(({ prompt, size, ids }) => {
      const { conditional } = generationPrompts(emu3.tokenizer, { prompt, size });
      return { ids: [...conditional, ...ids], first: conditional.length - 1 };
    });
    const length = Math.max(...whole.map(({ ids }) => ids.length));
    const sequences = whole.map(({ ids }) => [...ids, ...Array<number>(length - ids.length).fill(0)]);
    const isOfPicture = (place: number, row: number): boolean =>
      place >= whole[row].first && place < whole[row].ids.length - 1;

    // The kernel that reads one token a step, and the one that reads many.
    for (const step of [1, length]) {
      const expected = await logitsThroughCache(emu3, sequences, 'f32', step);
      for (const [type, leastAgreement, largestError] of [
        ['f16', 0.995, 0.05],
        ['q8', 0.99, 0.5],
      ] as const) {
        const found = await logitsThroughCache(emu3, sequences, type, step);
        let [places, agreeing, error] = [0, 0, 0];
        expected.forEach((rows, place) =>
          rows.forEach((scores, row) => {
            if (!isOfPicture(place, row)) return;
            const others = found[place][row];
            places++;
            if (likeliest(scores) === likeliest(others)) agreeing++;
            error = Math.max(error, ...scores.map((score, id) => Math.abs(score - others[id])));
          }),
        );
        expect(places).toBeGreaterThan(500);
        expect(agreeing / places, `${type}, ${step} tokens a step`).toBeGreaterThanOrEqual(leastAgreement);
        expect(error, `${type}, ${step} tokens a step`).toBeLessThan(largestError);
      }
    }

    const halves = await Emu3.load({ device, folder: diskFolder(model), cacheType: 'f16' });
    const same = await halves.generateBatch(requests);
    expect(same.map(({ ids }) => [...ids])).toEqual(pictures.map(({ ids }) => [...ids]));
    await halves.destroy();
    await emu3.destroy();
  });
});
