import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { hashedSource, type ListedHash } from '../../loader/hub/hash.node.js';
import {
  diskCache,
  encodeSafetensors,
  loadQuantizedTransformer,
  loadTransformer,
  loadVisionTokenizer,
  memorySource,
  openCheckpoint,
  openHubFolder,
  readAhead,
  storeTensors,
  writeModel,
  type ByteSource,
  type CacheOutcome,
  type HubCheck,
  type HubFolder,
  type TensorToWrite,
} from '../../loader/index.node.js';
import { testDevice } from '../support/gpu.js';
import { flipped, gitHash, sendFile, sha256, TestHub } from '../support/hub.js';
import { packableConfig, packableConfigJson, tinyBase } from '../support/lora.js';
import { expectError, GOLDEN, rejection } from './support.js';

const mebibyte = 1 << 20;
const content = Uint8Array.from({ length: 3 * mebibyte }, (_, at) => at % 251);
const listed: ListedHash = { kind: 'sha256', value: sha256(content) };

/** A source of `content` that notes what is read and told; reads end in the order that `delays` gives, milliseconds. */
function noted(bytes: Uint8Array = content, delays: number[] = [], hash = listed) {
  const inner = memorySource('hub/file', bytes);
  const [reads, told]: [[number, number][], boolean[]] = [[], []];
  const slow: ByteSource = {
    ...inner,
    read: async (offset, length) => {
      reads.push([offset, length]);
      await new Promise((resolve) => setTimeout(resolve, delays.shift() ?? 0));
      return inner.read(offset, length);
    },
  };
  return { source: hashedSource(slow, hash, (compared) => told.push(compared)), reads, told };
}

describe('a file hashed while it is read', () => {
  test('is compared when its last byte has come', async () => {
    for (const hash of [listed, { kind: 'git', value: gitHash(content) } as const]) {
      const { source, told } = noted(content, [], hash);
      await source.read(0, 8);
      await source.read(8, mebibyte);
      expect(told).toEqual([]);
      await source.read(8 + mebibyte, content.length - mebibyte - 8);
      await source.verify?.();
      expect(told).toEqual([true]);
    }
  });

  test.each([0, mebibyte, content.length - 1])('with byte %d damaged is refused with both hashes', async (at) => {
    const damaged = flipped(content, at);
    const { source, told } = noted(damaged);
    await source.read(0, 2 * mebibyte);
    const error = await rejection(source.read(2 * mebibyte, mebibyte));
    expectError(error, 'format', 'hub/file', sha256(damaged), listed.value, 'again');
    expect(told).toEqual([]);
  });

  test('may be read by several reads at once, which end in any order', async () => {
    const { source, told } = noted(content, [30, 5, 20, 0]);
    const parts = [0, 1, 2, 3].map((part) => source.read((part * content.length) / 4, content.length / 4));
    expect(Buffer.concat(await Promise.all(parts)).equals(content)).toBe(true);
    expect(told).toEqual([true]);
    const broken = noted(flipped(content, 5), [30, 0]);
    const [first, last] = [broken.source.read(0, mebibyte), broken.source.read(mebibyte, 2 * mebibyte)];
    expectError(await rejection(last), 'format', listed.value);
    await first;
  });

  test('has small gaps read along with what follows, and a small rest at the end', async () => {
    const { source, reads, told } = noted();
    const part = await source.read(100, 50);
    expect(Buffer.from(part).equals(content.subarray(100, 150))).toBe(true);
    await source.read(150 + mebibyte, mebibyte);
    expect(told).toEqual([]);
    await source.verify?.();
    const next = 150 + 2 * mebibyte;
    expect(reads).toEqual([
      [0, 150],
      [150, 2 * mebibyte],
      [next, content.length - next],
    ]);
    expect(told).toEqual([true]);
    const damaged = noted(flipped(content, content.length - 1));
    await damaged.source.read(0, 3 * mebibyte - 9);
    expectError(await rejection(damaged.source.verify?.() ?? Promise.resolve()), 'format', listed.value);
  });

  test('is told not to be compared when much is skipped, read again, or a read fails; every read gives its bytes', async () => {
    const { length } = content;
    const orders: [number, number][][] = [
      [[mebibyte + 1, 10]],
      [
        [0, 10],
        [5, length - 5],
      ],
      [
        [mebibyte, mebibyte],
        [0, mebibyte],
        [2 * mebibyte, mebibyte],
      ],
      [[0, 10]],
    ];
    for (const order of orders) {
      const { source, told, reads } = noted();
      for (const [offset, size] of order) {
        const bytes = await source.read(offset, size);
        expect(Buffer.from(bytes).equals(content.subarray(offset, offset + size))).toBe(true);
      }
      await source.verify?.();
      expect(told).toEqual([false]);
      expect(reads).toHaveLength(order.length);
    }
    const failing = hashedSource(
      { ...memorySource('file', content), read: () => Promise.reject(new Error('the line is dead')) },
      listed,
      (compared) => expect(compared).toBe(false),
    );
    await rejection(failing.read(0, 10));
    await failing.verify?.();
    expectError(await rejection(source().read(0, length + 1)), 'argument');
    function source(): ByteSource {
      return noted().source;
    }
  });
});

