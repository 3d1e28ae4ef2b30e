import { Decoder, type AllowedRange } from '../../engine/decode/index.js';
import { Graph, Program } from '../../engine/graph/index.js';
import { SequenceScorer } from '../../engine/models/transformer/index.js';
import { guideLogProbabilities, packSamplerState } from '../../engine/ops/sampling.js';
import { GpuTensor } from '../../engine/tensor.js';
import { PrefixGrammar, type IdRange, type Size, type SpecialTokens } from '../../tokenizer/index.js';
import { exact, same, within, type Check } from './checks.js';
import type { Bench } from './case.js';
import { channelsFirst } from './layout.js';
import { leftPaddingOf } from './language.js';
import type { RecordedTensors } from './recording.js';
import type { RecordedTokens } from './special.js';

const logitTolerance = 2e-3;

export interface RecordedGreedy {
  model: string;
  guidance_scale: number;
  height?: number;
  width?: number;
  /** Of each row, where they differ. */
  sizes_h_w?: [number, number][];
  output_ids?: number[];
  image_codes?: number[][];
  /** Special ids; default those of the model's folder. */
  tokens?: RecordedTokens;
}

export function isGreedy(content: object): content is RecordedGreedy {
  return 'guidance_scale' in content && 'model' in content;
}

/** Names of the tensors that a recording of guided greedy decoding may hold. */
export const greedyNames =
  /^(?:(?:negative_)?prompt_ids|prompt_mask|output_ids(?:_without_guidance)?|guided_logits|(?:un)?cond_logits_first\d+|image_codes|decoded_image)$/;

interface Row {
  readonly prompt: number[];
  readonly negativePrompt: number[];
  readonly size: Size;
  readonly output: number[];
}

/** Recorded rows: ids are [L] or [rows, L]. Padding of the conditional side is masked away, that of the other counts. */
function rowsOf(tensors: RecordedTensors, { height = 0, width = 0, sizes_h_w: sizes }: RecordedGreedy): Row[] {
  const split = (name: string): number[][] => {
    const { shape, data } = tensors.get(name);
    const length = shape[shape.length - 1];
    return Array.from({ length: data.length / length }, (_, row) =>
      Array.from(data.subarray(row * length, (row + 1) * length)),
    );
  };
  const prompts = split('prompt_ids');
  const mask = tensors.find('prompt_mask')?.data;
  const padding = mask ? leftPaddingOf(mask, prompts.length, prompts[0].length) : prompts.map(() => 0);
  const negative = split('negative_prompt_ids');
  const outputs = split('output_ids');
  return prompts.map((prompt, row) => ({
    prompt: prompt.slice(padding[row]),
    negativePrompt: negative[row],
    size: sizes ? { height: sizes[row][0], width: sizes[row][1] } : { height, width },
    output: outputs[row],
  }));
}

/** What the grammar allows at each step; a finished row gets padding. */
function allowedRanges({ prompt, size }: Row, special: SpecialTokens, steps: number): AllowedRange[] {
  const grammar = new PrefixGrammar(special, [size]);
  const ids = [...prompt];
  const ranges: AllowedRange[] = [];
  let isFinished = false;
  while (ranges.length < steps) {
    const allowed: IdRange = isFinished ? { first: special.pad, count: 1 } : grammar.allowedIds(0, ids);
    const { first, count } = allowed;
    isFinished ||= first === special.eos;
    ranges.push([first, first + count]);
    ids.push(first);
  }
  return ranges;
}

/** Decodes greedily through the cache and compares ids; compares logits with one pass over the recorded ids. */
export async function checkGreedy(
  bench: Bench,
  tensors: RecordedTensors,
  recorded: RecordedGreedy,
  special: SpecialTokens,
  visionFolder: string,
): Promise<Check[]> {
  const model = recorded.model.replace(/\/$/, '');
  const rows = rowsOf(tensors, recorded);
  const guidance = recorded.guidance_scale;
  const { ids: output, lastLogits } = await decodeRows(bench, model, rows, special, guidance);
  const checks = [exact('output_ids', output.flat(), tensors.get('output_ids').data)];
  if (recorded.output_ids) checks.push(exact('output_ids of the JSON', output.flat(), recorded.output_ids));
  const unguided = tensors.find('output_ids_without_guidance');
  if (unguided) {
    const { ids } = await decodeRows(bench, model, rows, special, undefined);
    checks.push(exact('output_ids_without_guidance', ids.flat(), unguided.data));
  }
  checks.push(...(await checkLogits(bench, model, rows, tensors, guidance, lastLogits)));

  const codes = tensors.find('image_codes');
  if (codes) {
    const found = output[0].filter((id) => id >= special.visualStart && id < special.visualStart + special.visualCount);
    const ours = found.map((id) => id - special.visualStart);
    checks.push(exact('image_codes', ours, codes.data));
    if (recorded.image_codes) checks.push(same('image_codes of the JSON', ours, recorded.image_codes.flat()));
    const picture = tensors.find('decoded_image');
    if (picture) {
      const { tokenizer } = await bench.visionTokenizer(visionFolder);
      const [height, width] = codes.shape.slice(-2);
      const clip = { batch: 1, frames: 1, height, width, codes: Uint32Array.from(ours) };
      const decoded = await tokenizer.decode(clip, true);
      const shape = [1, 1, decoded.height, decoded.width, 3];
      checks.push(within('decoded_image', channelsFirst(decoded.data, shape), picture.data, 2e-3));
    }
  }
  return checks;
}

