import { SequenceScorer } from '../../engine/models/transformer/index.js';
import type { SequenceActivations, SequenceScores } from '../../engine/models/transformer/index.js';
import { headDimension } from '../../engine/models/transformer/index.js';
import { rotaryFrequencies } from '../../kernels/rotary/index.js';
import type { Emu3Config, RopeScaling } from '../../loader/index.js';
import { failure, within, withinNorm, type Check } from './checks.js';
import type { Bench, GoldenCase } from './case.js';
import { isModelFile, type RecordedTensor, type RecordedTensors, type Recording } from './recording.js';

const logitTolerance = 2e-3;
const hiddenTolerance = 1e-3;

interface RopeCase {
  rope_scaling: RopeScaling;
  max_position_embeddings?: number;
}

/** Recorded token batch: where the mask is 1 the recording means something. */
interface Inputs {
  readonly batch: number;
  readonly length: number;
  readonly ids: ArrayLike<number>;
  readonly mask: ArrayLike<number>;
  readonly positions: ArrayLike<number> | undefined;
}

/**
 * Cases of the language model in a folder and its sub-folders with a model: files with `input_ids` are scored whole;
 * `NAME.logits_tail` with an entry in the JSON beside it is a rotary scaling; `f32_compute.*` is the same input through
 * the sub-folder's own weights.
 */
export async function languageCases(recording: Recording, folder: string): Promise<GoldenCase[]> {
  const cases: GoldenCase[] = [];
  const models = recording.files
    .filter((path) => path.startsWith(`${folder}/`) && path.endsWith('/config.json'))
    .map((path) => path.slice(0, -'/config.json'.length));
  let inputs: RecordedTensors | undefined;
  for (const model of models.sort()) {
    recording.claimModel(model);
    for (const path of recording.filesIn(model, '.safetensors')) {
      if (isModelFile(path)) continue;
      const tensors = await recording.tensors(path);
      const name = path.replace(/\.safetensors$/, '');
      if (tensors.has('input_ids') && tensors.names.some((key) => /^(?:logits|hidden\.)/.test(key))) {
        inputs ??= tensors;
        tensors.claim(
          tensors.names.filter((key) => /^(?:input_ids|attention_mask|position_ids|logits|top5_.+)$/.test(key)),
        );
        tensors.claim(tensors.names.filter((key) => /^hidden\.(?:embed|norm|layer\.\d+)$/.test(key)));
        cases.push({ name, run: (bench) => checkForward(bench, model, tensors) });
      }
    }
    for (const path of recording.filesIn(model, '.safetensors')) {
      if (isModelFile(path)) continue;
      const tensors = await recording.tensors(path);
      const name = path.replace(/\.safetensors$/, '');
      if (tensors.has('f32_compute.logits_tail') && inputs) {
        tensors.claim(tensors.names.filter((key) => /^f32_compute\.(?:logits_tail|top5_ids)$/.test(key)));
        // Everything computed in bf16: the recording calls it indicative, no engine is held to it.
        tensors.claim(tensors.names.filter((key) => /^b?f16_compute\./.test(key)));
        const shared = inputs;
        cases.push({ name, run: (bench) => checkStoredAsBf16(bench, model, tensors, shared) });
      }
      const json = `${name}.json`;
      if (recording.has(json) && inputs) {
        const entries = await recording.json<Record<string, unknown>>(json);
        const named = typeof entries['inputs'] === 'string' ? entries['inputs'] : undefined;
        const shared = named !== undefined && recording.has(named) ? await recording.tensors(named) : inputs;
        for (const [key, value] of Object.entries(entries)) {
          if (typeof value !== 'object' || value === null || !('rope_scaling' in value)) continue;
          tensors.claim(tensors.names.filter((tensor) => ropeNames.test(tensor) && tensor.startsWith(`${key}.`)));
          recording.claim(json);
          const scaling = value as RopeCase;
          cases.push({
            name: `${name} ${key}`,
            run: (bench) => checkRope(bench, model, tensors, shared, key, scaling),
          });
        }
      }
    }
  }
  return cases;
}

const ropeNames = /\.(?:logits_tail|inv_freq|short_input_ids|short_fresh_logits_last|short_sticky_logits_last)$/;

