/** emu3-webgpu in Node: everything of `index.ts`, and model folders, picture files and adapters of this machine. */
import { requestAdapterNode, type NodeAdapterOptions } from './engine/adapter/request.node.js';
import { Device, type DeviceOptions } from './engine/device.js';
import { diskFolder } from './loader/folder.node.js';
import { Emu3 } from './loader/pipeline/emu3.js';
import type { Emu3LoadOptions } from './loader/pipeline/load-options.js';

export * from './index.js';
export { requestAdapterNode } from './engine/adapter/request.node.js';
export type { AdapterPreference, NodeAdapterOptions } from './engine/adapter/request.node.js';
export * from './loader/index.node.js';
export { nodeImageCodec } from './tokenizer/image/codec.node.js';
export { loadTextTokenizer } from './tokenizer/text/load.node.js';

export interface NodeEmu3Options
  extends Omit<Emu3LoadOptions, 'device' | 'folder' | 'visionFolder' | 'adapters'>, NodeAdapterOptions, DeviceOptions {
  /** Folder of the vision tokenizer, if not the subfolder `vision_tokenizer`. */
  visionPath?: string;
  /** Folder of adapters. */
  adaptersPath?: string;
}

/**
 * Chooses an adapter, opens a device and loads a model folder from disk.
 *
 * @returns the model and `close`, which frees the model and the device.
 * @throws Emu3Error `no-adapter`, and what `Emu3.load` throws; the device is closed then.
 */
export async function createNodeEmu3(
  path: string,
  options: NodeEmu3Options = {},
): Promise<{ emu3: Emu3; device: Device; close: () => Promise<void> }> {
  const { visionPath, adaptersPath, ...rest } = options;
  const device = await Device.create(await requestAdapterNode(options), options);
  try {
    const visionFolder = visionPath === undefined ? {} : { visionFolder: diskFolder(visionPath) };
    const adapters = adaptersPath === undefined ? {} : { adapters: diskFolder(adaptersPath) };
    const emu3 = await Emu3.load({ ...rest, ...visionFolder, ...adapters, device, folder: diskFolder(path) });
    const close = async (): Promise<void> => {
      await emu3.destroy();
      device.destroy();
    };
    return { emu3, device, close };
  } catch (error) {
    device.destroy();
    throw error;
  }
}