/** Ids of all rows, and the logits that the last of them was chosen from: all rows, then their negative prompts. */
async function decodeRows(
  bench: Bench,
  model: string,
  rows: readonly Row[],
  special: SpecialTokens,
  guidance: number | undefined,
): Promise<{ ids: number[][]; lastLogits: Float32Array }> {
  const { config, parameters } = await bench.transformer(model);
  const steps = rows[0].output.length;
  const longest = Math.max(...rows.flatMap(({ prompt, negativePrompt }) => [prompt.length, negativePrompt.length]));
  const decoder = await Decoder.create(await bench.device(), config, parameters, {
    sequences: rows.length,
    guided: guidance !== undefined,
    capacity: longest + steps,
  });
  const sequences = rows.map((row) => ({
    prompt: row.prompt,
    negativePrompt: guidance === undefined ? undefined : row.negativePrompt,
    sampling: { seed: 0, temperature: 0, guidance: guidance ?? 1 },
    allowed: allowedRanges(row, special, steps),
  }));
  const ids = rows.map((): number[] => []);
  for await (const block of decoder.decode({ sequences, newTokens: steps })) {
    block.ids.forEach((found, row) => ids[row].push(...found));
  }
  const { data } = await decoder.lastLogits();
  decoder.destroy();
  return { ids, lastLogits: data };
}

/** Guided and raw logits of every step, from one pass over prompts with the recorded ids behind them. */
async function checkLogits(
  bench: Bench,
  model: string,
  rows: readonly Row[],
  tensors: RecordedTensors,
  guidance: number,
  lastLogits: Float32Array,
): Promise<Check[]> {
  const { config, parameters } = await bench.transformer(model);
  const device = await bench.device();
  const vocabulary = config.vocab_size;
  const steps = rows[0].output.length;
  const sides = [...rows.map(({ prompt }) => prompt), ...rows.map(({ negativePrompt }) => negativePrompt)];
  const length = Math.max(...sides.map((side) => side.length)) + steps;
  const ids = new Uint32Array(sides.length * length);
  sides.forEach((side, index) => ids.set([...side, ...rows[index % rows.length].output], index * length));
  const scorer = await SequenceScorer.create(device, config, parameters, { batch: sides.length, length });
  const { logits } = await scorer.score({ ids });
  scorer.destroy();
  // Step t of a side is predicted at the place before its t-th new token.
  const stepLogits = sides.map((side, index) => {
    const begin = (index * length + side.length - 1) * vocabulary;
    return logits.subarray(begin, begin + steps * vocabulary);
  });
  const last = stepLogits.flatMap((side) => Array.from(side.subarray((steps - 1) * vocabulary)));
  const checks: Check[] = [within('last logits, cached against whole', lastLogits, last, 1e-4)];
  for (const name of tensors.names) {
    const match = /^(un)?cond_logits_first(\d+)$/.exec(name);
    if (!match) continue;
    const expected = tensors.get(name).data;
    const taken = Number(match[2]) * vocabulary;
    const first = match[1] === undefined ? 0 : rows.length;
    // Recorded for one row or for all of them.
    const recordedSides = stepLogits.slice(first, first + Math.round(expected.length / taken));
    const actual = recordedSides.flatMap((side) => Array.from(side.subarray(0, taken)));
    checks.push(within(name, actual, expected, logitTolerance));
  }
  const guided = tensors.find('guided_logits');
  if (guided) {
    const places = guided.data.length / vocabulary;
    const count = Math.round(places / steps);
    const recordedSides = [...stepLogits.slice(0, count), ...stepLogits.slice(rows.length, rows.length + count)];
    const both = Float32Array.from(recordedSides.flatMap((side) => Array.from(side)));
    const graph = new Graph(device.traits);
    const state = packSamplerState(Array.from({ length: places }, () => ({ seed: 0, guidance })));
    const inputs = [
      GpuTensor.from(device, [2 * places, vocabulary], 'f32', both, 'logits'),
      GpuTensor.from(device, [places, state.length / places], 'u32', state, 'sampler state'),
    ];
    const mixed = guideLogProbabilities(graph, graph.bind(inputs[0]), graph.bind(inputs[1]));
    const program = await Program.compile(device, graph, { label: 'guidance', outputs: [mixed] });
    program.run();
    checks.push(within('guided_logits', await program.output(mixed).readFloat32(), guided.data, logitTolerance));
    program.destroy();
    for (const input of inputs) input.destroy();
  }
  return checks;
}
