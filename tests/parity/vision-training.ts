import { Graph, Program } from '../../engine/graph/index.js';
import { accumulateGradients } from '../../engine/train/optimization.js';
import { visionLoss } from '../../engine/train/vision-loss.js';
import { GpuTensor } from '../../engine/tensor.js';
import { loadVisionTokenizer } from '../../loader/load-model.js';
import { exact, failure, l2Norm, same, summary, within, withinNorm, withinRelative, type Check } from './checks.js';
import type { Bench, GoldenCase } from './case.js';
import { channelsFirst, pixelClip } from './layout.js';
import type { RecordedTensors, Recording } from './recording.js';

interface RecordedLosses {
  loss_total: number;
  recon_l2: number;
  codebook: number;
  commitment_unscaled: number;
  beta: number;
  grad_global_norm?: number;
  grad_l2_norm_of_every_parameter?: Record<string, number>;
  analytically_zero_gradients?: string[];
}

const lossTolerance = 1e-4;
const gradientTolerance = 2e-3;
/** Gradients that are zero in exact arithmetic hold rounding noise below this. */
const zeroTolerance = 1e-5;

/** Cases of tokenizer training: each file with `pixel_values`; train mode where it has `updated.*` statistics. */
export async function visionTrainingCases(
  recording: Recording,
  folder: string,
  modelFolder: string,
): Promise<GoldenCase[]> {
  const lossFile = `${folder}/losses.json`;
  recording.claim(lossFile);
  const losses = recording.has(lossFile) ? await recording.json<Record<string, RecordedLosses>>(lossFile) : {};
  const cases: GoldenCase[] = [];
  const seen = new Set<string>();
  for (const path of recording.filesIn(folder, '.safetensors')) {
    const tensors = await recording.tensors(path);
    if (!tensors.has('pixel_values')) continue;
    const subject = path.slice(folder.length + 1).replace(/\.safetensors$/, '');
    seen.add(subject);
    tensors.claim(['pixel_values', 'codes', 'latent', 'reconstruction']);
    tensors.claim(tensors.names.filter((name) => /^(?:grad|updated)\./.test(name)));
    const recorded = Object.hasOwn(losses, subject) ? losses[subject] : undefined;
    cases.push({
      name: `${folder}/${subject}`,
      run: (bench) => checkTraining(bench, recording, modelFolder, tensors, recorded),
    });
  }
  for (const subject of Object.keys(losses)) {
    if (seen.has(subject)) continue;
    const lost = failure('tensors', `losses.json has ${subject}, but there is no ${subject}.safetensors`);
    cases.push({ name: `${folder}/${subject}`, run: () => Promise.resolve([lost]) });
  }
  return cases;
}

