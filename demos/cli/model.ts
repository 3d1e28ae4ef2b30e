import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Emu3Error } from '../../kernels/core/errors.js';
import { diskFolder, openHubFolder, type ModelFolder } from '../../loader/index.node.js';
import { subfolder } from '../../loader/folder.js';
import { isRecord, parseJsonObject } from '../../loader/json.js';
import type { Terminal } from './terminal.js';

/** Folder of the vision tokenizer inside a folder that holds a whole model. */
export const visionFolderName = 'vision_tokenizer';
const configFile = 'config.json';

/** Which networks a folder holds, and where. */
export interface ModelParts {
  /** As it was given. */
  readonly path: string;
  readonly transformer: ModelFolder | undefined;
  readonly vision: ModelFolder | undefined;
}

/** The package's own folder, from the sources and from the bundles alike. */
function packageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json'))) {
    const above = dirname(folder);
    if (above === folder) return process.cwd();
    folder = above;
  }
  return folder;
}

export function packageVersion(): string {
  const json = parseJsonObject(readFileSync(join(packageRoot(), 'package.json'), 'utf8'), 'package.json');
  return String(json['version']);
}

/** The nano model that comes with the package. */
export function shippedModel(): string {
  return join(packageRoot(), 'demos', 'nano', 'model');
}

/**
 * Finds the networks of a model folder: a transformer with `vision_tokenizer/` in it, either of them alone, or a folder
 * of the Transformers port, which holds both in one checkpoint. Reads config.json only.
 * @param path default the shipped model. `owner/name` or `owner/name@revision`, where there is no such folder, is a model on
 *   the hub that `HF_ENDPOINT` names, opened with the token of `HF_TOKEN`.
 * @throws Emu3Error `missing` when there is no config.json, `config` when it cannot be read, and of `openHubFolder`.
 */
export async function findModel(path: string = shippedModel(), terminal: Terminal): Promise<ModelParts> {
  const folder = await openPlace(path, terminal);
  const inner = subfolder(folder, visionFolderName);
  const hasInner = await inner.exists(configFile);
  if (!(await folder.exists(configFile))) {
    if (hasInner) return { path, transformer: undefined, vision: inner };
    throw new Emu3Error('There is no model: config.json is missing.', {
      code: 'missing',
      where: path,
      fix: 'Give --model a folder with config.json and safetensors, or a folder with vision_tokenizer/ in it.',
    });
  }
  const config = parseJsonObject(await folder.readText(configFile), join(path, configFile), 'config');
  if (isRecord(config['vq_config'])) return { path, transformer: folder, vision: folder };
  if (isVision(config)) return { path, transformer: undefined, vision: folder };
  return { path, transformer: folder, vision: hasInner ? inner : undefined };
}

async function openPlace(path: string, terminal: Terminal): Promise<ModelFolder> {
  const [, repository, revision] = /^([\w.-]+\/[\w.-]+?)(?:@([\w./-]+))?$/.exec(path) ?? [];
  if (repository === undefined || repository.startsWith('.') || existsSync(path)) return diskFolder(path);
  const { HF_ENDPOINT, HF_TOKEN } = process.env;
  return openHubFolder(repository, {
    ...(revision !== undefined && { revision }),
    ...(HF_ENDPOINT !== undefined && HF_ENDPOINT !== '' && { hubUrl: HF_ENDPOINT }),
    ...(HF_TOKEN !== undefined && HF_TOKEN !== '' && { accessToken: HF_TOKEN }),
    signal: terminal.signal,
    onCheck: ({ path: file, compared }) => {
      if (!compared) terminal.err(`${file}: not compared with its hash on the hub\n`);
    },
  });
}

function isVision(config: Readonly<Record<string, unknown>>): boolean {
  return /vision|vq/i.test(JSON.stringify([config['model_type'], config['architectures']]));
}

/** @throws Emu3Error `missing` when the model has no vision tokenizer. */
export function requireVision(parts: ModelParts): ModelFolder {
  if (parts.vision) return parts.vision;
  throw new Emu3Error('The model has no vision tokenizer.', {
    code: 'missing',
    where: parts.path,
    fix: `Put it into ${visionFolderName}/ inside the model folder, or give its own folder.`,
  });
}

/** @throws Emu3Error `missing` when the model has no transformer. */
export function requireTransformer(parts: ModelParts): ModelFolder {
  if (parts.transformer) return parts.transformer;
  throw new Emu3Error('The model has no transformer.', {
    code: 'missing',
    where: parts.path,
    fix: 'Give the folder that holds the transformer with vision_tokenizer/ inside.',
  });
}
