import { describe, expect, it } from 'vitest';
import { SeededRandom } from '../../demos/nano/world/random.js';
import { resumeRun, saveRun, type RunState } from '../../demos/nano/train/run-folder.node.js';
import { Decoder } from '../../engine/decode/index.js';
import { LoraAdapters, loraTargets, mergeAdapters, withAdapters } from '../../engine/models/transformer/index.js';
import type { LoraOptions } from '../../engine/models/transformer/index.js';
import { weightedMean } from '../../engine/ops/losses.js';
import { ParameterStore } from '../../engine/parameters.js';
import { accumulateGradients } from '../../engine/train/optimization.js';
import { packDocuments, type PackedBatch } from '../../engine/train/packing.js';
import { TransformerTrainer, type TransformerTrainerOptions } from '../../engine/train/transformer-trainer.js';
import { expectError, inTemporaryFolder, rejection, thrown } from '../loader/support.js';
import { meanLossReference, type Weights } from '../models/reference.js';
import { shiftedTargets, TrainingGraph } from '../parity/training-graph.js';
import { expectClose, pseudoRandom, relativeError } from '../support/compare.js';
import { testDevice } from '../support/gpu.js';
import {
  hostWeights,
  logitsOf,
  mergedReference,
  referenceLogits,
  tinyBase,
  tinyConfig,
  tokens,
  trainedAdapters,
} from '../support/lora.js';

/** Every value of a store, for comparison bit by bit. */
async function bitsOf(store: ParameterStore): Promise<Uint32Array[]> {
  const values = [...store.shapes.keys()].map((name) => store.tensor(name).readFloat32());
  return (await Promise.all(values)).map((data) => new Uint32Array(data.buffer, data.byteOffset, data.length));
}