async function checkTraining(
  bench: Bench,
  recording: Recording,
  modelFolder: string,
  tensors: RecordedTensors,
  recorded: RecordedLosses | undefined,
): Promise<Check[]> {
  const device = await bench.device();
  const { config, weights } = await loadVisionTokenizer(device, recording.model(modelFolder), { training: true });
  const updated = tensors.names.filter((name) => name.startsWith('updated.'));
  const clip = pixelClip(tensors.get('pixel_values'));
  const shape = [clip.batch, clip.frames, clip.height, clip.width, config.in_channels];
  const input = GpuTensor.from(device, shape, 'f32', clip.data, 'pixels');
  const graph = new Graph(device.traits);
  const context = { graph, ...weights.bind(graph), batchStatistics: updated.length > 0 };
  const result = visionLoss(context, config, graph.bind(input), recorded?.beta);
  accumulateGradients(graph, weights.parameters, result.total);
  const { terms } = result;
  const program = await Program.compile(device, graph, {
    label: 'vision training parity',
    outputs: [result.total, terms.reconstruction, terms.codebook, terms.commitment].concat(
      result.pixels,
      result.latent,
      result.codes,
    ),
  });
  program.run();
  if (context.batchStatistics) weights.countBatch();

  const checks: Check[] = [];
  const codes = tensors.find('codes');
  if (codes) checks.push(exact('codes', await program.output(result.codes).readUint32(), codes.data));
  for (const [name, tensor, tolerance] of [
    ['latent', result.latent, 1e-3],
    ['reconstruction', result.pixels, 2e-3],
  ] as const) {
    const expected = tensors.find(name);
    if (expected === undefined) continue;
    const actual = channelsFirst(await program.output(tensor).readFloat32(), tensor.shape);
    checks.push(within(name, actual, expected.data, tolerance));
  }
  if (recorded) {
    for (const [name, tensor, expected] of [
      ['loss_total', result.total, recorded.loss_total],
      ['recon_l2', terms.reconstruction, recorded.recon_l2],
      ['codebook', terms.codebook, recorded.codebook],
      ['commitment_unscaled', terms.commitment, recorded.commitment_unscaled],
    ] as const) {
      const [actual] = await program.output(tensor).readFloat32();
      checks.push(withinRelative(name, actual, expected, lossTolerance));
    }
  }
  const gradient = (name: string): Promise<Float32Array> => weights.parameters.gradient(name).readFloat32();
  checks.push(...(await checkGradients(tensors, recorded, gradient, [...weights.parameters.shapes.keys()])));
  const statistics: Check[] = [];
  for (const key of updated) {
    const name = key.slice('updated.'.length);
    const expected = tensors.get(key).data;
    const counter = weights.batchesTracked.get(name);
    if (counter !== undefined) statistics.push(same(name, counter, expected[0]));
    else {
      const scale = Math.max(1, ...Array.from(expected, Math.abs));
      statistics.push(within(name, await weights.read(name), expected, 1e-4 * scale));
    }
  }
  if (updated.length > 0) checks.push(summary('updated statistics', statistics));
  program.destroy();
  input.destroy();
  weights.destroy();
  return checks;
}

async function checkGradients(
  tensors: RecordedTensors,
  recorded: RecordedLosses | undefined,
  gradient: (name: string) => Promise<Float32Array>,
  parameters: readonly string[],
): Promise<Check[]> {
  const zeros = new Set(recorded?.analytically_zero_gradients);
  const checks: Check[] = [];
  const full: Check[] = [];
  for (const key of tensors.names.filter((name) => name.startsWith('grad.'))) {
    const name = key.slice('grad.'.length);
    const expected = tensors.get(key).data;
    const actual = await gradient(name);
    const isZero = zeros.has(name) || l2Norm(expected) < zeroTolerance;
    full.push(
      isZero ? within(name, actual, expected, zeroTolerance) : withinNorm(name, actual, expected, gradientTolerance),
    );
  }
  if (full.length > 0) checks.push(summary('gradients', full));
  const norms = recorded?.grad_l2_norm_of_every_parameter;
  if (norms === undefined) return checks;
  let squares = 0;
  const normChecks: Check[] = [];
  const zeroChecks: Check[] = [];
  for (const name of parameters) {
    const actual = await gradient(name);
    squares += l2Norm(actual) ** 2;
    if (zeros.has(name)) zeroChecks.push(within(name, actual, new Float32Array(actual.length), zeroTolerance));
    else if (!Object.hasOwn(norms, name)) normChecks.push(failure(name, 'no norm was recorded'));
    else normChecks.push(withinRelative(name, l2Norm(actual), norms[name], gradientTolerance, zeroTolerance));
  }
  checks.push(summary('norm of every gradient', normChecks));
  checks.push(same('parameters with a recorded norm', Object.keys(norms).length, parameters.length));
  if (zeroChecks.length > 0) checks.push(summary('analytically zero gradients', zeroChecks));
  if (recorded?.grad_global_norm !== undefined) {
    checks.push(withinRelative('grad_global_norm', Math.sqrt(squares), recorded.grad_global_norm, gradientTolerance));
  }
  return checks;
}
