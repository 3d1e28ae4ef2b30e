import { failure } from './checks.js';
import type { GoldenCase } from './case.js';
import { languageCases } from './language.js';
import { languageTrainingCases } from './language-training.js';
import type { Recording } from './recording.js';
import { visionCases } from './vision.js';
import { visionTrainingCases } from './vision-training.js';

/** Files that describe a recording and hold no case. */
const descriptions = /^README\.md$/;

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
  ];
  for (const path of recording.files) if (descriptions.test(path)) recording.claim(path);
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
