import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { SeededRandom } from '../../demos/nano/world/random.js';
import { resumeRun, saveRun, type RunState } from '../../demos/nano/train/run-folder.node.js';
import { SequenceScorer } from '../../engine/models/transformer/index.js';
import type { ParameterStore } from '../../engine/parameters.js';
import {
  packPairs,
  packResponses,
  type PairLayout,
  type PreferenceBatch,
  type PreferencePair,
  type ReferencedPair,
  type TokenResponse,
} from '../../engine/train/preference.js';
import { PreferenceTrainer, type PreferenceTrainerOptions } from '../../engine/train/preference-trainer.js';
import { SequenceLogProbabilities } from '../../engine/train/sequence-log-probabilities.js';
import { loadTransformer } from '../../loader/index.js';
import { diskFolder } from '../../loader/index.node.js';
import { GOLDEN, expectError, inTemporaryFolder, rejection, thrown } from '../loader/support.js';
import { readGolden, readGoldenJson, type GoldenTensor } from '../support/golden.js';
import { expectClose, relativeError, testDevice } from '../support/kernel.js';
import { newStore, tinyTransformer as config, weightsOf } from './support.js';

const layout: PairLayout = { pairs: 2, length: 20, padId: config.pad_token_id, vocabularySize: config.vocab_size };

const defaults: PreferenceTrainerOptions = {
  pairs: layout.pairs,
  length: layout.length,
  beta: 0.1,
  crossEntropy: 1,
  schedule: { kind: 'constant', peak: 2e-3 },
  maximumNorm: 1,
  seed: 5,
};

/** Prompts of a few tokens; what is chosen counts up and what is rejected counts down through the visual ids. */
function pairsOf(count: number, seed: number): PreferencePair[] {
  const random = new SeededRandom(seed);
  return Array.from({ length: count }, () => {
    const promptIds = [config.bos_token_id, ...Array.from({ length: 1 + random.integer(4) }, () => random.integer(20))];
    const run = (step: number): TokenResponse => {
      const start = random.integer(30);
      const length = 5 + random.integer(6);
      const codes = Array.from({ length }, (_, index) => 20 + ((start + 30 + step * index) % 30));
      return { promptIds, responseIds: [...codes, config.eol_token_id, config.eos_token_id] };
    };
    return { chosen: run(1), rejected: run(-1) };
  });
}

async function newTrainer(
  options: Partial<PreferenceTrainerOptions> = {},
): Promise<{ store: ParameterStore; trainer: PreferenceTrainer; destroy: () => void }> {
  const store = await newStore();
  const trainer = await PreferenceTrainer.create(await testDevice(), config, store, { ...defaults, ...options });
  const destroy = (): void => {
    trainer.destroy();
    store.destroy();
  };
  return { store, trainer, destroy };
}

/** The pairs with reference log-probabilities by the weights every test starts from. */
async function referenced(pairs: readonly PreferencePair[], shape: PairLayout = layout): Promise<ReferencedPair[]> {
  const store = await newStore();
  const model = await SequenceLogProbabilities.create(await testDevice(), config, store, {
    batch: 2 * shape.pairs,
    length: shape.length,
  });
  const scored = await model.ofPairs(pairs, shape);
  model.destroy();
  store.destroy();
  return scored;
}

/** Batches of the layout, in order. */
function batchesOf(pairs: readonly ReferencedPair[], shape: PairLayout = layout): PreferenceBatch[] {
  return Array.from({ length: pairs.length / shape.pairs }, (_, index) =>
    packPairs(pairs.slice(index * shape.pairs, (index + 1) * shape.pairs), shape),
  );
}

