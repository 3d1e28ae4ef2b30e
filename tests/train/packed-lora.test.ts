import { describe, expect, it } from 'vitest';
import { SeededRandom } from '../../demos/nano/world/random.js';
import { resumeRun, saveRun, type RunState } from '../../demos/nano/train/run-folder.node.js';
import { LoraAdapters, withAdapters } from '../../engine/models/transformer/index.js';
import { weightedMean } from '../../engine/ops/losses.js';
import type { ParameterStore } from '../../engine/parameters.js';
import { QuantizedParameters } from '../../engine/quantized/index.js';
import { accumulateGradients } from '../../engine/train/optimization.js';
import { packDocuments, type PackedBatch } from '../../engine/train/packing.js';
import { packPairs, type PairLayout, type PreferencePair } from '../../engine/train/preference.js';
import { PreferenceTrainer, type PreferenceTrainerOptions } from '../../engine/train/preference-trainer.js';
import { SequenceLogProbabilities } from '../../engine/train/sequence-log-probabilities.js';
import { TransformerTrainer, type TransformerTrainerOptions } from '../../engine/train/transformer-trainer.js';
import { expectError, inTemporaryFolder, rejection } from '../loader/support.js';
import { meanLossReference, type Weights } from '../models/reference.js';
import { shiftedTargets, TrainingGraph } from '../parity/training-graph.js';
import { pseudoRandom, relativeError } from '../support/compare.js';
import { testDevice } from '../support/gpu.js';
import {
  hostWeights,
  mergedReference,
  packableConfig as config,
  referenceLogits,
  tinyBase,
  tokens,
  trainedAdapters,
} from '../support/lora.js';
import { packedWords } from '../support/quantized.js';

async function packedBase(format: 'q4' | 'q8' = 'q4'): Promise<QuantizedParameters> {
  const base = await tinyBase({}, config);
  const packed = await QuantizedParameters.from(await testDevice(), base, { format });
  base.destroy();
  return packed;
}

/** Every bit of a packed base. */
async function packedBits({ weights, full }: QuantizedParameters): Promise<ArrayLike<number>[]> {
  const bits: ArrayLike<number>[] = [];
  for (const weight of weights.values()) bits.push(await packedWords(weight));
  return [...bits, ...(await storeBits(full))];
}

async function storeBits(store: ParameterStore): Promise<Uint32Array[]> {
  const bits: Uint32Array[] = [];
  for (const name of store.shapes.keys())
    bits.push(new Uint32Array((await store.tensor(name).readFloat32()).slice().buffer));
  return bits;
}

async function newAdapters(base: QuantizedParameters, seed = 11): Promise<LoraAdapters> {
  const options = { rank: 4, alpha: 8, dropout: 0.1 };
  const adapters = LoraAdapters.create(await testDevice(), base.shapes, options, { training: true });
  adapters.initialise(seed);
  return adapters;
}

const trainerOptions: TransformerTrainerOptions = {
  batch: 2,
  length: 24,
  schedule: { kind: 'cosine', peak: 1e-2, warmupSteps: 2, totalSteps: 30 },
  maximumNorm: 1,
  visionWeight: { first: 20, last: 39, weight: 0.5 },
  seed: 5,
};

async function newTraining(recompute = false) {
  const base = await packedBase();
  const adapters = await newAdapters(base);
  const options = { ...trainerOptions, recompute, adapters };
  const trainer = await TransformerTrainer.create(await testDevice(), config, base, options);
  const destroy = (): void => [trainer, adapters, base].forEach((part) => part.destroy());
  return { base, adapters, trainer, destroy };
}

/** Documents that count upwards from a random start. */
function batch(random: SeededRandom): PackedBatch {
  const next = (): { ids: number[] } => {
    const start = random.integer(12);
    return { ids: Array.from({ length: 5 + random.integer(7) }, (_, index) => 8 + ((start + index * 2) % 32)) };
  };
  return packDocuments(next, { batch: 2, length: 24 }, config.pad_token_id);
}

