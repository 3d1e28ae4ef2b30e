import { createHash } from 'node:crypto';
import {
  parseTransformerConfig,
  parseVisionConfig,
  transformerTensorShapes,
  visionTensorShapes,
  type TensorShapes,
} from '../../loader/index.js';
import { failure, same, summary, type Check } from './checks.js';
import type { Bench, GoldenCase } from './case.js';
import type { Recording } from './recording.js';

interface EncodedText {
  text: string;
  ids: number[];
}

/** Cases of the released text tokenizer: lists of texts and their ids. */
export async function textCases(recording: Recording, folder: string): Promise<GoldenCase[]> {
  const cases: GoldenCase[] = [];
  for (const path of recording.filesIn(folder, '.json')) {
    const texts = await recording.json<EncodedText[]>(path);
    if (!Array.isArray(texts) || !texts.every((entry) => 'text' in entry && 'ids' in entry)) continue;
    recording.claim(path);
    cases.push({ name: path.replace(/\.json$/, ''), run: (bench) => checkTexts(bench, texts) });
  }
  return cases;
}

async function checkTexts(bench: Bench, texts: readonly EncodedText[]): Promise<Check[]> {
  const tokenizer = await bench.textTokenizer();
  return [
    summary(
      'ids',
      texts.map(({ text, ids }) => same(text.slice(0, 30), tokenizer.encode(text, { allowSpecial: 'all' }), ids)),
    ),
    summary(
      'text of the ids',
      texts.map(({ text, ids }) => same(text.slice(0, 30), tokenizer.decode(ids), text.normalize('NFC'))),
    ),
  ];
}

interface Manifest {
  files: { path: string; bytes: number; sha256: string }[];
}

/** Cases of the folder itself: its manifest, and the shapes of the released checkpoints. */
export async function folderCases(recording: Recording): Promise<GoldenCase[]> {
  const cases: GoldenCase[] = [];
  if (recording.has('README.md')) recording.claim('README.md');
  if (recording.has('manifest.json')) {
    recording.claim('manifest.json');
    const { files } = await recording.json<Manifest>('manifest.json');
    cases.push({ name: 'manifest', run: () => checkManifest(recording, files) });
  }
  if (recording.has('full-shapes.json')) {
    recording.claim('full-shapes.json');
    const shapes = await recording.json<Record<string, Record<string, number[]> | string>>('full-shapes.json');
    cases.push({ name: 'full-shapes', run: () => Promise.resolve(checkShapes(shapes)) });
  }
  return cases;
}

/** Recordings that were damaged or left out would otherwise pass unseen. Texts may have been edited for people. */
async function checkManifest(recording: Recording, files: Manifest['files']): Promise<Check[]> {
  const checks: Check[] = [];
  for (const { path, sha256 } of files) {
    if (path.endsWith('.md')) continue;
    if (!recording.has(path)) checks.push(failure(path, 'is missing'));
    else {
      const hash = createHash('sha256')
        .update(await recording.bytes(path))
        .digest('hex');
      checks.push(same(path, hash, sha256));
    }
  }
  return [summary('files and their SHA-256', checks)];
}

/** The released configs are the defaults: every tensor must come out in its recorded shape. */
function checkShapes(recorded: Readonly<Record<string, Record<string, number[]> | string>>): Check[] {
  const checks: Check[] = [];
  for (const [model, shapes] of Object.entries(recorded)) {
    if (typeof shapes === 'string') continue;
    const isVision = 'quantize.embedding.weight' in shapes;
    const expected: TensorShapes = isVision
      ? visionTensorShapes(parseVisionConfig('{"model_type": "Emu3VisionVQ"}', model))
      : transformerTensorShapes(parseTransformerConfig('{"model_type": "Emu3"}', model));
    const names = new Set([...expected.keys(), ...Object.keys(shapes)]);
    const counted = [...names].filter((name) => !name.endsWith('.num_batches_tracked'));
    checks.push(
      summary(
        model,
        counted.map((name) => same(name, expected.get(name), shapes[name])),
      ),
    );
  }
  return checks;
}
