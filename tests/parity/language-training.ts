import { weightedMean } from '../../engine/ops/losses.js';
import { accumulateGradients } from '../../engine/train/optimization.js';
import { TransformerTrainer } from '../../engine/train/transformer-trainer.js';
import type { ParameterStore } from '../../engine/parameters.js';
import { loadTransformer, type LoadedTransformer } from '../../loader/load-model.js';
import {
  failure,
  l2Norm,
  same,
  summary,
  within,
  withinMean,
  withinNorm,
  withinRelative,
  type Check,
} from './checks.js';
import type { Bench, GoldenCase } from './case.js';
import { preferenceCase } from './preference.js';
import { isModelFile, type RecordedTensors, type Recording } from './recording.js';
import { shiftedTargets, TrainingGraph, type LabelledBatch } from './training-graph.js';

export const lossTolerance = 1e-4;
const gradientTolerance = 1e-3;

interface RecordedLosses {
  valid_tokens: number;
  loss_mean: number;
  weighted: {
    vision_weight: number;
    vision_id_range: [number, number];
    sum_w: number;
    sum_w_ce: number;
    loss_div_sum_w: number;
    loss_div_count: number;
  };
  grad_global_norm: number;
  adamw: {
    lr: number;
    betas: [number, number];
    eps: number;
    weight_decay: number;
    clip_max_norm: number;
    steps: number;
    loss_before_each_step: number[];
    loss_after_last_step: number;
    grad_norm_before_clip: number[];
  };
}

/** What the files of a training folder hold. */
interface TrainingFiles {
  batch?: RecordedTensors;
  gradients?: RecordedTensors;
  weightedGradients?: RecordedTensors;
  /** Weights after so many optimiser steps; after the last under `final`. */
  readonly updated: Map<number | 'final', RecordedTensors>;
  pairs?: RecordedTensors;
  pairGradients?: RecordedTensors;
  overrides?: RecordedTensors;
}

/** Cases of transformer training: losses, gradients, AdamW and preference pairs of one small model. */
export async function languageTrainingCases(recording: Recording, folder: string): Promise<GoldenCase[]> {
  if (recording.filesIn(folder).length === 0) return [];
  recording.claimModel(folder);
  const files = await classify(recording, folder);
  const cases: GoldenCase[] = [];
  const { batch, gradients, weightedGradients, updated } = files;
  const lossFile = `${folder}/losses.json`;
  if (batch && recording.has(lossFile)) {
    recording.claim(lossFile);
    const losses = await recording.json<RecordedLosses>(lossFile);
    const start = { recording, folder, batch, losses };
    cases.push({ name: `${folder}/losses`, run: (bench) => checkLosses(bench, start) });
    if (gradients) {
      cases.push({ name: `${folder}/gradients`, run: (bench) => checkGradients(bench, start, gradients, false) });
    }
    if (weightedGradients) {
      const name = `${folder}/weighted gradients`;
      cases.push({ name, run: (bench) => checkGradients(bench, start, weightedGradients, true) });
    }
    cases.push({ name: `${folder}/adamw`, run: (bench) => checkAdamw(bench, start, updated) });
  }
  if (files.pairs) {
    cases.push(...(await preferenceCase(recording, folder, files.pairs, files.pairGradients, files.overrides)));
  }
  return cases;
}

async function classify(recording: Recording, folder: string): Promise<TrainingFiles> {
  const files: TrainingFiles = { updated: new Map() };
  for (const path of recording.filesIn(folder, '.safetensors')) {
    if (isModelFile(path)) continue;
    const tensors = await recording.tensors(path);
    const name = path.slice(folder.length + 1);
    const step = /step_?(\d+)/.exec(name)?.[1];
    if (tensors.has('labels')) {
      files.batch = tensors;
      tensors.claim(['input_ids', 'attention_mask', 'labels', 'logits', 'token_ce', 'token_weight']);
      continue;
    }
    if (tensors.has('chosen_ids')) files.pairs = tensors;
    else if (tensors.names.every((key) => /^dpo(?:_\w+)?\./.test(key))) files.pairGradients = tensors;
    else if (!tensors.names.every((key) => /^(?:model|lm_head)\./.test(key))) continue;
    else if (/grad/.test(name)) files[/weight/.test(name) ? 'weightedGradients' : 'gradients'] = tensors;
    else if (/override|reference/.test(name)) files.overrides = tensors;
    else if (step !== undefined) files.updated.set(Number(step), tensors);
    else if (/final|last|end/.test(name)) files.updated.set('final', tensors);
    else continue;
    tensors.claim(tensors.names);
  }
  return files;
}