describe('adapters on a packed base', () => {
  it('have the gradients of the float64 reference along a random direction of every A and B', async () => {
    for (const format of ['q4', 'q8'] as const) {
      const base = await packedBase(format);
      const adapters = await trainedAdapters(base, { rank: 2, alpha: 1 }, { training: true });
      const [baseValues, values] = [await hostWeights(base), await hostWeights(adapters.store)];
      const labelled = { ...tokens, labels: Int32Array.from(tokens.ids, (id, index) => (index % 5 === 3 ? -100 : id)) };
      const training = new TrainingGraph(await testDevice());
      const parts = training.sequences(config, withAdapters(base, adapters), labelled);
      const loss = weightedMean(training.graph, parts.tokenLosses, training.weights(parts, 1, [0, 0]), 'count');
      accumulateGradients(training.graph, adapters.store, loss);
      const [[value]] = await training.run([loss]);
      training.destroy();
      const targets = shiftedTargets(labelled);
      const lossAt = (changed: Weights): number => {
        const logits = referenceLogits(mergedReference(baseValues, adapters, changed), config);
        return meanLossReference(logits, targets, config.vocab_size);
      };
      expect(Math.abs(value - lossAt(values))).toBeLessThan(1e-4);
      // Of q8, which shares all but the unpacking, one layer is enough.
      const names = [...adapters.store.shapes.keys()].filter((name) => format === 'q4' || name.includes('layers.0'));
      for (const name of names) {
        const direction = pseudoRandom(values[name].length, 99);
        const moved = (step: number): Weights => ({
          ...values,
          [name]: values[name].map((weight, index) => weight + step * direction[index]),
        });
        const expected = (lossAt(moved(1e-5)) - lossAt(moved(-1e-5))) / 2e-5;
        const gradient = await adapters.store.gradient(name).readFloat32();
        const actual = gradient.reduce((sum, slope, index) => sum + slope * direction[index], 0);
        expect(Math.abs(expected), name).toBeGreaterThan(1e-4);
        expect(relativeError([actual, 1e-2], [expected, 1e-2]), `${name}: ${actual}, ${expected}`).toBeLessThan(1e-3);
      }
      adapters.destroy();
      base.destroy();
    }
  });

  it('train: the loss falls, the base stays as it was to the bit, and nothing is created per step', async () => {
    const device = await testDevice();
    const { base, trainer, destroy } = await newTraining();
    const untouched = await packedBits(base);
    const random = new SeededRandom(8);
    trainer.train([batch(random)]);
    const first = await trainer.metrics();
    const before = { ...device.counters };
    for (let step = 1; step < 30; step++) trainer.train([batch(random)]);
    const last = await trainer.metrics();
    expect(device.counters.buffers).toBe(before.buffers);
    expect(device.counters.bindGroups).toBe(before.bindGroups);
    expect(last.loss).toBeLessThan(first.loss - 0.5);
    expect(await packedBits(base)).toEqual(untouched);
    destroy();
  });

  it('go on from a checkpoint of theirs exactly as if they had not stopped, activations kept or computed again', async () => {
    await inTemporaryFolder(async (folder) => {
      const stateOf = (adapters: LoraAdapters, trainer: TransformerTrainer): RunState => ({
        store: adapters.store,
        optimization: trainer.optimization,
        config: { name: 'adapters on q4' },
      });
      const run = await newTraining();
      const random = new SeededRandom(21);
      for (let step = 0; step < 2; step++) run.trainer.train([batch(random)]);
      const position = { step: 2, dataPosition: 0, randomState: random.save() };
      await saveRun(folder, stateOf(run.adapters, run.trainer), position);
      for (let step = 0; step < 2; step++) run.trainer.train([batch(random)]);
      const uninterrupted = { metrics: await run.trainer.metrics(), bits: await storeBits(run.adapters.store) };
      run.destroy();

      const resumed = await newTraining(true);
      resumed.adapters.initialise(999);
      const found = await resumeRun(folder, stateOf(resumed.adapters, resumed.trainer));
      resumed.trainer.resumeAt(found?.step ?? 0);
      const draws = new SeededRandom(Number(found?.randomState));
      for (let step = 0; step < 2; step++) resumed.trainer.train([batch(draws)]);
      expect(await resumed.trainer.metrics()).toEqual(uninterrupted.metrics);
      expect(await storeBits(resumed.adapters.store)).toEqual(uninterrupted.bits);
      resumed.destroy();
    });
  });

  it('learn preferences against the base alone', async () => {
    const device = await testDevice();
    const layout: PairLayout = { pairs: 2, length: 12, padId: config.pad_token_id, vocabularySize: config.vocab_size };
    const pairs = Array.from({ length: 2 }, (_, index): PreferencePair => {
      const promptIds = [1, 9 + index];
      const run = (step: number): number[] => Array.from({ length: 6 }, (_, at) => 60 + index * 7 + step * at);
      return { chosen: { promptIds, responseIds: run(1) }, rejected: { promptIds, responseIds: run(-1) } };
    });
    const base = await packedBase();
    const untouched = await packedBits(base);
    const scorer = await SequenceLogProbabilities.create(device, config, base, { batch: 4, length: layout.length });
    const scored = await scorer.ofPairs(pairs, layout);
    scorer.destroy();
    const options: PreferenceTrainerOptions = {
      pairs: layout.pairs,
      length: layout.length,
      beta: 0.1,
      crossEntropy: 0.5,
      schedule: { kind: 'constant', peak: 5e-3 },
      maximumNorm: 1,
      seed: 5,
    };
    const adapters = await newAdapters(base);
    const trainer = await PreferenceTrainer.create(device, config, base, { ...options, adapters });
    trainer.train([packPairs(scored, layout)]);
    // B is zero at first, so the policy is the reference.
    expect(await trainer.metrics()).toMatchObject({ margin: 0, accuracy: 0 });
    for (let step = 0; step < 15; step++) trainer.train([packPairs(scored, layout)]);
    const last = await trainer.metrics();
    expect(last.accuracy).toBe(1);
    expect(last.preferenceLoss).toBeLessThan(0.6);
    expect(await packedBits(base)).toEqual(untouched);
    const alone = await rejection(PreferenceTrainer.create(device, config, base, options));
    expectError(alone, 'argument', 'adapters');
    expectError(
      await rejection(TransformerTrainer.create(device, config, base, trainerOptions)),
      'argument',
      'adapters',
    );
    for (const part of [trainer, adapters, base]) part.destroy();
  });
});
