import { readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { memoryFolder, type ModelFolder } from '../../loader/index.js';
import { buildTokenizerJson } from '../../tokenizer/index.js';

/** Given twice, so that its pairs are worth merging. */
const corpus = [
  'a red circle on a white square',
  'the green triangle above two blue stars',
  'three yellow hearts beside one purple moon',
  'what is shown in this picture',
  'pack my box with five dozen liquor jugs',
];

type ChangedFiles = Readonly<Record<string, string | undefined>>;

function golden(path: string): Buffer {
  return readFileSync(new URL(`../golden/${path}`, import.meta.url));
}

/**
 * A whole small model: the recorded language model and vision tokenizer, and a tokenizer whose special tokens have the
 * recording's ids. Pictures are 4 x 4 tokens.
 *
 * @param changed files to replace, or with undefined to leave out.
 */
export function modelFolder(changed: ChangedFiles = {}): ModelFolder {
  return memoryFolder('model', modelFiles(changed));
}

/** The same model on disk. */
export async function writeModelFolder(path: string, changed: ChangedFiles = {}): Promise<void> {
  for (const [file, content] of modelFiles(changed)) {
    await mkdir(dirname(join(path, file)), { recursive: true });
    await writeFile(join(path, file), content);
  }
}

function modelFiles(changed: ChangedFiles): Map<string, Uint8Array | string> {
  const { json } = buildTokenizerJson([...corpus, ...corpus], { vocabularySize: 875, visualCount: 512 });
  const config = JSON.parse(golden('lm/config.json').toString()) as Record<string, unknown>;
  const files = new Map<string, Uint8Array | string>([
    ['config.json', JSON.stringify({ ...config, image_area: 32 * 32 })],
    ['model.safetensors', golden('lm/model.safetensors')],
    ['tokenizer.json', JSON.stringify(json)],
    ['generation_config.json', JSON.stringify({ top_k: 64, guidance_scale: 2, max_new_tokens: 24 })],
    ['vision_tokenizer/config.json', golden('vq/config.json')],
    ['vision_tokenizer/model.safetensors', golden('vq/model.safetensors')],
  ]);
  for (const [name, content] of Object.entries(changed)) {
    if (content === undefined) files.delete(name);
    else files.set(name, content);
  }
  return files;
}