describe('reference log-probabilities', () => {
  it('are those of the softmax in float64, over the counted tokens of the response', async () => {
    const device = await testDevice();
    const pairs = pairsOf(3, 1);
    const store = await newStore();
    const shape = { batch: 2 * layout.pairs, length: layout.length };
    const scorer = await SequenceScorer.create(device, config, store, shape);
    const model = await SequenceLogProbabilities.create(device, config, store, shape);
    for (const counted of ['response', { first: 20, last: 49 }] as const) {
      const rules: PairLayout = { ...layout, counted };
      const progress: number[] = [];
      const scored = await model.ofPairs(pairs, rules, { onProgress: (done) => progress.push(done) });
      expect(progress).toEqual([2, 3]);
      expect(scored).toHaveLength(3);
      for (const [index, pair] of pairs.entries()) {
        const pair2 = packResponses([pair, pair], rules);
        const { logits } = await scorer.score({ ids: pair2.ids });
        for (const [side, row] of [
          ['chosen', 0],
          ['rejected', layout.pairs],
        ] as const) {
          const { promptIds, responseIds } = pair[side];
          let expected = 0;
          let counts = 0;
          for (let at = 0; at < responseIds.length; at++) {
            const id = responseIds[at];
            if (counted !== 'response' && (id < 20 || id > 49)) continue;
            const from = (row * layout.length + promptIds.length + at - 1) * config.vocab_size;
            const values = Array.from(logits.subarray(from, from + config.vocab_size));
            const highest = Math.max(...values);
            const sum = values.reduce((total, value) => total + Math.exp(value - highest), 0);
            expected += values[id] - highest - Math.log(sum);
            counts += 1;
          }
          expect(counts).toBe(responseIds.length - (counted === 'response' ? 0 : 2));
          expect(Math.abs(scored[index].reference[side] - expected)).toBeLessThan(1e-4);
        }
      }
    }
    expectError(await rejection(model.score(packResponses(pairs.slice(0, 2), { ...layout, length: 24 }))), 'shape');
    expectError(await rejection(model.ofPairs(pairs, layout, { signal: AbortSignal.abort() })), 'aborted');
    scorer.destroy();
    model.destroy();
    store.destroy();
  });

  it('equal the policy bit for bit before the first update, in any company', async () => {
    const pairs = await referenced(pairsOf(5, 2));
    for (const company of [
      [pairs[0], pairs[1]],
      [pairs[4], pairs[2], pairs[3], pairs[1]],
    ]) {
      const { trainer, destroy } = await newTrainer();
      trainer.train(batchesOf(company));
      const metrics = await trainer.metrics();
      expect(metrics).toMatchObject({ step: 1, margin: 0, accuracy: 0 });
      expect(metrics.preferenceLoss).toBeCloseTo(Math.LN2, 6);
      expect(metrics.loss).toBeCloseTo(metrics.preferenceLoss + metrics.crossEntropy, 5);
      destroy();
    }
  });
});

