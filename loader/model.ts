import { Emu3Error } from '../kernels/core/errors.js';
import { transformerTensorShapes, visionTensorShapes } from './config/shapes.js';
import type { TensorShapes } from './config/shapes.js';
import { parseTransformerConfig } from './config/transformer.js';
import type { Emu3Config } from './config/transformer.js';
import { validateShapes } from './config/validate.js';
import { parseVisionConfig } from './config/vision.js';
import type { Emu3VisionVQConfig } from './config/vision.js';
import { describePath } from './folder.js';
import type { ModelFolder } from './folder.js';
import { shorten } from './json.js';
import { canonicalName, canonicalShape, tensorFamily } from './names.js';
import { openCheckpoint } from './safetensors/checkpoint.js';
import type { Checkpoint, OpenOptions } from './safetensors/checkpoint.js';
import type { TensorInfo } from './safetensors/header.js';
import { missingTensor } from './safetensors/reader.js';

export interface OpenedModel<Config> {
  config: Config;
  /** Under original names and shapes, checked against the config. The caller closes it. */
  checkpoint: Checkpoint;
}

/**
 * The same checkpoint under the original release's names and shapes, whichever naming it was saved with.
 * @param family keep only the tensors of one network (a Transformers-port folder holds both); names that belong to
 *   neither stay, so that validation reports them
 * @throws Emu3Error `duplicate` when two stored names mean the same tensor.
 */
export function canonicalCheckpoint(checkpoint: Checkpoint, family?: 'transformer' | 'vision'): Checkpoint {
  const tensors = new Map<string, TensorInfo>();
  const stored = new Map<string, string>();
  for (const [name, info] of checkpoint.tensors) {
    const original = canonicalName(name);
    const belongsTo = tensorFamily(original);
    if (family !== undefined && belongsTo !== undefined && belongsTo !== family) continue;
    const other = stored.get(original);
    if (other !== undefined) {
      throw new Emu3Error(`"${shorten(other)}" and "${shorten(name)}" are two names of one tensor.`, {
        code: 'duplicate',
        where: checkpoint.name,
        fix: 'Remove one of the two from the checkpoint.',
      });
    }
    stored.set(original, name);
    tensors.set(original, { ...info, name: original, shape: canonicalShape(original, info.shape) });
  }
  const find = (original: string): string => {
    const name = stored.get(original);
    if (name === undefined) throw missingTensor(checkpoint.name, original);
    return name;
  };
  return {
    name: checkpoint.name,
    tensors,
    metadata: checkpoint.metadata,
    version: checkpoint.version,
    readRaw: async (name, options) => checkpoint.readRaw(find(name), options),
    stream: (name, tileBytes, options) => checkpoint.stream(find(name), tileBytes, options),
    readFloat32: async (name, options) => checkpoint.readFloat32(find(name), options),
    readInt32: async (name, options) => checkpoint.readInt32(find(name), options),
    verify: (options) => checkpoint.verify(options),
    close: () => checkpoint.close(),
  };
}

/**
 * Opens a transformer: config.json and weights of the original release or of the Transformers port.
 * Everything is checked before any weight is read.
 * @throws Emu3Error `config`, `missing`, `shape`, `format`, `duplicate`, `dtype`, `io`.
 */
export async function openTransformer(
  folder: ModelFolder,
  options: OpenOptions = {},
): Promise<OpenedModel<Emu3Config>> {
  const where = describePath(folder, 'config.json');
  const config = parseTransformerConfig(await folder.readText('config.json', options.signal), where);
  return { config, checkpoint: await openChecked(folder, 'transformer', transformerTensorShapes(config), options) };
}

/** As {@link openTransformer}, for the vision tokenizer. */
export async function openVisionTokenizer(
  folder: ModelFolder,
  options: OpenOptions = {},
): Promise<OpenedModel<Emu3VisionVQConfig>> {
  const where = describePath(folder, 'config.json');
  const config = parseVisionConfig(await folder.readText('config.json', options.signal), where);
  return { config, checkpoint: await openChecked(folder, 'vision', visionTensorShapes(config), options) };
}

async function openChecked(
  folder: ModelFolder,
  family: 'transformer' | 'vision',
  expected: TensorShapes,
  options: OpenOptions,
): Promise<Checkpoint> {
  const stored = await openCheckpoint(folder, options);
  try {
    const checkpoint = canonicalCheckpoint(stored, family);
    validateShapes(checkpoint, expected);
    return checkpoint;
  } catch (error) {
    await stored.close();
    throw error;
  }
}
