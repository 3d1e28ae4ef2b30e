import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { resumeRun, saveRun, type RunState } from '../../demos/nano/train/run-folder.node.js';
import { initialVisionTensor } from '../../demos/nano/train/initialise.js';
import { SeededRandom } from '../../demos/nano/world/random.js';
import type { Device } from '../../engine/device.js';
import { VisionWeights } from '../../engine/models/vision/index.js';
import type { ParameterStore } from '../../engine/parameters.js';
import { runTraining } from '../../engine/train/loop.js';
import { ignoredTarget, packDocuments, type PackedBatch } from '../../engine/train/packing.js';
import { TransformerTrainer, type TransformerTrainerOptions } from '../../engine/train/transformer-trainer.js';
import { VisionTrainer, type VisionTrainerOptions } from '../../engine/train/vision-trainer.js';
import { visionTensorShapes, type Emu3VisionVQConfig } from '../../loader/index.js';
import { tinyVision } from '../cli/support.js';
import { pseudoRandom, testDevice } from '../support/kernel.js';
import { newStore, tinyTransformer as config, weightsOf } from './support.js';

const trainerOptions: TransformerTrainerOptions = {
  batch: 2,
  length: 24,
  schedule: { kind: 'cosine', peak: 3e-3, warmupSteps: 2, totalSteps: 40 },
  maximumNorm: 1,
  visionWeight: { first: 20, last: 49, weight: 0.5 },
  seed: 5,
};

async function newTransformer(
  options: Partial<TransformerTrainerOptions> = {},
): Promise<{ store: ParameterStore; trainer: TransformerTrainer }> {
  const device = await testDevice();
  const store = await newStore();
  return { store, trainer: await TransformerTrainer.create(device, config, store, { ...trainerOptions, ...options }) };
}

/** Documents that count upwards from a random start: learnable, and different in every step. */
function batches(random: SeededRandom): PackedBatch {
  const next = (): { ids: number[] } => {
    const start = random.integer(12);
    return { ids: Array.from({ length: 5 + random.integer(7) }, (_, index) => (start + index * 2) % 48) };
  };
  return packDocuments(next, { batch: 2, length: 24 }, config.pad_token_id);
}