describe('preference training', () => {
  it('has the loss, gradients and figures of the recorded PyTorch step', async () => {
    const device = await testDevice();
    const recorded = readGoldenJson('train/dpo.json') as {
      beta: number;
      sft_lambda: number;
      pairs: number;
      dpo_logits: number[];
      dpo_loss: number;
      sft_ce_on_chosen: number;
      dpo_plus_lambda_sft: number;
      policy_chosen_logps: number[];
      policy_rejected_logps: number[];
      ref_chosen_logps: number[];
      ref_rejected_logps: number[];
      grad_global_norm: Record<'dpo' | 'dpo_sft', number>;
    };
    const files = readGolden('train/dpo.safetensors');
    const rowOf = ({ shape, data }: GoldenTensor, row: number): number[] =>
      data.slice(row * shape[1], (row + 1) * shape[1]);
    const response = (side: 'chosen' | 'rejected', row: number): TokenResponse => {
      const ids = rowOf(files[`${side}_ids`], row);
      const learned = rowOf(files[`${side}_labels`], row).map((label) => label >= 0);
      const [start, end] = [learned.indexOf(true), learned.lastIndexOf(true) + 1];
      return { promptIds: ids.slice(0, start), responseIds: ids.slice(start, end) };
    };
    const pairs = Array.from({ length: recorded.pairs }, (_, row): ReferencedPair => ({
      chosen: response('chosen', row),
      rejected: response('rejected', row),
      reference: { chosen: recorded.ref_chosen_logps[row], rejected: recorded.ref_rejected_logps[row] },
    }));
    const gradients = readGolden('train/dpo_grads.safetensors');
    const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
    for (const [kind, crossEntropy] of [
      ['dpo', 0],
      ['dpo_sft', recorded.sft_lambda],
    ] as const) {
      const model = await loadTransformer(device, diskFolder(join(GOLDEN, 'train')), { training: true });
      const shape: PairLayout = {
        pairs: recorded.pairs,
        length: 24,
        padId: model.config.pad_token_id,
        vocabularySize: model.config.vocab_size,
      };
      const trainer = await PreferenceTrainer.create(device, model.config, model.parameters, {
        ...shape,
        beta: recorded.beta,
        crossEntropy,
        // So small that the weights stay, and the gradients can be computed once more.
        schedule: { kind: 'constant', peak: 1e-20 },
        seed: 1,
      });
      trainer.train([packPairs(pairs, shape)]);
      const metrics = await trainer.metrics();
      const loss = kind === 'dpo' ? recorded.dpo_loss : recorded.dpo_plus_lambda_sft;
      for (const [actual, expected, tolerance] of [
        [metrics.loss, loss, 1e-4],
        [metrics.preferenceLoss, recorded.dpo_loss, 1e-4],
        [metrics.crossEntropy, recorded.sft_ce_on_chosen, 1e-4],
        [metrics.margin, mean(recorded.dpo_logits), 1e-3],
        [metrics.accuracy, mean(recorded.dpo_logits.map((margin) => (margin > 0 ? 1 : 0))), 1e-6],
        [metrics.chosenLogProbability, mean(recorded.policy_chosen_logps), 2e-3],
        [metrics.rejectedLogProbability, mean(recorded.policy_rejected_logps), 2e-3],
        [metrics.gradientNorm / recorded.grad_global_norm[kind], 1, 1e-3],
      ] as const) {
        expect(Math.abs(actual - expected)).toBeLessThan(tolerance);
      }
      trainer.program.run();
      const names = Object.keys(gradients).filter((name) => name.startsWith(`${kind}.`));
      expect(names.length).toBeGreaterThan(2);
      for (const name of names) {
        const gradient = await model.parameters.gradient(name.slice(kind.length + 1)).readFloat32();
        expect(relativeError(gradient, gradients[name].data), name).toBeLessThan(1e-3);
      }
      trainer.destroy();
      model.parameters.destroy();
    }
  });

  it('widens the margins until every pair is won, and creates nothing per step', async () => {
    const device = await testDevice();
    const pairs = await referenced(pairsOf(4, 3));
    const { trainer, destroy } = await newTrainer();
    const batches = batchesOf(pairs);
    trainer.train(batches);
    const first = await trainer.metrics();
    const before = { ...device.counters };
    for (let step = 1; step < 40; step++) trainer.train(batches);
    const last = await trainer.metrics();
    expect(device.counters.buffers).toBe(before.buffers);
    expect(device.counters.bindGroups).toBe(before.bindGroups);
    expect(last).toMatchObject({ step: 40, accuracy: 1, skippedSteps: 0 });
    expect(last.margin).toBeGreaterThan(1);
    expect(last.preferenceLoss).toBeLessThan(0.4);
    expect(last.crossEntropy).toBeLessThan(first.crossEntropy);
    expect(last.chosenLogProbability).toBeGreaterThan(last.rejectedLogProbability);
    destroy();
  });

  it('adds micro-batches up to the gradient of the whole batch', async () => {
    const whole: PairLayout = { ...layout, pairs: 4 };
    const pairs = await referenced(pairsOf(4, 3));
    // References as they are would make every margin 0 and every pair alike.
    const moved = pairs.map(({ reference, ...pair }, index) => ({
      ...pair,
      reference: { chosen: reference.chosen - 5 * index, rejected: reference.rejected + index },
    }));
    const parts = await newTrainer();
    parts.trainer.train(batchesOf(moved));
    const together = await newTrainer({ pairs: 4 });
    together.trainer.train(batchesOf(moved, whole));
    const [inParts, atOnce] = [await parts.trainer.metrics(), await together.trainer.metrics()];
    expect(inParts.accuracy).toBe(0.75);
    for (const [name, value] of Object.entries(atOnce)) {
      expect(Math.abs(inParts[name] - value), name).toBeLessThan(1e-5 * Math.max(1, Math.abs(value)));
    }
    const [a, b] = [await weightsOf(parts.store), await weightsOf(together.store)];
    a.forEach((weights, index) => expectClose(weights, b[index], { absolute: 1e-5 }, `tensor ${index}`));
    parts.destroy();
    together.destroy();
  });

  it('does not see padding: longer sequences give the same step', async () => {
    const results = [];
    for (const length of [20, 41]) {
      const shape: PairLayout = { ...layout, length };
      const pairs = await referenced(pairsOf(2, 6), shape);
      const { trainer, store, destroy } = await newTrainer({ length });
      for (let step = 0; step < 2; step++) trainer.train(batchesOf(pairs, shape));
      results.push({ pairs, metrics: await trainer.metrics(), weights: await weightsOf(store) });
      destroy();
    }
    const [short, long] = results;
    expect(short.metrics.margin).toBeGreaterThan(0);
    short.pairs.forEach(({ reference }, index) => {
      expectClose(
        Object.values(long.pairs[index].reference),
        Object.values(reference),
        { absolute: 1e-4 },
        'reference',
      );
    });
    for (const [name, value] of Object.entries(short.metrics)) {
      expect(Math.abs(long.metrics[name] - value), name).toBeLessThan(1e-4 * Math.max(1, Math.abs(value)));
    }
    short.weights.forEach((weights, index) => {
      expectClose(long.weights[index], weights, { absolute: 1e-5 }, `tensor ${index}`);
    });
  });

  it('counts visual tokens only where told to', async () => {
    const rules: PairLayout = { ...layout, counted: { first: 20, last: 49 } };
    const pairs = pairsOf(2, 7);
    // Ends of rows and of the document, which a grammar forces, may then be anything.
    const others = pairs.map(({ chosen, rejected }): PreferencePair => ({
      chosen: { ...chosen, responseIds: [...Array.from(chosen.responseIds).slice(0, -2), 3, 4] },
      rejected,
    }));
    const results = [];
    for (const variant of [pairs, others]) {
      const { trainer, destroy } = await newTrainer();
      trainer.train(batchesOf(await referenced(variant, rules), rules));
      results.push(await trainer.metrics());
      destroy();
    }
    expect(results[1]).toEqual(results[0]);
    const { sequences } = batchesOf(await referenced(pairs, rules), rules)[0];
    const learned = [...sequences.targets].filter((target) => target >= 0);
    expect(learned.every((id) => id >= 20 && id <= 49)).toBe(true);
    expect(learned).toHaveLength(
      pairs.flatMap(({ chosen, rejected }) => [chosen, rejected]).reduce((sum, r) => sum + r.responseIds.length - 2, 0),
    );
  });

  it('continues from a checkpoint exactly as if it had not stopped, dropout included', async () => {
    const pairs = await referenced(pairsOf(8, 4));
    const draw = (random: SeededRandom): PreferenceBatch[] => batchesOf(random.shuffled(pairs).slice(0, 4));
    const stateOf = (store: ParameterStore, trainer: PreferenceTrainer): RunState => ({
      store,
      optimization: trainer.optimization,
      config: { name: 'preference resume test' },
    });
    await inTemporaryFolder(async (folder) => {
      const run = await newTrainer({ dropout: 0.1 });
      const random = new SeededRandom(21);
      for (let step = 0; step < 3; step++) run.trainer.train(draw(random));
      const state = stateOf(run.store, run.trainer);
      await saveRun(folder, state, { step: 3, dataPosition: 0, randomState: random.save() });
      for (let step = 0; step < 3; step++) run.trainer.train(draw(random));
      const uninterrupted = { metrics: await run.trainer.metrics(), weights: await weightsOf(run.store) };
      run.destroy();

      const resumed = await newTrainer({ dropout: 0.1 });
      const position = await resumeRun(folder, stateOf(resumed.store, resumed.trainer));
      expect(position?.step).toBe(3);
      resumed.trainer.resumeAt(3);
      const draws = new SeededRandom(Number(position?.randomState));
      for (let step = 0; step < 3; step++) resumed.trainer.train(draw(draws));
      expect(await resumed.trainer.metrics()).toEqual(uninterrupted.metrics);
      expect(await weightsOf(resumed.store)).toEqual(uninterrupted.weights);
      resumed.destroy();
    });
  });

  it('takes the same step whether activations are kept or computed again', async () => {
    const pairs = await referenced(pairsOf(2, 3));
    const runs = [];
    for (const recompute of [false, true]) {
      const { store, trainer, destroy } = await newTrainer({ recompute, dropout: 0.1 });
      trainer.train(batchesOf(pairs));
      const { dispatches } = trainer.program;
      runs.push({ metrics: await trainer.metrics(), weights: await weightsOf(store), dispatches });
      destroy();
    }
    expect(runs[1].metrics).toEqual(runs[0].metrics);
    expect(runs[1].weights).toEqual(runs[0].weights);
    expect(runs[1].dispatches).toBeGreaterThan(runs[0].dispatches);
  });
});

