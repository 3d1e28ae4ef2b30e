import {
  cropCodes,
  normalise,
  padBatch,
  postprocess,
  prepareImage,
  type PixelLimits,
  type RgbImage,
} from '../../tokenizer/index.js';
import { nodeImageCodec } from '../../tokenizer/index.node.js';
import { exact, failure, same, within, type Check } from './checks.js';
import type { Bench, GoldenCase } from './case.js';
import { channelsLastBatch, channelsLastImage } from './layout.js';
import type { RecordedTensor, RecordedTensors, Recording } from './recording.js';

interface RecordedPicture {
  min_pixels: number;
  max_pixels: number;
  spatial_factor: number;
  out_h_w?: number[];
  /** Of pictures padded into one batch, in tokens. */
  shapes?: number[][];
  codes_differing?: number[];
}

/** Bytes may differ by one in fewer than this share of places. */
const resamplerShare = 0.01;

/**
 * Cases of picture processing: each entry of a JSON file with its tensors beside it, `postprocess.*`, and the decoded
 * input. An entry reads `input_NAME.png` where there is one, else `input.png`; with `shapes` it is a padded batch.
 */
export async function pictureCases(recording: Recording, folder: string, visionFolder: string): Promise<GoldenCase[]> {
  const cases: GoldenCase[] = [];
  for (const path of recording.filesIn(folder, '.json')) {
    const tensorPath = path.replace(/\.json$/, '.safetensors');
    if (!recording.has(tensorPath)) continue;
    recording.claim(path);
    const entries = await recording.json<Record<string, RecordedPicture>>(path);
    const tensors = await recording.tensors(tensorPath);
    recording.claim(`${folder}/input.png`);
    const subjects = new Set(tensors.names.flatMap((name) => /^(.+)\.pixel_values$/.exec(name)?.[1] ?? []));
    for (const [subject, entry] of Object.entries(entries)) {
      if (entry.shapes) {
        tensors.claim(tensors.names.filter((name) => name.startsWith(`${subject}.`)));
        const run = (bench: Bench): Promise<Check[]> => checkPadding(bench, visionFolder, tensors, subject, entry);
        cases.push({ name: `${folder}/${subject}`, run });
        continue;
      }
      tensors.claim([`${subject}.pixel_values`, `${subject}.resized_rgb`]);
      recording.claim(pictureFile(recording, folder, subject));
      subjects.delete(subject);
      cases.push({ name: `${folder}/${subject}`, run: () => checkPicture(recording, folder, tensors, subject, entry) });
    }
    for (const subject of subjects) {
      const lost = failure('case', `${path} has no entry ${subject}`);
      cases.push({ name: `${folder}/${subject}`, run: () => Promise.resolve([lost]) });
    }
    for (const name of tensors.names.filter((key) => /^input_\w+$/.test(key))) {
      tensors.claim([name]);
      recording.claim(`${folder}/${name}.png`);
      cases.push({ name: `${folder}/${name}`, run: () => checkInput(recording, folder, tensors.get(name), name) });
    }
    if (tensors.has('postprocess.input')) {
      tensors.claim(['postprocess.input', 'postprocess.rgb']);
      cases.push({ name: `${folder}/postprocess`, run: () => Promise.resolve([checkPostprocess(tensors)]) });
    }
  }
  return cases;
}

function limitsOf({
  min_pixels: minPixels,
  max_pixels: maxPixels,
  spatial_factor: factor,
}: RecordedPicture): PixelLimits {
  return { minPixels, maxPixels, factor };
}

function imageOf({ shape, data }: RecordedTensor): RgbImage {
  return { rgb: Uint8Array.from(data), height: shape[0], width: shape[1] };
}

/** `input_TAG.png` for a case with TAG among the words of its name, else `input.png`. */
function pictureFile(recording: Recording, folder: string, subject: string): string {
  const words = [subject, ...subject.split('_')];
  const own = words.map((word) => `${folder}/input_${word}.png`).find((path) => recording.has(path));
  return own ?? `${folder}/input.png`;
}

async function readPicture(recording: Recording, folder: string, subject: string): Promise<RgbImage> {
  return nodeImageCodec.decodeImage(await recording.bytes(pictureFile(recording, folder, subject)));
}