describe('adapters', () => {
  it('begin as the base model, with A spread evenly and the same for the same seed', async () => {
    const base = await tinyBase();
    const options: LoraOptions = { rank: 8, alpha: 16 };
    const make = async (seed: number): Promise<LoraAdapters> => {
      const adapters = LoraAdapters.create(await testDevice(), base.shapes, options);
      adapters.initialise(seed);
      return adapters;
    };
    const [one, same, other] = [await make(3), await make(3), await make(4)];
    expect(one.pairs.size).toBe(2 * loraTargets.length);
    expect(one.store.shapes.get('base_model.model.model.layers.1.mlp.down_proj.lora_A.weight')).toEqual([8, 39]);
    expect(one.store.shapes.get('base_model.model.model.layers.1.mlp.down_proj.lora_B.weight')).toEqual([18, 8]);
    expect(await bitsOf(same.store)).toEqual(await bitsOf(one.store));
    const all: number[] = [];
    for (const { a, b, shape } of one.pairs.values()) {
      const values = await one.store.tensor(a).readFloat32();
      expect(await other.store.tensor(a).readFloat32()).not.toEqual(values);
      expect(new Set(await one.store.tensor(b).readFloat32())).toEqual(new Set([0]));
      all.push(...values.map((value) => value * Math.sqrt(shape[1])));
    }
    // Uniform in [-1, 1]: mean 0 and variance 1/3, here within four standard errors.
    const mean = all.reduce((sum, value) => sum + value, 0) / all.length;
    const square = all.reduce((sum, value) => sum + value * value, 0) / all.length;
    expect(Math.max(...all.map(Math.abs))).toBeLessThanOrEqual(1 + 1e-6);
    expect(Math.abs(mean)).toBeLessThan(4 * Math.sqrt(1 / 3 / all.length));
    expect(Math.abs(square - 1 / 3)).toBeLessThan(4 * Math.sqrt(4 / 45 / all.length));
    expect(await logitsOf(withAdapters(base, one))).toEqual(await logitsOf(base));
    for (const store of [base, one, same, other]) store.destroy();
  });

  it('score as the float64 reference with the products added to the weights', async () => {
    const base = await tinyBase();
    for (const options of [
      { rank: 3, alpha: 7 },
      { rank: 1, alpha: 0.5, targets: ['v_proj', 'down_proj'] as const },
      { rank: 21, alpha: 32, targets: ['k_proj'] as const },
    ]) {
      const adapters = await trainedAdapters(base, options);
      const reference = mergedReference(await hostWeights(base), adapters, await hostWeights(adapters.store));
      const logits = await logitsOf(withAdapters(base, adapters));
      expectClose(logits, referenceLogits(reference), { absolute: 1e-4 }, `rank ${options.rank}`);
      expect(relativeError(logits, await logitsOf(base))).toBeGreaterThan(1e-2);
      adapters.destroy();
    }
    base.destroy();
  });

  it('go on top of any weights that bind themselves, other adapters among them', async () => {
    const base = await tinyBase();
    const below = await trainedAdapters(base, { rank: 2, alpha: 3, targets: ['q_proj', 'gate_proj'] });
    const above = await trainedAdapters(base, { rank: 4, alpha: 1, targets: ['gate_proj', 'o_proj'] });
    const once = mergedReference(await hostWeights(base), below, await hostWeights(below.store));
    const twice = mergedReference(once, above, await hostWeights(above.store));
    const logits = await logitsOf(withAdapters(withAdapters(base, below), above));
    expectClose(logits, referenceLogits(twice), { absolute: 1e-4 }, 'two sets');
    for (const part of [base, below, above]) part.destroy();
  });

  it('decode unmerged as they score whole, a slice of the head included', async () => {
    const device = await testDevice();
    const base = await tinyBase();
    const adapters = await trainedAdapters(base);
    const weights = withAdapters(base, adapters);
    const slice = { first: 9, count: 30 };
    const decoder = await Decoder.create(device, tinyConfig, weights, {
      sequences: 1,
      guided: false,
      capacity: 16,
      slice,
    });
    const prompt = tokens.ids.slice(0, tokens.length);
    const sequences = [{ prompt, sampling: { seed: 0, temperature: 0 } }];
    for await (const { ids } of decoder.decode({ sequences, newTokens: 1 })) expect(ids[0]).toHaveLength(1);
    const { data } = await decoder.lastLogits();
    decoder.destroy();
    const place = (tokens.length - 1) * tinyConfig.vocab_size + slice.first;
    const expected = (await logitsOf(weights)).subarray(place, place + slice.count);
    expectClose(data, expected, { absolute: 1e-4 }, 'last logits');
    adapters.destroy();
    base.destroy();
  });

  it('have the gradients of the float64 reference along a random direction of every A and B', async () => {
    const base = await tinyBase();
    const adapters = await trainedAdapters(base, { rank: 3, alpha: 7 }, { training: true });
    const [baseValues, values] = [await hostWeights(base), await hostWeights(adapters.store)];
    const labels = Int32Array.from(tokens.ids, (id, index) => (index % 5 === 3 ? -100 : id));
    const batch = { ...tokens, labels };
    const training = new TrainingGraph(await testDevice());
    const parts = training.sequences(tinyConfig, withAdapters(base, adapters), batch);
    const loss = weightedMean(training.graph, parts.tokenLosses, training.weights(parts, 1, [0, 0]), 'count');
    accumulateGradients(training.graph, adapters.store, loss);
    const [[value]] = await training.run([loss]);
    training.destroy();
    const targets = shiftedTargets(batch);
    const lossAt = (changed: Weights): number => {
      const logits = referenceLogits(mergedReference(baseValues, adapters, changed));
      return meanLossReference(logits, targets, tinyConfig.vocab_size);
    };
    expect(Math.abs(value - lossAt(values))).toBeLessThan(1e-5);
    for (const name of adapters.store.shapes.keys()) {
      const direction = pseudoRandom(values[name].length, 99);
      const moved = (step: number): Weights => ({
        ...values,
        [name]: values[name].map((weight, index) => weight + step * direction[index]),
      });
      const expected = (lossAt(moved(1e-5)) - lossAt(moved(-1e-5))) / 2e-5;
      const gradient = await adapters.store.gradient(name).readFloat32();
      const actual = gradient.reduce((sum, slope, index) => sum + slope * direction[index], 0);
      expect(Math.abs(expected), name).toBeGreaterThan(1e-4);
      expect(relativeError([actual, 1e-2], [expected, 1e-2]), `${name}: ${actual}, expected ${expected}`).toBeLessThan(
        1e-3,
      );
    }
    adapters.destroy();
    base.destroy();
  });

  it('refuse options outside their ranges and models without their layers', async () => {
    const device = await testDevice();
    const base = await tinyBase();
    const bad: [object, string][] = [
      [{ rank: 0, alpha: 1 }, 'rank'],
      [{ rank: 2.5, alpha: 1 }, 'rank'],
      [{ rank: NaN, alpha: 1 }, 'rank'],
      [{ rank: 2, alpha: 0 }, 'alpha'],
      [{ rank: 2, alpha: Infinity }, 'alpha'],
      [{ rank: 2, alpha: 1, dropout: 1 }, 'dropout'],
      [{ rank: 2, alpha: 1, dropout: NaN }, 'dropout'],
      [{ rank: 2, alpha: 1, targets: [] }, 'targets'],
      [{ rank: 2, alpha: 1, targets: ['q_proj', 'lm_head'] }, 'lm_head'],
    ];
    for (const [options, mention] of bad) {
      const error = thrown(() => LoraAdapters.create(device, base.shapes, { rank: 1, alpha: 1, ...options }));
      expectError(error, 'argument', mention);
    }
    const shapes = new Map([...base.shapes].filter(([name]) => !name.includes('v_proj')));
    expectError(
      thrown(() => LoraAdapters.create(device, shapes, { rank: 1, alpha: 1 })),
      'missing',
      'v_proj',
    );
    base.destroy();
  });
});

