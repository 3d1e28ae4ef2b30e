import type { GoldenCase } from './case.js';
import { checkConstraint, checkSizes } from './grammar.js';
import { checkGreedy, greedyNames, isGreedy } from './greedy.js';
import { checkPrompts, type RecordedPrompts } from './prompts.js';
import type { Recording } from './recording.js';
import { specialTokens, type RecordedTokens } from './special.js';

/** Cases of generation, by what each JSON file holds: the grammar, sizes, prompts, or guided greedy decoding. */
export async function generationCases(
  recording: Recording,
  folder: string,
  visionFolder: string,
): Promise<GoldenCase[]> {
  const cases: GoldenCase[] = [];
  for (const path of recording.filesIn(folder, '.json')) {
    const content = await recording.json<Record<string, unknown>>(path);
    const name = path.replace(/\.json$/, '');
    if ('letters' in content && 'sizes' in content) {
      cases.push({ name, run: () => Promise.resolve(checkConstraint(content)) });
    } else if (Object.keys(content).some((key) => /^smart_resize|generate_size|prepare_resize/.test(key))) {
      cases.push({ name, run: () => Promise.resolve(checkSizes(content as Parameters<typeof checkSizes>[0])) });
    } else if ('mode_G' in content || 'mode_U' in content) {
      const prompts: RecordedPrompts = content;
      for (const { image } of prompts.mode_U ?? []) recording.claim(`${folder}/${image}`);
      cases.push({ name, run: (bench) => checkPrompts(bench, recording, folder, prompts) });
    } else if (isGreedy(content) && recording.has(`${name}.safetensors`)) {
      const tensors = await recording.tensors(`${name}.safetensors`);
      tensors.claim(tensors.names.filter((key) => greedyNames.test(key)));
      const model = content.model.replace(/\/$/, '');
      const tokens = content.tokens ?? (await recording.json<RecordedTokens>(`${model}/tokens.json`));
      const special = specialTokens(tokens);
      cases.push({ name, run: (bench) => checkGreedy(bench, tensors, content, special, visionFolder) });
    } else continue;
    recording.claim(path);
  }
  return cases;
}