/** The decoded input file: `input_rgb` is that of input.png, `input_NAME` that of input_NAME.png. */
async function checkInput(
  recording: Recording,
  folder: string,
  expected: RecordedTensor,
  name: string,
): Promise<Check[]> {
  const { rgb, height, width } = await readPicture(recording, folder, name.slice('input_'.length));
  return [same('size', [height, width], expected.shape.slice(0, 2)), exact('bytes', rgb, expected.data)];
}

async function checkPicture(
  recording: Recording,
  folder: string,
  tensors: RecordedTensors,
  subject: string,
  entry: RecordedPicture,
): Promise<Check[]> {
  const prepared = prepareImage(await readPicture(recording, folder, subject), limitsOf(entry));
  const checks: Check[] = [];
  if (entry.out_h_w) checks.push(same('size', [prepared.height, prepared.width], entry.out_h_w));
  const bytes = tensors.find(`${subject}.resized_rgb`);
  const values = tensors.find(`${subject}.pixel_values`);
  if (bytes) {
    checks.push(checkBytes('resized_rgb', prepared.resized.rgb, bytes.data));
    // Values are compared on the recorded bytes, so that a byte off by one does not count twice.
    if (values) checks.push(within('pixel_values', normalise(imageOf(bytes)).data, values.data, 1e-6));
  } else if (values) {
    checks.push(within('pixel_values', prepared.data, values.data, 1e-6));
  }
  if (checks.length === 0) checks.push(failure('outputs', 'nothing was recorded'));
  return checks;
}

function checkBytes(what: string, actual: Uint8Array, expected: ArrayLike<number>): Check {
  let largest = 0;
  let differing = 0;
  for (let index = 0; index < expected.length; index++) {
    const error = Math.abs(actual[index] - expected[index]);
    if (error > 0) differing += 1;
    largest = Math.max(largest, error);
  }
  const pass = actual.length === expected.length && largest <= 1 && differing < resamplerShare * expected.length;
  const worst = `${largest}${differing > 0 ? ` in ${differing} of ${expected.length}` : ''}`;
  return { what, tolerance: 'exact (1 in < 1 %)', worst, pass };
}

function checkPostprocess(tensors: RecordedTensors): Check {
  const { shape, data } = tensors.get('postprocess.input');
  const [height, width] = shape.slice(-2);
  return exact('rgb', postprocess({ data, height, width }).rgb, tensors.get('postprocess.rgb').data);
}

/** Pictures of different size, tokenised alone and in one padded batch. */
async function checkPadding(
  bench: Bench,
  visionFolder: string,
  tensors: RecordedTensors,
  subject: string,
  entry: RecordedPicture,
): Promise<Check[]> {
  const { tokenizer } = await bench.visionTokenizer(visionFolder);
  const inputs = tensors.names.filter((name) => name.startsWith(`${subject}.input`)).sort();
  const images = inputs.map((name) => prepareImage(imageOf(tensors.get(name)), limitsOf(entry)));
  const batch = padBatch(images);
  const padded = await tokenizer.encode(channelsLastBatch(batch));
  const sizes = images.map(({ height, width }) => ({
    height: height / entry.spatial_factor,
    width: width / entry.spatial_factor,
  }));
  const checks: Check[] = [
    same(
      'sizes',
      sizes.map(({ height, width }) => [height, width]),
      entry.shapes,
    ),
  ];
  const differing: number[] = [];
  for (const [index, image] of images.entries()) {
    const alone = await tokenizer.encode(channelsLastImage(image));
    const grid = padded.height * padded.width;
    const own = cropCodes(padded.codes.subarray(index * grid, (index + 1) * grid), padded.width, sizes[index]);
    differing.push(own.filter((code, place) => code !== alone.codes[place]).length);
    const number = inputs[index].slice(`${subject}.input`.length);
    for (const [name, codes] of [
      [`codes_separate${number}`, alone.codes],
      [`codes_padded${number}`, own],
    ] as const) {
      const expected = tensors.find(`${subject}.${name}`);
      if (expected) checks.push(exact(name, codes, expected.data));
    }
  }
  if (entry.codes_differing) checks.push(same('codes that padding changes', differing, entry.codes_differing));
  return checks;
}