const trainerOptions: TransformerTrainerOptions = {
  batch: 2,
  length: 24,
  schedule: { kind: 'cosine', peak: 2e-2, warmupSteps: 2, totalSteps: 40 },
  maximumNorm: 1,
  visionWeight: { first: 20, last: 39, weight: 0.5 },
  seed: 5,
};

/** Documents that count upwards from a random start. */
function batches(random: SeededRandom): PackedBatch {
  const next = (): { ids: number[] } => {
    const start = random.integer(12);
    return { ids: Array.from({ length: 5 + random.integer(7) }, (_, index) => 8 + ((start + index * 2) % 32)) };
  };
  return packDocuments(next, { batch: 2, length: 24 }, tinyConfig.pad_token_id);
}

async function newTraining(
  options: Partial<TransformerTrainerOptions> = {},
  lora: Partial<LoraOptions> = {},
): Promise<{ base: ParameterStore; adapters: LoraAdapters; trainer: TransformerTrainer; destroy: () => void }> {
  const device = await testDevice();
  const base = await tinyBase();
  const adapters = LoraAdapters.create(device, base.shapes, { rank: 4, alpha: 8, ...lora }, { training: true });
  adapters.initialise(11);
  const trainer = await TransformerTrainer.create(device, tinyConfig, base, {
    ...trainerOptions,
    ...options,
    adapters,
  });
  const destroy = (): void => [trainer, adapters, base].forEach((part) => part.destroy());
  return { base, adapters, trainer, destroy };
}