interface Start {
  readonly recording: Recording;
  readonly folder: string;
  readonly batch: RecordedTensors;
  readonly losses: RecordedLosses;
}

export function labelledBatch(tensors: RecordedTensors, prefix = ''): LabelledBatch {
  const ids = tensors.get(prefix === '' ? 'input_ids' : `${prefix}ids`);
  const [batch, length] = ids.shape;
  return { batch, length, ids: ids.data, labels: tensors.get(`${prefix}labels`).data };
}

/** A model to train, of its own: nothing of it is shared with other cases. */
export async function trainable(bench: Bench, recording: Recording, folder: string): Promise<LoadedTransformer> {
  return loadTransformer(await bench.device(), recording.model(folder), { training: true });
}

async function checkLosses(bench: Bench, { folder, batch: tensors, losses }: Start): Promise<Check[]> {
  const { config, parameters } = await bench.transformer(folder);
  const batch = labelledBatch(tensors);
  const training = new TrainingGraph(await bench.device());
  const { graph } = training;
  const parts = training.sequences(config, parameters, batch);
  const { weighted } = losses;
  const ones = training.weights(parts, 1, weighted.vision_id_range);
  const weights = training.weights(parts, weighted.vision_weight, weighted.vision_id_range);
  const [logits, tokenLosses, tokenWeights, [mean], [bySum], [byCount]] = await training.run([
    parts.logits,
    parts.tokenLosses,
    weights,
    weightedMean(graph, parts.tokenLosses, ones, 'weight-sum'),
    weightedMean(graph, parts.tokenLosses, weights, 'weight-sum'),
    weightedMean(graph, parts.tokenLosses, weights, 'count'),
  ]);
  training.destroy();
  // Recorded per target: the last place of each row has none.
  const perTarget = (values: Float32Array): Float32Array =>
    values.filter((_, index) => index % batch.length !== batch.length - 1);
  const attended = tensors.find('attention_mask')?.data;
  const checks: Check[] = [];
  const recordedLogits = tensors.find('logits');
  if (recordedLogits) {
    const isAttended = (index: number): boolean => attended?.[Math.floor(index / config.vocab_size)] !== 0;
    checks.push(within('logits', logits, recordedLogits.data, 2e-3, isAttended));
  }
  const recordedTokens = tensors.find('token_ce');
  if (recordedTokens) checks.push(within('token_ce', perTarget(tokenLosses), recordedTokens.data, lossTolerance));
  const targets = shiftedTargets(batch);
  const isLearned = perTarget(Float32Array.from(targets)).map((target) => (target >= 0 ? 1 : 0));
  const recordedWeights = tensors.find('token_weight');
  if (recordedWeights) {
    // Whether ignored places are recorded with a weight makes no difference to a loss.
    const counts = (index: number): boolean => isLearned[index] === 1;
    checks.push(within('token_weight', perTarget(tokenWeights), recordedWeights.data, 1e-6, counts));
  }
  const sum = tokenWeights.reduce((total, weight) => total + weight, 0);
  const weightedSum = tokenLosses.reduce((total, loss, index) => total + loss * tokenWeights[index], 0);
  checks.push(
    same('valid_tokens', targets.filter((target) => target >= 0).length, losses.valid_tokens),
    within('loss_mean', [mean], [losses.loss_mean], lossTolerance),
    within('sum_w', [sum], [weighted.sum_w], lossTolerance),
    within('sum_w_ce / sum_w', [weightedSum / sum], [weighted.sum_w_ce / weighted.sum_w], lossTolerance),
    within('loss_div_sum_w', [bySum], [weighted.loss_div_sum_w], lossTolerance),
    within('loss_div_count', [byCount], [weighted.loss_div_count], lossTolerance),
  );
  return checks;
}

async function checkGradients(
  bench: Bench,
  { recording, folder, batch, losses }: Start,
  recorded: RecordedTensors,
  isWeighted: boolean,
): Promise<Check[]> {
  const { config, parameters } = await trainable(bench, recording, folder);
  const training = new TrainingGraph(await bench.device());
  const parts = training.sequences(config, parameters, labelledBatch(batch));
  const { vision_weight: weight, vision_id_range: range } = losses.weighted;
  const weights = training.weights(parts, isWeighted ? weight : 1, range);
  const loss = weightedMean(training.graph, parts.tokenLosses, weights, 'weight-sum');
  accumulateGradients(training.graph, parameters, loss);
  await training.run([loss]);
  training.destroy();
  const checks = await compareGradients(parameters, recorded, '');
  if (!isWeighted) {
    checks.push(withinRelative('grad_global_norm', await globalNorm(parameters), losses.grad_global_norm, 1e-3));
    const table = await parameters.gradient('model.embed_tokens.weight').readFloat32();
    const hidden = config.hidden_size;
    const padding = table.subarray(config.pad_token_id * hidden, (config.pad_token_id + 1) * hidden);
    checks.push(same('gradient of the padding row', l2Norm(padding), 0));
  }
  parameters.destroy();
  return checks;
}