function inputsOf(tensors: RecordedTensors): Inputs {
  const ids = tensors.get('input_ids');
  const [batch, length] = ids.shape;
  const mask = tensors.find('attention_mask')?.data ?? new Int32Array(ids.data.length).fill(1);
  return { batch, length, ids: ids.data, mask, positions: tensors.find('position_ids')?.data };
}

/** Tokens of padding in front of each row. */
export function leftPaddingOf(mask: ArrayLike<number>, batch: number, length: number): number[] {
  return Array.from({ length: batch }, (_, row) => {
    let padding = 0;
    while (padding < length - 1 && mask[row * length + padding] === 0) padding += 1;
    return padding;
  });
}

/** Runs the model once over a recorded batch, with any change to its config. */
async function score(
  bench: Bench,
  model: string,
  inputs: Inputs,
  change: Partial<Emu3Config> = {},
): Promise<SequenceScores & { config: Emu3Config; activations: SequenceActivations }> {
  const device = await bench.device();
  const loaded = await bench.transformer(model);
  const config = { ...loaded.config, ...change };
  const { batch, length, ids, mask, positions } = inputs;
  const scorer = await SequenceScorer.create(device, config, loaded.parameters, { batch, length });
  const leftPadding = leftPaddingOf(mask, batch, length);
  const scores = await scorer.score({ ids, leftPadding, ...(positions ? { positions } : {}) });
  const activations = await scorer.activations();
  scorer.destroy();
  return { ...scores, activations, config };
}

/** Whether an element of [batch, length, ...] lies at a position with mask 1. */
function attended(inputs: Inputs, elements: number): (index: number) => boolean {
  const each = elements / (inputs.batch * inputs.length);
  return (index) => inputs.mask[Math.floor(index / each)] !== 0;
}

async function checkForward(bench: Bench, model: string, tensors: RecordedTensors): Promise<Check[]> {
  const inputs = inputsOf(tensors);
  const { logits, activations, config } = await score(bench, model, inputs);
  const compare = (what: string, actual: Float32Array, tolerance: number): Check[] => {
    const expected = tensors.find(what);
    if (expected === undefined) return [];
    return [within(what, actual, expected.data, tolerance, attended(inputs, expected.data.length))];
  };
  const checks = [
    ...compare('logits', logits, logitTolerance),
    ...compare('hidden.embed', activations.embeddings, hiddenTolerance),
    ...activations.layers.flatMap((layer, index) => compare(`hidden.layer.${index}`, layer, hiddenTolerance)),
    ...compare('hidden.norm', activations.hidden, hiddenTolerance),
  ];
  for (const name of tensors.names) {
    const layer = Number(/^hidden\.layer\.(\d+)$/.exec(name)?.[1] ?? 0);
    if (layer >= config.num_hidden_layers)
      checks.push(failure(name, `the model has ${config.num_hidden_layers} layers`));
  }
  const ids = tensors.find('top5_ids');
  if (ids) checks.push(...checkTop(inputs, logits, config.vocab_size, ids, tensors.find('top5_logits')));
  if (config.vocab_size * inputs.batch * inputs.length !== logits.length) {
    checks.push(failure('logits', `${logits.length} of them`));
  }
  return checks;
}

/** The largest logits' ids, where neighbours differ by more than the tolerance; recorded logits beside their ids. */
function checkTop(
  inputs: Inputs,
  logits: Float32Array,
  vocabulary: number,
  ids: RecordedTensor,
  recordedLogits: RecordedTensor | undefined,
): Check[] {
  const top = ids.shape[2];
  let wrong = 0;
  let compared = 0;
  const actual = new Float32Array(ids.data.length);
  for (let row = 0; row < inputs.batch * inputs.length; row++) {
    if (inputs.mask[row] === 0) continue;
    const values = logits.subarray(row * vocabulary, (row + 1) * vocabulary);
    const order = Array.from(values.keys()).sort((a, b) => values[b] - values[a]);
    for (let rank = 0; rank < top; rank++) {
      const at = row * top + rank;
      actual[at] = values[ids.data[at]];
      const value = values[order[rank]];
      const isClear =
        (rank === 0 || values[order[rank - 1]] - value > logitTolerance) &&
        (rank + 1 >= vocabulary || value - values[order[rank + 1]] > logitTolerance);
      if (!isClear) continue;
      compared += 1;
      if (order[rank] !== ids.data[at]) wrong += 1;
    }
  }
  const checks: Check[] = [
    {
      what: `top${top}_ids (${compared})`,
      tolerance: `exact where gap > ${logitTolerance}`,
      worst: wrong === 0 ? '0' : `${wrong} differ`,
      pass: wrong === 0 && compared > 0,
    },
  ];
  if (recordedLogits) {
    const counts = attended(inputs, recordedLogits.data.length);
    checks.push(within(`top${top}_logits`, actual, recordedLogits.data, logitTolerance, counts));
  }
  return checks;
}