describe('training of adapters', () => {
  it('lowers the loss, leaves the base as it was to the bit, and creates nothing per step', async () => {
    const device = await testDevice();
    const { base, adapters, trainer, destroy } = await newTraining();
    const untouched = await bitsOf(base);
    const random = new SeededRandom(8);
    trainer.train([batches(random)]);
    const first = await trainer.metrics();
    const before = { ...device.counters };
    for (let step = 0; step < 39; step++) trainer.train([batches(random)]);
    const last = await trainer.metrics();
    expect(device.counters.buffers).toBe(before.buffers);
    expect(device.counters.bindGroups).toBe(before.bindGroups);
    expect(last.loss).toBeLessThan(first.loss - 0.5);
    expect(await bitsOf(base)).toEqual(untouched);
    for (const name of adapters.store.shapes.keys()) {
      expect(Math.max(...(await adapters.store.tensor(name).readFloat32()).map(Math.abs)), name).toBeGreaterThan(0);
    }
    destroy();
  });

  it('computes no gradient of the base: a step is less work than one of the whole model', async () => {
    const base = await tinyBase({ training: true });
    const whole = await TransformerTrainer.create(await testDevice(), tinyConfig, base, trainerOptions);
    const { trainer, destroy } = await newTraining({}, { rank: 1 });
    expect(trainer.program.work.flops).toBeLessThan(0.8 * whole.program.work.flops);
    expect(trainer.optimization.program.work.bytes).toBeLessThan(0.5 * whole.optimization.program.work.bytes);
    whole.destroy();
    base.destroy();
    destroy();
  });

  it('takes the same step whether activations are kept or computed again, dropouts included', async () => {
    const runs = [];
    for (const recompute of [false, true]) {
      const { adapters, trainer, destroy } = await newTraining({ recompute, dropout: 0.1 }, { dropout: 0.2 });
      const random = new SeededRandom(8);
      for (let step = 0; step < 2; step++) trainer.train([batches(random)]);
      runs.push({ metrics: await trainer.metrics(), bits: await bitsOf(adapters.store) });
      destroy();
    }
    expect(runs[1]).toEqual(runs[0]);
  });

  it('drops some of what A reads when the adapters say so, and in training only', async () => {
    const runs = [];
    for (const dropout of [0, 0.5]) {
      const { base, adapters, trainer, destroy } = await newTraining({}, { dropout });
      const random = new SeededRandom(8);
      trainer.train([batches(random)]);
      const first = await trainer.metrics();
      trainer.train([batches(random)]);
      const logits = await logitsOf(withAdapters(base, adapters));
      const reference = mergedReference(await hostWeights(base), adapters, await hostWeights(adapters.store));
      expectClose(logits, referenceLogits(reference), { absolute: 1e-4 }, `logits at rate ${dropout}`);
      runs.push({ first, second: await trainer.metrics() });
      destroy();
    }
    const [none, half] = runs;
    // B is zero at first, so what is dropped shows in the gradient and only then in the loss.
    expect(half.first.loss).toBe(none.first.loss);
    expect(Math.abs(half.first.gradientNorm / none.first.gradientNorm - 1)).toBeGreaterThan(0.05);
    expect(half.second.loss).not.toBe(none.second.loss);
  });

  it('continues from a checkpoint of the adapters exactly as if it had not stopped', async () => {
    await inTemporaryFolder(async (folder) => {
      const stateOf = (adapters: LoraAdapters, trainer: TransformerTrainer): RunState => ({
        store: adapters.store,
        optimization: trainer.optimization,
        config: { name: 'adapters', rank: adapters.options.rank },
      });
      const options = [{ dropout: 0.1 }, { dropout: 0.1 }] as const;
      const run = await newTraining(...options);
      const random = new SeededRandom(21);
      for (let step = 0; step < 3; step++) run.trainer.train([batches(random)]);
      const position = { step: 3, dataPosition: 0, randomState: random.save() };
      await saveRun(folder, stateOf(run.adapters, run.trainer), position);
      for (let step = 0; step < 3; step++) run.trainer.train([batches(random)]);
      const uninterrupted = { metrics: await run.trainer.metrics(), bits: await bitsOf(run.adapters.store) };
      run.destroy();

      const resumed = await newTraining(...options);
      resumed.adapters.initialise(999);
      const found = await resumeRun(folder, stateOf(resumed.adapters, resumed.trainer));
      expect(found?.step).toBe(3);
      resumed.trainer.resumeAt(3);
      const draws = new SeededRandom(Number(found?.randomState));
      for (let step = 0; step < 3; step++) resumed.trainer.train([batches(draws)]);
      expect(await resumed.trainer.metrics()).toEqual(uninterrupted.metrics);
      expect(await bitsOf(resumed.adapters.store)).toEqual(uninterrupted.bits);
      resumed.destroy();

      const other = await newTraining({}, { rank: 2 });
      const refused = await rejection(resumeRun(folder, stateOf(other.adapters, other.trainer)));
      expectError(refused, 'config');
      other.destroy();
    });
  });

  it('refuses adapters without gradients, and weights it cannot train', async () => {
    const device = await testDevice();
    const base = await tinyBase();
    const adapters = await trainedAdapters(base);
    const create = (weights: Parameters<typeof TransformerTrainer.create>[2], more = {}): Promise<unknown> =>
      rejection(TransformerTrainer.create(device, tinyConfig, weights, { ...trainerOptions, ...more }));
    expectError(await create(base, { adapters }), 'missing', 'training: true');
    expectError(await create(base), 'missing', 'training: true');
    expectError(await create(withAdapters(base, adapters)), 'argument', 'adapters');
    adapters.destroy();
    base.destroy();
  });
});