describe('transformer training', () => {
  it('learns, and creates no buffer and no bind group per step', async () => {
    const device = await testDevice();
    const { store, trainer } = await newTransformer({ dropout: 0 });
    const random = new SeededRandom(8);
    trainer.train([batches(random)]);
    const first = await trainer.metrics();
    const before = { ...device.counters };
    for (let step = 0; step < 39; step++) trainer.train([batches(random)]);
    const last = await trainer.metrics();
    expect(device.counters.buffers).toBe(before.buffers);
    expect(device.counters.bindGroups).toBe(before.bindGroups);
    expect(trainer.step).toBe(40);
    expect(first.loss).toBeGreaterThan(3.8);
    expect(last.loss).toBeLessThan(first.loss - 1);
    trainer.destroy();
    store.destroy();
  });

  it('takes the same step whether activations are kept or computed again, dropout included', async () => {
    const runs = [];
    for (const recompute of [false, true]) {
      const { store, trainer } = await newTransformer({ recompute });
      trainer.train([batches(new SeededRandom(8))]);
      runs.push({ metrics: await trainer.metrics(), weights: await weightsOf(store), memory: trainer.program.memory });
      trainer.destroy();
      store.destroy();
    }
    expect(runs[1].metrics).toEqual(runs[0].metrics);
    expect(runs[1].weights).toEqual(runs[0].weights);
    expect(runs[1].memory.arenaBytes).toBeLessThan(runs[0].memory.arenaBytes);
  });

  it('adds micro-batches up to the gradient of the whole batch', async () => {
    const random = new SeededRandom(9);
    const [a, b] = [batches(random), batches(random)];
    const whole: PackedBatch = {
      batch: 4,
      length: 24,
      documents: a.documents + b.documents,
      ids: Uint32Array.from([...a.ids, ...b.ids]),
      positions: Uint32Array.from([...a.positions, ...b.positions]),
      start: Uint32Array.from([...a.start, ...b.start]),
      targets: Int32Array.from([...a.targets, ...b.targets]),
      weights: Float32Array.from([...a.weights, ...b.weights]),
    };
    const parts = await newTransformer({ dropout: 0 });
    parts.trainer.train([a, b]);
    const together = await newTransformer({ dropout: 0, batch: 4 });
    together.trainer.train([whole]);
    const [inParts, atOnce] = [await parts.trainer.metrics(), await together.trainer.metrics()];
    expect(inParts.loss).toBeCloseTo(atOnce.loss, 5);
    expect(inParts.gradientNorm).toBeCloseTo(atOnce.gradientNorm, 4);
    for (const { store, trainer } of [parts, together]) {
      trainer.destroy();
      store.destroy();
    }
  });

  it('takes a weight of 0 for no target, and equal weights for none', async () => {
    const plain = batches(new SeededRandom(9));
    const masked = plain.weights.map((_, at) => (at % 3 === 0 ? 0 : 1));
    const variants: PackedBatch[] = [
      plain,
      { ...plain, weights: plain.weights.map(() => 2.5) },
      { ...plain, weights: masked },
      { ...plain, targets: plain.targets.map((target, at) => (masked[at] === 0 ? ignoredTarget : target)) },
    ];
    const results = [];
    for (const batch of variants) {
      const { store, trainer } = await newTransformer({ dropout: 0 });
      trainer.train([batch]);
      results.push(await trainer.metrics());
      trainer.destroy();
      store.destroy();
    }
    const [all, scaled, weighted, ignored] = results;
    expect(scaled.loss).toBeCloseTo(all.loss, 5);
    expect(scaled.gradientNorm).toBeCloseTo(all.gradientNorm, 4);
    expect(weighted.loss).toBeCloseTo(ignored.loss, 5);
    expect(weighted.gradientNorm).toBeCloseTo(ignored.gradientNorm, 4);
    expect(Math.abs(weighted.loss - all.loss)).toBeGreaterThan(1e-4);
  });

  it('continues from a checkpoint exactly as if it had not stopped', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'emu3-resume-'));
    try {
      const stateOf = (store: ParameterStore, trainer: TransformerTrainer): RunState => ({
        store,
        optimization: trainer.optimization,
        config: { name: 'resume test' },
      });
      const { store, trainer } = await newTransformer();
      const random = new SeededRandom(21);
      for (let step = 0; step < 3; step++) trainer.train([batches(random)]);
      await saveRun(folder, stateOf(store, trainer), { step: 3, dataPosition: 0, randomState: random.save() });
      for (let step = 0; step < 3; step++) trainer.train([batches(random)]);
      const uninterrupted = { metrics: await trainer.metrics(), weights: await weightsOf(store) };
      trainer.destroy();
      store.destroy();

      const resumed = await newTransformer();
      const position = await resumeRun(folder, stateOf(resumed.store, resumed.trainer));
      expect(position?.step).toBe(3);
      resumed.trainer.resumeAt(3);
      const draws = new SeededRandom(Number(position?.randomState));
      for (let step = 0; step < 3; step++) resumed.trainer.train([batches(draws)]);
      expect(await resumed.trainer.metrics()).toEqual(uninterrupted.metrics);
      expect(await weightsOf(resumed.store)).toEqual(uninterrupted.weights);

      const other = { ...stateOf(resumed.store, resumed.trainer), config: { name: 'another' } };
      await expect(resumeRun(folder, other)).rejects.toMatchObject({ code: 'config' });
      resumed.trainer.destroy();
      resumed.store.destroy();
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it('finishes the step, saves and reports when cancelled', async () => {
    const { store, trainer } = await newTransformer();
    const abort = new AbortController();
    const saved: number[] = [];
    const random = new SeededRandom(4);
    const run = runTraining<readonly PackedBatch[]>(trainer, {
      steps: 100,
      next: () => {
        if (trainer.step === 4) abort.abort();
        return [batches(random)];
      },
      metricsEvery: 2,
      onMetrics: () => undefined,
      checkpointEvery: 3,
      checkpoint: async () => {
        saved.push(trainer.step);
      },
      signal: abort.signal,
    });
    await expect(run).rejects.toMatchObject({ code: 'aborted' });
    expect(saved).toEqual([3, 5]);
    trainer.destroy();
    store.destroy();
  });

  it('stops at a loss that is no number', async () => {
    const { store, trainer } = await newTransformer();
    store.tensor('lm_head.weight').write(new Float32Array(61 * 32).fill(NaN));
    const run = runTraining<readonly PackedBatch[]>(trainer, {
      steps: 5,
      next: () => [batches(new SeededRandom(1))],
      metricsEvery: 1,
      onMetrics: () => undefined,
      checkpointEvery: 100,
      checkpoint: async () => undefined,
    });
    await expect(run).rejects.toMatchObject({ code: 'not-finite' });
    trainer.destroy();
    store.destroy();
  });
});