/** The last positions of [batch, length, vocabulary] against [batch, tail, vocabulary]. */
function checkTail(what: string, inputs: Inputs, logits: Float32Array, expected: RecordedTensor): Check {
  const [batch, tail, vocabulary] = expected.shape;
  const actual = new Float32Array(expected.data.length);
  for (let row = 0; row < batch; row++) {
    const end = (row + 1) * inputs.length * vocabulary;
    actual.set(logits.subarray(end - tail * vocabulary, end), row * tail * vocabulary);
  }
  const counts = (index: number): boolean => {
    const position = Math.floor(index / vocabulary);
    const row = Math.floor(position / tail);
    return inputs.mask[row * inputs.length + inputs.length - tail + (position % tail)] !== 0;
  };
  return within(what, actual, expected.data, logitTolerance, counts);
}

async function checkStoredAsBf16(
  bench: Bench,
  model: string,
  tensors: RecordedTensors,
  shared: RecordedTensors,
): Promise<Check[]> {
  const inputs = inputsOf(shared);
  const { logits, config } = await score(bench, model, inputs);
  const checks = [checkTail('f32_compute.logits_tail', inputs, logits, tensors.get('f32_compute.logits_tail'))];
  const ids = tensors.find('f32_compute.top5_ids');
  if (ids) checks.push(...checkTop(inputs, logits, config.vocab_size, ids, undefined));
  return checks;
}

async function checkRope(
  bench: Bench,
  model: string,
  tensors: RecordedTensors,
  shared: RecordedTensors,
  key: string,
  { rope_scaling: scaling, max_position_embeddings: maxPositions }: RopeCase,
): Promise<Check[]> {
  const change = {
    rope_scaling: scaling,
    ...(maxPositions === undefined ? {} : { max_position_embeddings: maxPositions }),
  };
  const inputs = inputsOf(shared);
  const { logits, config } = await score(bench, model, inputs, change);
  const checks: Check[] = [];
  const tail = tensors.find(`${key}.logits_tail`);
  if (tail) checks.push(checkTail(`${key}.logits_tail`, inputs, logits, tail));
  const frequencies = tensors.find(`${key}.inv_freq`);
  if (frequencies) {
    const rotary = {
      headDimension: headDimension(config),
      base: config.rope_theta,
      maxPositions: config.max_position_embeddings,
    };
    // The reference divides positions where we divide frequencies, so its linear table is the plain one.
    const ours = rotaryFrequencies(
      { ...rotary, scaling: scaling.type === 'linear' ? undefined : scaling },
      inputs.length,
    );
    checks.push(withinNorm(`${key}.inv_freq`, ours, frequencies.data, 1e-6));
  }
  const short = tensors.find(`${key}.short_input_ids`);
  const fresh = tensors.find(`${key}.short_fresh_logits_last`);
  if (short && fresh) {
    const [batch, length] = short.shape;
    const mask = new Int32Array(batch * length).fill(1);
    const shortInputs = { batch, length, ids: short.data, mask, positions: undefined };
    const again = await score(bench, model, shortInputs, change);
    const last: RecordedTensor = { shape: [batch, 1, config.vocab_size], data: fresh.data };
    checks.push(checkTail(`${key}.short_fresh_logits_last`, shortInputs, again.logits, last));
  }
  return checks;
}