describe('models from the hub', () => {
  const hub = new TestHub();
  const [first, second] = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'];
  let root = '';
  let cache = '';
  let checks: HubCheck[] = [];

  const tensorsOf = (name: string): Uint8Array => hub.files.get(name) ?? new Uint8Array();
  const folder = (): Promise<HubFolder> =>
    openHubFolder(hub.repository, {
      hubUrl: hub.url,
      retry: { firstDelay: 1 },
      onCheck: (check) => checks.push(check),
    });

  async function pack(): Promise<CacheOutcome | undefined> {
    let outcome: CacheOutcome | undefined;
    const { parameters } = await loadQuantizedTransformer(await testDevice(), await folder(), {
      cache: diskCache(cache),
      onCache: (told) => (outcome = told),
    });
    parameters.destroy();
    return outcome;
  }

  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 'emu3-hash-'));
    cache = join(root, 'cache');
    const base = await tinyBase({}, packableConfig);
    // As other savers do: by name, not in the order of the model, and with a tensor that nobody asks for at the end.
    const frequencies = { dtype: 'F32', shape: [4], values: Float32Array.of(1, 2, 3, 4) } as const;
    const tensors: TensorToWrite[] = [
      ...storeTensors(base, 'BF16'),
      { name: 'model.layers.0.self_attn.rotary_emb.inv_freq', ...frequencies },
      { name: 'model.layers.9.self_attn.rotary_emb.inv_freq', ...frequencies },
    ].sort((a, b) => (a.name < b.name ? -1 : 1));
    await writeModel(root, tensors, { maxShardBytes: 150_000 });
    base.destroy();
    for (const name of await readdir(root)) hub.files.set(name, await readFile(join(root, name)));
    hub.files.set('config.json', new TextEncoder().encode(packableConfigJson));
    expect([...hub.files.keys()].filter((name) => name.endsWith('.safetensors'))).toEqual([first, second]);
    await hub.start();
  });

  beforeEach(async () => {
    hub.before = () => false;
    hub.hashless = false;
    hub.damaged.clear();
    checks = [];
    await rm(cache, { recursive: true, force: true });
  });

  afterAll(async () => {
    await hub.stop();
    await rm(root, { recursive: true, force: true });
  });

  test('load with every file compared, small ones by their Git hash', async () => {
    expect((await pack())?.kind).toBe('written');
    const paths = ['config.json', 'model.safetensors.index.json', first, second];
    expect(checks.sort((a, b) => paths.indexOf(a.path) - paths.indexOf(b.path))).toEqual(
      paths.map((path) => ({ path, compared: true })),
    );
    checks = [];
    // From the cache only headers are read, of which nothing is told.
    expect((await pack())?.kind).toBe('read');
    expect(checks.map(({ path }) => path)).toEqual(paths.slice(0, 2));
    const { parameters } = await loadTransformer(await testDevice(), await folder());
    parameters.destroy();
    expect(checks.slice(2).every(({ compared }) => compared)).toBe(true);
    expect(checks).toHaveLength(6);
  });

  test('load with counters among the weights, all compared', async () => {
    const vision = await readFile(join(GOLDEN, 'vq/model.safetensors'));
    const config = await readFile(join(GOLDEN, 'vq/config.json'));
    const model = new Map([...hub.files]);
    hub.files.clear();
    hub.files.set('config.json', config).set('model.safetensors', vision);
    try {
      const { weights } = await loadVisionTokenizer(await testDevice(), await folder());
      weights.destroy();
      expect(checks).toContainEqual({ path: 'model.safetensors', compared: true });
    } finally {
      for (const [name, bytes] of model) hub.files.set(name, bytes);
      hub.files.delete('model.safetensors');
    }
  });

  test('with one bit of a tensor flipped are refused, and nothing of them is kept', async () => {
    const device = await testDevice();
    (await loadTransformer(device, await folder())).parameters.destroy();
    await device.finish();
    const before = device.allocatedBytes;
    for (const [name, at] of [
      [first, tensorsOf(first).length >> 1],
      [second, tensorsOf(second).length - 1],
    ] as const) {
      const bytes = flipped(tensorsOf(name), at);
      hub.damaged.set(name, bytes);
      expectError(await rejection(pack()), 'format', name, sha256(bytes), sha256(tensorsOf(name)));
      expect(await diskCache(cache).list()).toEqual([]);
      expectError(await rejection(folder().then((place) => loadTransformer(device, place))), 'format', name);
      expect(device.allocatedBytes).toBe(before);
      hub.damaged.clear();
    }
    expect((await pack())?.kind).toBe('written');
  });

  test('with another config of the same size are refused', async () => {
    const config = tensorsOf('config.json');
    hub.damaged.set('config.json', flipped(config, config.indexOf('6'.charCodeAt(0))));
    expectError(await rejection(pack()), 'format', 'config.json', 'Git hash', gitHash(config));
  });

  test('load over connections that break, with the bytes hashed once', async () => {
    const device = await testDevice();
    let broken = 0;
    hub.before = (request, response) => {
      const [from, to] = (/(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? []).slice(1).map(Number);
      if (request.url?.endsWith(second) !== true || to - from < 2000) return false;
      broken += 1;
      const part = tensorsOf(second).subarray(from, to + 1);
      response.writeHead(206, {
        'content-range': `bytes ${from}-${to}/${tensorsOf(second).length}`,
        'content-length': part.length,
      });
      response.write(part.subarray(0, part.length >> 1), () => response.destroy());
      return true;
    };
    (await loadTransformer(device, await folder())).parameters.destroy();
    expect(broken).toBeGreaterThan(5);
    expect(checks.filter(({ compared }) => !compared)).toEqual([]);
    expect(checks).toHaveLength(4);
  });

  test('from a server that ignores ranges are refused as before', async () => {
    hub.before = (request, response) => {
      if (request.headers.range === undefined) return false;
      delete request.headers.range;
      sendFile(request, response, tensorsOf(first));
      return true;
    };
    expectError(await rejection(pack()), 'io', 'ignores Range');
  });

  test('without hashes in the listing load, and say that nothing was compared', async () => {
    hub.hashless = true;
    expect((await folder()).files.get(first)?.hash).toBeUndefined();
    expect((await pack())?.kind).toBe('written');
    expect(checks).toHaveLength(4);
    expect(checks.filter(({ compared }) => compared)).toEqual([]);
  });

  test('read in windows are compared where a window holds a file', async () => {
    const { parameters } = await loadTransformer(await testDevice(), readAhead(await folder()));
    parameters.destroy();
    expect(checks.filter(({ path, compared }) => compared && path.endsWith('.safetensors'))).not.toEqual([]);
  });

  test('read in another order say that they were not compared', async () => {
    const large: TensorToWrite[] = ['a', 'b'].map((name) => ({
      name,
      dtype: 'U8',
      shape: [2 * mebibyte],
      values: content.subarray(0, 2 * mebibyte),
    }));
    hub.files.set('other.safetensors', await encodeSafetensors(large));
    const checkpoint = await openCheckpoint(await folder(), { file: 'other.safetensors' });
    await checkpoint.readRaw('b');
    await checkpoint.readRaw('a');
    await checkpoint.verify();
    await checkpoint.close();
    hub.files.delete('other.safetensors');
    expect(checks).toEqual([{ path: 'other.safetensors', compared: false }]);
  });
});