const visionConfig: Emu3VisionVQConfig = { ...tinyVision, ch_mult: [1, 1], attn_resolutions: [1] };

async function newVisionTrainer(
  options: Partial<VisionTrainerOptions>,
): Promise<{ device: Device; trainer: VisionTrainer; weights: VisionWeights }> {
  const device = await testDevice();
  const shapes = visionTensorShapes(visionConfig);
  const weights = VisionWeights.create(device, shapes, { training: true });
  const random = new SeededRandom(2);
  for (const name of weights.names) weights.write(name, initialVisionTensor(name, shapes.get(name) ?? [], random));
  const trainer = await VisionTrainer.create(device, visionConfig, weights, {
    shapes: [{ batch: 2, frames: 1, height: 8, width: 8 }],
    schedule: { kind: 'constant', peak: 3e-3 },
    maximumNorm: 1,
    reviveEvery: 5,
    reviveBelow: 1,
    reviveUntil: 20,
    seed: 1,
    ...options,
  });
  return { device, trainer, weights };
}

describe('vision tokenizer training', () => {
  it('learns a picture, revives dead codes, and creates nothing per step', async () => {
    const { device, trainer, weights } = await newVisionTrainer({});
    const pixels = pseudoRandom(2 * 8 * 8 * 3, 3).map((value) => Math.sign(value) * 0.8);
    trainer.train({ shape: 0, pixels });
    const first = await trainer.metrics();
    const before = { ...device.counters };
    for (let step = 0; step < 29; step++) trainer.train({ shape: 0, pixels });
    const last = await trainer.metrics();
    expect(device.counters.buffers).toBe(before.buffers);
    expect(device.counters.bindGroups).toBe(before.bindGroups);
    expect(last.reconstruction).toBeLessThan(first.reconstruction * 0.9);
    expect(last.codesUsed).toBeGreaterThan(first.codesUsed);
    trainer.destroy();
    weights.destroy();
  });

  it('leaves the codebook alone before it quantises, then makes all of it of latents', async () => {
    const name = 'quantize.embedding.weight';
    const { trainer, weights } = await newVisionTrainer({
      quantizeFrom: 70,
      schedule: { kind: 'constant', peak: 1e-12 },
    });
    const start = await weights.read(name);
    const pixels = pseudoRandom(2 * 8 * 8 * 3, 3);
    for (let step = 0; step < 6; step++) trainer.train({ shape: 0, pixels });
    const early = await trainer.metrics();
    expect(early).toMatchObject({ loss: early.reconstruction, codebook: 0, commitment: 0, codesUsed: 0 });
    expect(await weights.read(name)).toEqual(start);
    for (let step = 6; step < 70; step++) trainer.train({ shape: 0, pixels });
    // At next to no rate the latents stay what they are, so the 64 codes are copies of the 32 latents of these pictures.
    const filled = await weights.read(name);
    const rowsOf = (values: Float32Array): string[] =>
      Array.from({ length: 64 }, (_, code) =>
        [...values.subarray(4 * code, 4 * code + 4)].map((value) => value.toFixed(4)).join(),
      );
    expect(rowsOf(filled).filter((row) => rowsOf(start).includes(row))).toEqual([]);
    expect(new Set(rowsOf(filled)).size).toBeLessThanOrEqual(32);
    expect(new Set(rowsOf(filled)).size).toBeGreaterThan(16);
    trainer.train({ shape: 0, pixels });
    const quantised = await trainer.metrics();
    expect(quantised.codesUsed).toBeGreaterThan(16);
    expect(quantised.codebook).toBeLessThan(0.02);
    trainer.destroy();
    weights.destroy();
  });
});