/** The store's gradients against the recorded tensors with a prefix, all of them. */
export async function compareGradients(
  parameters: ParameterStore,
  recorded: RecordedTensors,
  prefix: string,
): Promise<Check[]> {
  const checks: Check[] = [];
  for (const key of recorded.names) {
    if (!key.startsWith(prefix)) continue;
    const name = key.slice(prefix.length);
    const expected = recorded.get(key).data;
    const actual = await parameters.gradient(name).readFloat32();
    checks.push(withinNorm(name, actual, expected, gradientTolerance));
  }
  return checks;
}

export async function globalNorm(parameters: ParameterStore): Promise<number> {
  let squares = 0;
  for (const name of parameters.shapes.keys()) {
    squares += l2Norm(await parameters.gradient(name).readFloat32()) ** 2;
  }
  return Math.sqrt(squares);
}

async function checkAdamw(
  bench: Bench,
  { recording, folder, batch: tensors, losses }: Start,
  updated: ReadonlyMap<number | 'final', RecordedTensors>,
): Promise<Check[]> {
  const { adamw } = losses;
  const { config, parameters } = await trainable(bench, recording, folder);
  const batch = labelledBatch(tensors);
  const rows = batch.batch * batch.length;
  const trainer = await TransformerTrainer.create(await bench.device(), config, parameters, {
    batch: batch.batch,
    length: batch.length,
    visionWeight: { first: 0, last: 0, weight: 1 },
    dropout: 0,
    seed: 0,
    schedule: { kind: 'constant', peak: adamw.lr },
    maximumNorm: adamw.clip_max_norm,
    hyper: {
      beta1: adamw.betas[0],
      beta2: adamw.betas[1],
      epsilon: adamw.eps,
      weightDecay: adamw.weight_decay,
    },
  });
  const packed = {
    batch: batch.batch,
    length: batch.length,
    ids: Uint32Array.from(batch.ids),
    positions: Uint32Array.from({ length: rows }, (_, row) => row % batch.length),
    start: new Uint32Array(rows),
    targets: shiftedTargets(batch),
    weights: new Float32Array(rows).fill(1),
    documents: batch.batch,
  };
  const checks: Check[] = [];
  const lossBefore: number[] = [];
  const norms: Check[] = [];
  const compared = new Set<number | 'final'>();
  for (let step = 1; step <= adamw.steps; step++) {
    trainer.train([packed]);
    const { loss, gradientNorm } = await trainer.metrics();
    lossBefore.push(loss);
    norms.push(withinRelative(`step ${step}`, gradientNorm, adamw.grad_norm_before_clip[step - 1], gradientTolerance));
    for (const key of step === adamw.steps ? [step, 'final' as const] : [step]) {
      const expected = updated.get(key);
      if (expected === undefined) continue;
      compared.add(key);
      checks.push(...(await compareWeights(parameters, expected, key === 'final' ? 'final' : `step ${key}`)));
    }
  }
  checks.unshift(
    within('loss before each step', lossBefore, adamw.loss_before_each_step, lossTolerance),
    summary('norm before clipping', norms),
  );
  trainer.train([packed]);
  const { loss } = await trainer.metrics();
  checks.push(within('loss after the last step', [loss], [adamw.loss_after_last_step], lossTolerance));
  for (const key of updated.keys()) {
    if (!compared.has(key)) checks.push(failure(`step ${key}`, `there are ${adamw.steps} steps`));
  }
  trainer.destroy();
  parameters.destroy();
  return checks;
}

async function compareWeights(parameters: ParameterStore, expected: RecordedTensors, label: string): Promise<Check[]> {
  const largest: Check[] = [];
  const means: Check[] = [];
  for (const name of expected.names) {
    const actual = await parameters.tensor(name).readFloat32();
    largest.push(within(name, actual, expected.get(name).data, 1e-4));
    means.push(withinMean(name, actual, expected.get(name).data, 2e-6));
  }
  return [summary(`weights after ${label}`, largest), summary(`weights after ${label}, mean`, means)];
}