describe('pairs that make no sense', () => {
  const [pair, other] = pairsOf(2, 1).map((each) => ({ ...each, reference: { chosen: -1, rejected: -2 } }));
  const withResponse = (responseIds: number[]): ReferencedPair => ({
    ...pair,
    chosen: { ...pair.chosen, responseIds },
  });

  it('are refused by number', () => {
    const pack = (second: ReferencedPair, rules = layout): unknown => thrown(() => packPairs([pair, second], rules));
    expectError(pack(withResponse([])), 'argument', 'pair 1, chosen', 'empty');
    const wordless = { promptIds: [], responseIds: [1] };
    expectError(pack({ ...pair, chosen: wordless, rejected: wordless }), 'argument', 'prompt is empty');
    expectError(pack({ ...pair, rejected: other.rejected }), 'argument', 'pair 1', 'different prompts');
    const prompt = pair.chosen.promptIds.length;
    const long = withResponse(new Array<number>(30).fill(3));
    expectError(pack(long), 'limit', 'pair 1, chosen', `${prompt} tokens`, '30 of response', 'the 20 of');
    expectError(pack(withResponse([60, 61])), 'token', 'Id 61');
    expectError(pack(withResponse([1, -1])), 'token', 'Id -1');
    expectError(pack(withResponse([1, 2]), { ...layout, counted: { first: 20, last: 49 } }), 'argument', 'counts');
    expectError(pack({ ...pair, reference: { chosen: NaN, rejected: 0 } }), 'not-finite', 'pair 1', 'NaN');
    expectError(
      thrown(() => packPairs([pair], layout)),
      'shape',
      '1 pairs, not 2',
    );
  });

  it('fills a sequence to its last place', () => {
    const exact = withResponse(new Array<number>(layout.length - pair.chosen.promptIds.length).fill(3));
    const { sequences } = packPairs([exact, pair], layout);
    expect(sequences.targets[layout.length - 2]).toBe(3);
    expect(sequences.targets[layout.length - 1]).toBeLessThan(0);
  });

  it('do not reach the weights', async () => {
    const { store, trainer, destroy } = await newTrainer();
    const before = await weightsOf(store);
    const batch = packPairs([pair, other], layout);
    expectError(
      thrown(() => trainer.train([])),
      'argument',
      '0 micro-batches',
    );
    const longer = packPairs([pair, other], { ...layout, length: 22 });
    expectError(
      thrown(() => trainer.train([batch, longer])),
      'shape',
      '4 x 22',
    );
    expectError(
      thrown(() => trainer.train([{ ...batch, reference: new Float32Array(3) }])),
      'shape',
      '3 reference',
    );
    expect(trainer.step).toBe(0);
    expect(await weightsOf(store)).toEqual(before);
    destroy();
  });

  it('nor do options out of range', async () => {
    const device = await testDevice();
    const store = await newStore();
    const create = (change: Partial<PreferenceTrainerOptions>): Promise<unknown> =>
      rejection(PreferenceTrainer.create(device, config, store, { ...defaults, ...change }));
    expectError(await create({ beta: 0 }), 'argument', 'beta');
    expectError(await create({ crossEntropy: NaN }), 'argument', 'NaN');
    expectError(await create({ pairs: 0 }), 'argument', '0 pairs');
    store.destroy();
  });
});
