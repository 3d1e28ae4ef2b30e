import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { cp, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Emu3Error } from '../../../kernels/core/errors.js';
import type { Device } from '../../../engine/device.js';
import { LoraAdapters } from '../../../engine/models/transformer/index.js';
import type { ParameterStore } from '../../../engine/parameters.js';
import type { QuantizedParameters } from '../../../engine/quantized/index.js';
import {
  diskFolder,
  loadQuantizedTransformer,
  loadTransformer,
  mergedTensors,
  replaceFile,
  writeAdapters,
  writeModel,
  type Emu3Config,
} from '../../../loader/index.node.js';
import type { WeightFormat } from '../../../loader/pipeline/weights.js';
import { generationDefaults, seed } from './recipe.js';

/** Training of adapters beside a model that stays as it is, instead of the model itself. */
export interface LoraTraining {
  rank: number;
  alpha: number;
  /** Form of the model meanwhile. */
  weights: WeightFormat;
}

/** The model of a stage. */
export interface StageModel {
  config: Emu3Config;
  /** Content of tokenizer.json. */
  json: object;
  /** What is trained: the model's weights, or the adapters'. */
  store: ParameterStore;
  weights: ParameterStore | QuantizedParameters;
  adapters: LoraAdapters | undefined;
  /** What the adapters belong to; in the run's configuration, as checkpoints of adapters do not hold it. */
  base: { folder: string; sha256: string } | undefined;
}

/** Folder inside the finished model that holds the adapters alone. */
const adapterFolder = 'adapter';

/** Opens a model folder to train it, or adapters beside it. */
export async function openStageModel(
  device: Device,
  path: string,
  lora: LoraTraining | undefined,
): Promise<StageModel> {
  const folder = diskFolder(path);
  const json = JSON.parse(await folder.readText('tokenizer.json')) as object;
  if (lora === undefined) {
    const { config, parameters } = await loadTransformer(device, folder, { training: true });
    return { config, json, store: parameters, weights: parameters, adapters: undefined, base: undefined };
  }
  const { rank, alpha, weights: format } = lora;
  const { config, parameters } =
    format === 'f32'
      ? await loadTransformer(device, folder)
      : await loadQuantizedTransformer(device, folder, { format });
  try {
    const adapters = LoraAdapters.create(device, parameters.shapes, { rank, alpha }, { training: true });
    adapters.initialise(seed);
    const base = { folder: path, sha256: await hashWeights(path) };
    return { config, json, store: adapters.store, weights: parameters, adapters, base };
  } catch (error) {
    parameters.destroy();
    throw error;
  }
}

/** For a stage without a model that adapters could go beside. */
export function noBase(stage: string): Emu3Error {
  return new Emu3Error('Adapters need a model to go beside, and this stage starts from random weights.', {
    code: 'argument',
    where: `--lora of ${stage}`,
    fix: 'Train this stage in full, or give --from a model folder.',
  });
}

export function destroyStageModel({ weights, adapters }: StageModel): void {
  adapters?.destroy();
  weights.destroy();
}

/** What a run's configuration says of adapters: a checkpoint of theirs goes with no other model. */
export function loraConfig(lora: LoraTraining | undefined, { base }: StageModel): object | undefined {
  return lora && { ...lora, base: base?.sha256 };
}

/** Of the safetensors files in a folder, in the order of their names. */
export async function hashWeights(folder: string): Promise<string> {
  const hash = createHash('sha256');
  const names = (await readdir(folder)).filter((name) => name.endsWith('.safetensors')).sort();
  for (const name of names) {
    for await (const chunk of createReadStream(join(folder, name))) hash.update(chunk as Buffer);
  }
  return hash.digest('hex');
}

/**
 * Writes a whole model: transformer (bf16, adapters merged), text tokenizer, generation settings, a copy of the vision
 * tokenizer, and adapters alone in a folder of their own.
 */
export async function exportModel(device: Device, folder: string, model: StageModel, vision: string): Promise<void> {
  const { config, json, weights, adapters, base } = model;
  await cp(vision, join(folder, 'vision_tokenizer'), { recursive: true });
  if (adapters && base) await writeAdapters(join(folder, adapterFolder), adapters, { baseModel: base.folder });
  await writeModel(folder, mergedTensors(device, weights, adapters, 'BF16'), { metadata: { format: 'pt' } });
  const files = {
    'tokenizer.json': json,
    'generation_config.json': generationDefaults,
    // Last: a folder with a config is a whole model.
    'config.json': { architectures: ['Emu3ForCausalLM'], model_type: 'Emu3', ...config, torch_dtype: 'bfloat16' },
  };
  for (const [name, content] of Object.entries(files)) {
    const bytes = new TextEncoder().encode(`${JSON.stringify(content, undefined, 2)}\n`);
    await replaceFile(join(folder, name), [bytes]);
  }
}
