import { failure } from './checks.js';
import type { GoldenCase } from './case.js';
import { folderCases, textCases } from './documents.js';
import { generationCases } from './generation.js';
import { languageCases } from './language.js';
import { languageTrainingCases } from './language-training.js';
import { pictureCases } from './pictures.js';
import type { Recording } from './recording.js';
import { tokenCases } from './special.js';
import { visionCases } from './vision.js';
import { visionTrainingCases } from './vision-training.js';

/**
 * Every case of a recording, found by what its files hold. Files and tensors that belong to no known case become cases
 * that fail.
 */
export async function discoverCases(recording: Recording): Promise<GoldenCase[]> {
  const cases = [
    ...(await visionCases(recording, 'vq')),
    ...(await languageCases(recording, 'lm')),
    ...(await languageTrainingCases(recording, 'train')),
    ...(await visionTrainingCases(recording, 'vqtrain', 'vq')),
    ...(await tokenCases(recording, 'lm')),
    ...(await tokenCases(recording, 'train')),
    ...(await generationCases(recording, 'generate', 'vq')),
    ...(await pictureCases(recording, 'image', 'vq')),
    ...(await textCases(recording, 'text')),
    ...(await folderCases(recording)),
  ];
  return [...cases, ...(await unknownCases(recording))];
}

async function unknownCases(recording: Recording): Promise<GoldenCase[]> {
  const unknown = (name: string, message: string): GoldenCase => ({
    name,
    run: () => Promise.resolve([failure('unknown', message)]),
  });
  const cases = recording.unknown.map((path) => unknown(path, 'no known case reads this file'));
  for (const tensors of await recording.openedFiles()) {
    const names = tensors.unknown;
    if (names.length === 0) continue;
    cases.push(unknown(tensors.path, `${names.length} unknown tensors: ${names.slice(0, 5).join(', ')}`));
  }
  return cases;
}
