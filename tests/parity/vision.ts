import { Graph, Program, type Tensor } from '../../engine/graph/index.js';
import { decode, encode, type CodeClip, type VisionContext } from '../../engine/models/vision/index.js';
import { quantize } from '../../engine/ops/vector-quantizer.js';
import { GpuTensor } from '../../engine/tensor.js';
import { exact, failure, within, type Check } from './checks.js';
import type { Bench, GoldenCase } from './case.js';
import { channelsBeforeTime, channelsFirst, pixelClip } from './layout.js';
import { isModelFile, type RecordedTensor, type RecordedTensors, type Recording } from './recording.js';

const latentTolerance = 1e-3;
const pixelTolerance = 2e-3;

const encodeNames = ['pixel_values', 'encoder_out', 'latent', 'codes', 'decoded'] as const;

/**
 * Cases of the vision tokenizer: each file with `pixel_values` is encoded, and decoded where there is a picture of the
 * codes; each pair `NAME_codes`, `NAME_decoded` is decoded; names of modules are compared as traces.
 */
export async function visionCases(recording: Recording, folder: string): Promise<GoldenCase[]> {
  const cases: GoldenCase[] = [];
  recording.claimModel(folder);
  for (const path of recording.filesIn(folder, '.safetensors')) {
    if (isModelFile(path)) continue;
    const tensors = await recording.tensors(path);
    const name = path.replace(/\.safetensors$/, '');
    if (tensors.has('pixel_values')) {
      tensors.claim(encodeNames.filter((key) => tensors.has(key)));
      cases.push({ name, run: (bench) => checkEncoding(bench, folder, tensors) });
    }
    const modules = tensors.names.filter((key) => /^(?:encoder|decoder|quant_conv|post_quant_conv)(?:\.|$)/.test(key));
    if (modules.length > 0 && tensors.has('pixel_values')) {
      tensors.claim(modules);
      cases.push({ name: `${name} modules`, run: (bench) => checkModules(bench, folder, tensors, modules) });
    }
    for (const key of tensors.names) {
      const subject = /^(.+)_codes$/.exec(key)?.[1];
      if (subject === undefined || !tensors.has(`${subject}_decoded`)) continue;
      tensors.claim([key, `${subject}_decoded`]);
      cases.push({ name: `${name} ${subject}`, run: (bench) => checkDecoding(bench, folder, tensors, subject) });
    }
  }
  return cases;
}

/** Recorded codes, [B, h, w] of images or [B, T', h, w] of clips. */
export function codeClip({ shape, data }: RecordedTensor): CodeClip {
  const frames = shape.length === 3 ? 1 : shape[1];
  const [height, width] = shape.slice(-2);
  return { batch: shape[0], frames, height, width, codes: Uint32Array.from(data) };
}

async function checkEncoding(bench: Bench, folder: string, tensors: RecordedTensors): Promise<Check[]> {
  const { tokenizer } = await bench.visionTokenizer(folder);
  const pixels = tensors.get('pixel_values');
  const isImage = pixels.shape.length === 4;
  const encoded = await tokenizer.encode(pixelClip(pixels));
  const checks: Check[] = [];
  const codes = tensors.find('codes');
  if (codes) checks.push(exact('codes', encoded.codes, codes.data));
  const { batch, frames, height, width } = encoded;
  for (const [key, data] of [
    ['encoder_out', encoded.encoderOut],
    ['latent', encoded.latent],
  ] as const) {
    const expected = tensors.find(key);
    if (expected === undefined) continue;
    const shape = [batch, frames, height, width, data.length / (batch * frames * height * width)];
    checks.push(within(key, channelsFirst(data, shape), expected.data, latentTolerance));
  }
  const decoded = tensors.find('decoded');
  if (decoded) {
    const out = await tokenizer.decode(codes ? codeClip(codes) : encoded, isImage);
    const shape = [out.batch, out.frames, out.height, out.width, out.data.length / countOf(out)];
    checks.push(within('decoded', channelsFirst(out.data, shape), decoded.data, pixelTolerance));
  }
  if (checks.length === 0) checks.push(failure('outputs', 'there are pixel_values and nothing to compare'));
  return checks;
}

function countOf({ batch, frames, height, width }: Omit<CodeClip, 'codes'>): number {
  return batch * frames * height * width;
}

async function checkDecoding(
  bench: Bench,
  folder: string,
  tensors: RecordedTensors,
  subject: string,
): Promise<Check[]> {
  const { tokenizer } = await bench.visionTokenizer(folder);
  const codes = tensors.get(`${subject}_codes`);
  const out = await tokenizer.decode(codeClip(codes), codes.shape.length === 3);
  const shape = [out.batch, out.frames, out.height, out.width, out.data.length / countOf(out)];
  const expected = tensors.get(`${subject}_decoded`);
  return [within(`${subject}_decoded`, channelsFirst(out.data, shape), expected.data, pixelTolerance)];
}

/** Compares the outputs of inner modules, by their place in the weight names. */
async function checkModules(
  bench: Bench,
  folder: string,
  tensors: RecordedTensors,
  modules: readonly string[],
): Promise<Check[]> {
  const device = await bench.device();
  const { config, weights } = await bench.visionTokenizer(folder);
  const pixels = tensors.get('pixel_values');
  const clip = pixelClip(pixels);
  const shape = [clip.batch, clip.frames, clip.height, clip.width, config.in_channels];
  const input = GpuTensor.from(device, shape, 'f32', clip.data, 'pixels');
  const graph = new Graph(device.traits);
  const traces = new Map<string, Tensor>();
  const context: VisionContext = {
    graph,
    ...weights.bind(graph),
    batchStatistics: false,
    trace: (module, output) => traces.set(module, output),
  };
  const { latent } = encode(context, config, graph.bind(input));
  const { quantized } = quantize(graph, latent, context.parameter('quantize.embedding.weight'));
  decode(context, config, quantized, pixels.shape.length === 4);
  const wanted = modules.flatMap((module) => {
    const trace = traces.get(module);
    return trace === undefined ? [] : [{ module, trace }];
  });
  const program = await Program.compile(device, graph, {
    label: 'traced vision tokenizer',
    outputs: wanted.map(({ trace }) => trace),
  });
  program.run();
  const checks: Check[] = [];
  for (const { module, trace } of wanted) {
    const expected = tensors.get(module);
    const actual = await program.output(trace).readFloat32();
    const tolerance = module.startsWith('decoder') ? pixelTolerance : latentTolerance;
    checks.push(within(module, recordedForm(actual, trace.shape, expected), expected.data, tolerance));
  }
  program.destroy();
  input.destroy();
  return checks;
}

/** 5-D records are [B, C, T, h, w]; 4-D ones hold frame 0 of each clip. */
function recordedForm(actual: Float32Array, shape: readonly number[], expected: RecordedTensor): Float32Array {
  if (expected.shape.length === 5) return channelsBeforeTime(actual, shape);
  const [batch, frames, ...rest] = shape;
  const frame = rest.reduce((product, size) => product * size, 1);
  const first = new Float32Array(Math.min(batch, expected.shape[0]) * frame);
  for (let row = 0; row * frame < first.length; row++) {
    first.set(actual.subarray(row * frames * frame, (row * frames + 1) * frame), row * frame);
  }
  return channelsFirst(first, [first.length / frame, 1, ...rest]);
}
