import { mkdtemp, open, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { QuantizedParameters } from '../../engine/quantized/index.js';
import { Emu3Error } from '../../kernels/core/errors.js';
import {
  diskCache,
  diskFolder,
  loadQuantizedTransformer,
  memoryFolder,
  replaceFile,
  storeTensors,
  writeModel,
  type CacheOutcome,
  type CacheStore,
  type LoadQuantizedOptions,
} from '../../loader/index.node.js';
import { testDevice } from '../support/gpu.js';
import { packableConfig, packableConfigJson, tinyBase } from '../support/lora.js';
import { packedWords } from '../support/quantized.js';
import { expectError, rejection } from './support.js';

let root = '';
let model = '';
let store: CacheStore;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'emu3-cache-'));
  model = join(root, 'model');
  const base = await tinyBase({}, packableConfig);
  await writeModel(model, storeTensors(base, 'BF16'));
  await replaceFile(join(model, 'config.json'), [new TextEncoder().encode(packableConfigJson)]);
  base.destroy();
  store = diskCache(join(root, 'cache'));
});
afterEach(() => rm(root, { recursive: true, force: true }));

async function load(
  options: LoadQuantizedOptions = {},
  folder = diskFolder(model),
): Promise<{ parameters: QuantizedParameters; outcome: CacheOutcome | undefined; tensors: string[] }> {
  let outcome: CacheOutcome | undefined;
  const tensors: string[] = [];
  const { parameters } = await loadQuantizedTransformer(await testDevice(), folder, {
    cache: store,
    onCache: (told) => (outcome = told),
    onProgress: ({ tensor }) => tensors.push(tensor),
    ...options,
  });
  return { parameters, outcome, tensors };
}

async function valuesOf(parameters: QuantizedParameters): Promise<unknown[]> {
  const values: unknown[] = [[...parameters.errors]];
  for (const [name, weight] of parameters.weights) values.push([name, await packedWords(weight)]);
  for (const name of parameters.full.shapes.keys()) values.push([name, await parameters.tensor(name).readFloat32()]);
  return values;
}

const entryPath = async (): Promise<string> => {
  const [file, ...others] = await readdir(join(root, 'cache'));
  expect(others).toEqual([]);
  return join(root, 'cache', file);
};

