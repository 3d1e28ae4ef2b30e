/** What the page of `private-cache.test.ts` offers: models through the browser's private files, and these files themselves. */
import { Device, Emu3, privateFileCache, requestAdapterBrowser, urlFolder } from '../../index.js';
import { Emu3Error } from '../../kernels/core/errors.js';

export interface Drawn {
  ids: number[];
  outcome: { kind: string; key?: string; reason?: { code: string; message: string } } | undefined;
}

export interface CacheFailure {
  code: string;
  message: string;
}

const cacheFolder = 'emu3-webgpu';

async function privateFolder(): Promise<FileSystemDirectoryHandle> {
  return (await navigator.storage.getDirectory()).getDirectoryHandle(cacheFolder);
}

const cachePage = {
  /** Loads a model in 4 bits through the cache and draws a picture with it. */
  async draw(address: string): Promise<Drawn> {
    const device = await Device.create(await requestAdapterBrowser());
    let outcome: Drawn['outcome'];
    const emu3 = await Emu3.load({
      device,
      folder: urlFolder(new URL(address, location.href).href),
      weights: 'q4',
      cache: await privateFileCache(),
      onCache: (told) => {
        const { kind } = told;
        if (!('key' in told)) outcome = { kind };
        else if (!('reason' in told)) outcome = { kind, key: told.key };
        else outcome = { kind, key: told.key, reason: { code: told.reason.code, message: told.reason.message } };
      },
    });
    const { ids } = await emu3.generate({ prompt: 'a red apple', seed: 3, guidance: 1 });
    await emu3.destroy();
    device.destroy();
    return { ids: [...ids], outcome };
  },

  async list(): Promise<{ key: string; bytes: number; isRecent: boolean }[]> {
    const entries = await (await privateFileCache()).list();
    return entries.map(({ key, bytes, modified }) => ({
      key,
      bytes,
      isRecent: modified !== undefined && Math.abs(Date.now() - modified.getTime()) < 3_600_000,
    }));
  },

  async remove(key: string): Promise<boolean> {
    return (await privateFileCache()).remove(key);
  },

  /** Whether there is an entry, or why that cannot be told. */
  async has(key: string): Promise<boolean | CacheFailure> {
    try {
      const source = await (await privateFileCache()).open(key);
      await source?.close();
      return source !== undefined;
    } catch (error) {
      if (error instanceof Emu3Error) return { code: error.code, message: error.message };
      throw error;
    }
  },

  /** Turns a bit of a file over, or cuts the file, from a place counted from its end. */
  async damage(file: string, fromEnd: number, how: 'flip' | 'cut'): Promise<void> {
    const handle = await (await privateFolder()).getFileHandle(file);
    const content = await handle.getFile();
    const at = content.size - fromEnd;
    const [byte] = new Uint8Array(await content.slice(at, at + 1).arrayBuffer());
    const stream = await handle.createWritable({ keepExistingData: true });
    if (how === 'cut') await stream.truncate(at);
    else await stream.write({ type: 'write', position: at, data: Uint8Array.of(byte ^ 1) });
    await stream.close();
  },

  /** Names of all files, whoever made them. */
  async files(): Promise<string[]> {
    const names: string[] = [];
    for await (const name of (await privateFolder()).keys()) names.push(name);
    return names.sort();
  },

  async put(file: string): Promise<void> {
    const handle = await (await privateFolder()).getFileHandle(file, { create: true });
    const stream = await handle.createWritable();
    await stream.write('notes');
    await stream.close();
  },

  usage: async (): Promise<number> => (await navigator.storage.estimate()).usage ?? 0,
};

export type CachePage = typeof cachePage;

Object.assign(window, { cachePage });
document.body.dataset['state'] = 'ready';
