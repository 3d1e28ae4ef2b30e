import type { Device } from '../engine/device.js';
import { LoraAdapters, loraTensorShapes } from '../engine/models/transformer/index.js';
import { parseAdapterConfig } from './config/adapter.js';
import { validateShapes } from './config/validate.js';
import { describePath, type ModelFolder } from './folder.js';
import { guard, type LoadOptions } from './load-model.js';
import { canonicalCheckpoint } from './model.js';
import { openCheckpoint } from './safetensors/checkpoint.js';
import { fillTensors } from './transfer.js';

/** PEFT's names of the two files of adapters. */
export const ADAPTER_CONFIG_FILE = 'adapter_config.json';
export const ADAPTER_FILE = 'adapter_model.safetensors';

export interface LoadedAdapters {
  readonly adapters: LoraAdapters;
  /** Name or path of the model they were trained on, where the config has it. */
  readonly baseModel: string | undefined;
}

/**
 * Loads adapters that PEFT or {@link writeAdapters} saved. Config and tensor shapes are checked first, against each other
 * and against the model; names of the original release and of the Transformers port both load.
 *
 * @param baseShapes the model's weights by hub name, for example `parameters.shapes`.
 * @throws Emu3Error `config` for a field that cannot be, `shape` for a tensor that does not fit the config's rank or the
 *   model, `missing` for a file or tensor that is not there, `format` for tensors that no target has, `dtype`,
 *   `not-finite`, `duplicate`, `io`, `aborted`. Nothing stays on the GPU then.
 */
export async function loadAdapters(
  device: Device,
  folder: ModelFolder,
  baseShapes: ReadonlyMap<string, readonly number[]>,
  options: Pick<LoadOptions, 'training' | 'signal' | 'onProgress'> = {},
): Promise<LoadedAdapters> {
  const where = describePath(folder, ADAPTER_CONFIG_FILE);
  const { baseModel, ...lora } = parseAdapterConfig(await folder.readText(ADAPTER_CONFIG_FILE, options.signal), where);
  const stored = await openCheckpoint(folder, { ...options, file: ADAPTER_FILE });
  try {
    const checkpoint = canonicalCheckpoint(stored);
    validateShapes(checkpoint, loraTensorShapes(baseShapes, lora), ADAPTER_CONFIG_FILE);
    const adapters = LoraAdapters.create(device, baseShapes, lora, options);
    const { store } = adapters;
    await guard(
      () => fillTensors(device, checkpoint, [...store.shapes.keys()], (name) => store.tensor(name), options),
      () => adapters.destroy(),
    );
    return { adapters, baseModel };
  } finally {
    await stored.close();
  }
}
