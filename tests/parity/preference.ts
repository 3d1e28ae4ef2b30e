import type { Tensor } from '../../engine/graph/index.js';
import { dpoLoss, segmentSum, weightedLosses, weightedMean } from '../../engine/ops/losses.js';
import { accumulateGradients } from '../../engine/train/optimization.js';
import { loadTransformer, type LoadedTransformer } from '../../loader/load-model.js';
import { same, summary, within, withinRelative, type Check } from './checks.js';
import type { Bench, GoldenCase } from './case.js';
import { compareGradients, globalNorm, labelledBatch, lossTolerance, trainable } from './language-training.js';
import type { RecordedTensors, Recording } from './recording.js';
import { shiftedTargets, TrainingGraph } from './training-graph.js';

const logProbabilityTolerance = 2e-3;

interface RecordedPreference {
  beta: number;
  sft_lambda: number;
  pairs: number;
  chosen_response_tokens: number;
  policy_chosen_logps: number[];
  policy_rejected_logps: number[];
  ref_chosen_logps: number[];
  ref_rejected_logps: number[];
  dpo_logits: number[];
  dpo_loss: number;
  sft_ce_on_chosen: number;
  dpo_plus_lambda_sft: number;
  grad_global_norm?: Record<string, number>;
}

const pairNames = /^(?:chosen|rejected)_(?:ids|labels|mask)$|^(?:policy|ref)_(?:chosen|rejected)$|^dpo_logits$/;

/** The case of preference pairs: the JSON beside their tensors has the losses. */
export async function preferenceCase(
  recording: Recording,
  folder: string,
  pairs: RecordedTensors,
  gradients: RecordedTensors | undefined,
  overrides: RecordedTensors | undefined,
): Promise<GoldenCase[]> {
  const json = pairs.path.replace(/\.safetensors$/, '.json');
  if (!recording.has(json)) return [];
  recording.claim(json);
  const recorded = await recording.json<RecordedPreference>(json);
  pairs.claim(pairs.names.filter((name) => pairNames.test(name)));
  const name = pairs.path.replace(/\.safetensors$/, '');
  return [
    { name, run: (bench) => checkPreference(bench, { recording, folder, pairs, gradients, overrides, recorded }) },
  ];
}

interface Preference {
  readonly recording: Recording;
  readonly folder: string;
  readonly pairs: RecordedTensors;
  readonly gradients: RecordedTensors | undefined;
  readonly overrides: RecordedTensors | undefined;
  readonly recorded: RecordedPreference;
}

const sides = ['chosen', 'rejected'] as const;

async function checkPreference(bench: Bench, preference: Preference): Promise<Check[]> {
  const { recording, folder, pairs, gradients, overrides, recorded } = preference;
  const reference = await loadTransformer(await bench.device(), recording.model(folder));
  for (const name of overrides?.names ?? []) {
    reference.parameters.tensor(name).write(Float32Array.from(overrides?.get(name).data ?? []));
  }
  const referenceSums = await referenceLogProbabilities(bench, reference, pairs);
  reference.parameters.destroy();
  const checks: Check[] = [];
  const compare = (what: string, actual: Float32Array, expected: number[], tolerance: number): void => {
    checks.push(within(what, actual, expected, tolerance));
    const tensor = pairs.find(what.replace('_logps', ''));
    if (tensor) checks.push(within(`${what} tensor`, actual, tensor.data, tolerance));
  };
  compare('ref_chosen_logps', referenceSums[0], recorded.ref_chosen_logps, logProbabilityTolerance);
  compare('ref_rejected_logps', referenceSums[1], recorded.ref_rejected_logps, logProbabilityTolerance);

  for (const withNextToken of [false, true]) {
    const key = withNextToken ? 'dpo_sft' : 'dpo';
    const policy = await trainable(bench, recording, folder);
    const results = await trainPolicy(bench, policy, preference, referenceSums, withNextToken);
    if (withNextToken) {
      checks.push(
        within('sft_ce_on_chosen', results.nextToken, [recorded.sft_ce_on_chosen], lossTolerance),
        within('dpo_plus_lambda_sft', results.total, [recorded.dpo_plus_lambda_sft], lossTolerance),
      );
    } else {
      compare('policy_chosen_logps', results.chosen, recorded.policy_chosen_logps, logProbabilityTolerance);
      compare('policy_rejected_logps', results.rejected, recorded.policy_rejected_logps, logProbabilityTolerance);
      // Four log-probabilities, times beta.
      compare('dpo_logits', results.margins, recorded.dpo_logits, 4 * recorded.beta * logProbabilityTolerance);
      checks.push(
        within('dpo_loss', results.total, [recorded.dpo_loss], lossTolerance),
        same('pairs', results.margins.length, recorded.pairs),
        same('chosen_response_tokens', results.responseTokens, recorded.chosen_response_tokens),
      );
    }
    if (gradients?.names.some((name) => name.startsWith(`${key}.`))) {
      checks.push(summary(`${key} gradients`, await compareGradients(policy.parameters, gradients, `${key}.`)));
    }
    const norm = recorded.grad_global_norm?.[key];
    if (norm !== undefined) {
      checks.push(withinRelative(`${key} grad_global_norm`, await globalNorm(policy.parameters), norm, 1e-3));
    }
    policy.parameters.destroy();
  }
  return checks;
}

async function referenceLogProbabilities(
  bench: Bench,
  { config, parameters }: LoadedTransformer,
  pairs: RecordedTensors,
): Promise<Float32Array[]> {
  const training = new TrainingGraph(await bench.device());
  const sums = sides.map((side) => {
    const batch = labelledBatch(pairs, `${side}_`);
    const { tokenLosses } = training.sequences(config, parameters, batch);
    return segmentSum(training.graph, tokenLosses, batch.length, -1);
  });
  const values = await training.run(sums);
  training.destroy();
  return values;
}

async function trainPolicy(
  bench: Bench,
  { config, parameters }: LoadedTransformer,
  { pairs, recorded }: Preference,
  referenceSums: readonly Float32Array[],
  withNextToken: boolean,
): Promise<
  Record<'chosen' | 'rejected' | 'margins' | 'nextToken' | 'total', Float32Array> & { responseTokens: number }
> {
  const training = new TrainingGraph(await bench.device());
  const { graph } = training;
  const parts = sides.map((side) => training.sequences(config, parameters, labelledBatch(pairs, `${side}_`)));
  const sums = parts.map(({ tokenLosses }, side) => {
    const { length } = labelledBatch(pairs, `${sides[side]}_`);
    return segmentSum(graph, tokenLosses, length, -1);
  });
  const [referenceChosen, referenceRejected]: readonly Tensor[] = referenceSums.map((values, side) =>
    training.constant([values.length], values, `reference ${sides[side]}`),
  );
  const { loss, margins } = dpoLoss(graph, sums[0], sums[1], referenceChosen, referenceRejected, recorded.beta);
  const weights = training.weights(parts[0], 1, [0, 0]);
  const nextToken = weightedMean(graph, parts[0].tokenLosses, weights, 'count');
  const total = withNextToken
    ? weightedLosses(graph, [
        [1, loss],
        [recorded.sft_lambda, nextToken],
      ])
    : loss;
  accumulateGradients(graph, parameters, total);
  const values = await training.run([sums[0], sums[1], margins, nextToken, total]);
  training.destroy();
  const responseTokens = shiftedTargets(labelledBatch(pairs, 'chosen_')).filter((target) => target >= 0).length;
  return {
    chosen: values[0],
    rejected: values[1],
    margins: values[2],
    nextToken: values[3],
    total: values[4],
    responseTokens,
  };
}