describe('packed models on disk', () => {
  it('come back as they were packed, errors and all, for the same files, config and formats only', async () => {
    for (const format of ['q4', 'q8'] as const) {
      const first = await load({ format });
      expect(first.outcome?.kind).toBe('written');
      const second = await load({ format });
      expect(second.outcome).toEqual({ ...first.outcome, kind: 'read' });
      expect(await valuesOf(second.parameters)).toEqual(await valuesOf(first.parameters));
      expect(second.parameters.bytes).toBe(first.parameters.bytes);
      first.parameters.destroy();
      second.parameters.destroy();
    }
    const entries = await store.list();
    expect(entries).toHaveLength(2);
    for (const { bytes, modified } of entries) {
      expect(bytes).toBeGreaterThan(1000);
      expect(modified).toBeInstanceOf(Date);
    }
    // Touched files may have other content.
    await utimes(join(model, 'model.safetensors'), 1e9, 1e9);
    const touched = await load({ format: 'q4' });
    expect(touched.outcome?.kind).toBe('written');
    touched.parameters.destroy();
    expect(await store.list()).toHaveLength(3);
  });

  it('are made anew where an entry is damaged, whatever way', async () => {
    const { parameters } = await load();
    const expected = await valuesOf(parameters);
    parameters.destroy();
    const path = await entryPath();
    const good = await readFile(path);
    const damaged: Record<string, Uint8Array> = {
      'one bit': good.map((byte, at) => (at === good.length - 5000 ? byte ^ 1 : byte)),
      'cut short': good.subarray(0, good.length - 7),
      empty: new Uint8Array(),
      'no safetensors': new TextEncoder().encode('not a model'),
      'its digests': good.map((byte, at) => (at === good.length - 1 ? byte ^ 0x80 : byte)),
      'another key': Buffer.from(good.toString('latin1').replace(/"emu3.key":"./, '"emu3.key":"x'), 'latin1'),
    };
    const device = await testDevice();
    for (const [how, bytes] of Object.entries(damaged)) {
      await writeFile(path, bytes);
      const before = device.allocatedBytes;
      const again = await load();
      expect(again.outcome?.kind, how).toBe('replaced');
      expect(again.outcome && 'reason' in again.outcome && again.outcome.reason.message, how).toMatch(/\S/);
      expect(await valuesOf(again.parameters), how).toEqual(expected);
      again.parameters.destroy();
      expect(device.allocatedBytes, how).toBe(before);
      expect((await readFile(path)).equals(good), how).toBe(true);
    }
  });

  it('are no failure of loading where they cannot be kept', async () => {
    for (const code of ['disk-full', 'io'] as const) {
      const broken: CacheStore = {
        ...store,
        write: async (_key, content) => {
          for await (const piece of content) expect(piece.length).toBeGreaterThan(0);
          throw new Emu3Error('No.', { code, where: 'cache', fix: 'Free some space.' });
        },
      };
      const { parameters, outcome } = await load({ cache: broken });
      expect(outcome).toMatchObject({ kind: 'not written', reason: { code } });
      parameters.destroy();
    }
    expect(await store.list()).toEqual([]);
    const files = new Map<string, Uint8Array | string>([
      ['config.json', packableConfigJson],
      ['model.safetensors', await readFile(join(model, 'model.safetensors'))],
    ]);
    const { parameters, outcome } = await load({}, memoryFolder('memory', files));
    expect(outcome).toEqual({ kind: 'not used' });
    parameters.destroy();
  });

  it('leave nothing half-written when loading is stopped, at whatever point', async () => {
    const device = await testDevice();
    (await load()).parameters.destroy();
    await rm(await entryPath());
    const before = device.allocatedBytes;
    const writing = new AbortController();
    const stopping: CacheStore = {
      ...store,
      write: async (key, content) => {
        await store.write(
          key,
          (async function* () {
            let pieces = 0;
            for await (const piece of content) {
              if (++pieces === 3) writing.abort();
              yield piece;
            }
          })(),
        );
      },
    };
    expectError(await rejection(load({ cache: stopping, signal: writing.signal })), 'aborted');
    expect(await readdir(join(root, 'cache'))).toEqual([]);
    expect(device.allocatedBytes).toBe(before);

    (await load()).parameters.destroy();
    const reading = new AbortController();
    const stopped = load({ signal: reading.signal, onProgress: () => reading.abort() });
    expectError(await rejection(stopped), 'aborted');
    expect(await store.list()).toHaveLength(1);
    expect(device.allocatedBytes).toBe(before);
  });

  it('are shared by several loads at once', async () => {
    const loads = await Promise.all([load(), load(), load()]);
    const [first, ...others] = await Promise.all(loads.map(({ parameters }) => valuesOf(parameters)));
    for (const other of others) expect(other).toEqual(first);
    for (const { parameters } of loads) parameters.destroy();
    expect(await store.list()).toHaveLength(1);
    expect((await readdir(join(root, 'cache'))).filter((name) => name.endsWith('.tmp'))).toEqual([]);
    const again = await load();
    expect(again.outcome?.kind).toBe('read');
    again.parameters.destroy();
  });

  it('can be listed and removed; keys that are none are refused', async () => {
    (await load()).parameters.destroy();
    const [{ key }] = await store.list();
    expect(await store.remove(key)).toBe(true);
    expect(await store.remove(key)).toBe(false);
    expect(await store.open(key)).toBeUndefined();
    expect(await store.list()).toEqual([]);
    expectError(await rejection(store.open('../model/config')), 'argument');
    expectError(await rejection(store.remove('a/b')), 'argument');
    await writeFile(join(root, 'file'), '');
    expectError(await rejection(diskCache(join(root, 'file', 'cache')).write('key', pieces())), 'missing');
    expect(await diskCache(join(root, 'nowhere')).list()).toEqual([]);
    // What another program puts there is no packed model.
    const handle = await open(join(root, 'cache', 'notes.txt'), 'w');
    await handle.close();
    expect(await store.list()).toEqual([]);
  });
});

async function* pieces(): AsyncGenerator<Uint8Array> {
  yield await Promise.resolve(new Uint8Array(3));
}