describe('merging', () => {
  it('adds (alpha / rank) B A to the weights, to the rounding of f32, and to nothing else', async () => {
    const base = await tinyBase();
    const targets = ['q_proj', 'up_proj', 'down_proj'] as const;
    const adapters = await trainedAdapters(base, { rank: 5, alpha: 3, targets });
    const [before, values] = [await hostWeights(base), await hostWeights(adapters.store)];
    await mergeAdapters(await testDevice(), base, adapters);
    const after = await hostWeights(base);
    const expected = mergedReference(before, adapters, values);
    const magnitudes = (weights: Weights): Weights =>
      Object.fromEntries(Object.entries(weights).map(([name, data]) => [name, data.map(Math.abs)]));
    const sums = mergedReference(magnitudes(before), adapters, magnitudes(values));
    for (const name of base.shapes.keys()) {
      if (!adapters.pairs.has(name)) {
        expect(after[name], name).toEqual(before[name]);
        continue;
      }
      // One rounding of the scaled factor, five products, their sum and the last addition.
      const excess = after[name].map(
        (value, at) => Math.abs(value - expected[name][at]) - 7 * 2 ** -24 * sums[name][at],
      );
      expect(Math.max(...excess), name).toBeLessThanOrEqual(0);
    }
    expect(await hostWeights(adapters.store)).toEqual(values);
    adapters.destroy();
    base.destroy();
  });

  it('gives the logits of the unmerged adapters', async () => {
    const base = await tinyBase();
    const adapters = await trainedAdapters(base);
    const unmerged = await logitsOf(withAdapters(base, adapters));
    await mergeAdapters(await testDevice(), base, adapters);
    const merged = await logitsOf(base);
    expect(relativeError(merged, unmerged)).toBeLessThan(1e-5);
    adapters.destroy();
    base.destroy();
  });

  it('refuses another model before it changes anything', async () => {
    const device = await testDevice();
    const base = await tinyBase();
    const adapters = await trainedAdapters(base);
    const name = 'model.layers.1.mlp.down_proj.weight';
    const transposed = new Map([...base.shapes].map(([key, shape]) => [key, key === name ? [39, 18] : shape]));
    const fewer = new Map([...base.shapes].filter(([key]) => key !== name));
    for (const [shapes, code] of [
      [transposed, 'shape'],
      [fewer, 'missing'],
    ] as const) {
      const other = ParameterStore.create(device, shapes);
      expectError(await rejection(mergeAdapters(device, other, adapters)), code, name);
      const first = await other.tensor('model.layers.0.self_attn.q_proj.weight').readFloat32();
      expect(new Set(first)).toEqual(new Set([0]));
      other.destroy();
    }
    adapters.destroy();
    base.destroy();
  });
});
