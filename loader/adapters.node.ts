import { join } from 'node:path';
import type { LoraAdapters } from '../engine/models/transformer/index.js';
import { ADAPTER_CONFIG_FILE, ADAPTER_FILE } from './adapters.js';
import { diskFileSystem, replaceFiles, type SaveFileSystem } from './atomic.node.js';
import { adapterConfigJson } from './config/adapter.js';
import { storeTensors } from './export.js';
import { fileError } from './io-error.node.js';
import { encodeLayout, layoutSafetensors } from './safetensors/writer.js';

export interface AdapterWriteOptions {
  /** Name or path of the model they were trained on, for whoever loads them. */
  baseModel?: string;
  /** How A and B are stored. Default F32, which is exact. */
  dtype?: 'F32' | 'F16' | 'BF16';
  signal?: AbortSignal;
  fileSystem?: SaveFileSystem;
}

/**
 * Writes adapters as PEFT does, `adapter_model.safetensors` and `adapter_config.json`; PEFT and `loadAdapters` read them.
 * @throws Emu3Error `disk-full`, `io`, `not-finite`, `aborted`; older files are unchanged then.
 */
export async function writeAdapters(
  folder: string,
  adapters: LoraAdapters,
  options: AdapterWriteOptions = {},
): Promise<void> {
  const { baseModel, dtype = 'F32', signal, fileSystem = diskFileSystem } = options;
  const layout = layoutSafetensors(storeTensors(adapters.store, dtype), { metadata: { format: 'pt' } });
  const config = new TextEncoder().encode(adapterConfigJson(adapters.options, baseModel));
  try {
    await fileSystem.makeFolder(folder);
  } catch (error) {
    throw fileError(error, folder, 'write');
  }
  await replaceFiles(
    [
      { path: join(folder, ADAPTER_FILE), content: encodeLayout(layout, signal) },
      { path: join(folder, ADAPTER_CONFIG_FILE), content: [config] },
    ],
    fileSystem,
  );
}
