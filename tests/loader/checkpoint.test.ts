import { mkdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  diskFolder,
  encodeSafetensors,
  memoryFolder,
  openCheckpoint,
  openFileSource,
} from '../../loader/index.node.js';
import { blobSource, memorySource, SafetensorsFile } from '../../loader/index.js';
import type { TensorToWrite } from '../../loader/index.js';
import { expectError, GOLDEN, inTemporaryFolder, rejection, thrown } from './support.js';
import { assertInsideFolder, subfolder } from '../../loader/folder.js';

const INDEX = 'model.safetensors.index.json';
const weight = (name: string, ...values: number[]): TensorToWrite => ({
  name,
  dtype: 'F32',
  shape: [values.length],
  values: Float32Array.from(values),
});

describe('recorded checkpoints', () => {
  test('BF16 shards widen to exactly the bits that are stored', async () => {
    const checkpoint = await openCheckpoint(diskFolder(join(GOLDEN, 'lm/bf16')));
    expect(checkpoint.tensors.size).toBe(30);
    const files = new Set([...checkpoint.tensors.values()].map(({ file }) => file));
    expect(files.size).toBe(2);
    for (const [name, info] of checkpoint.tensors) {
      expect(info.dtype).toBe('BF16');
      const file = await readFile(info.file);
      const expected = new Uint32Array(info.byteLength / 2);
      for (let i = 0; i < expected.length; i++) expected[i] = (file.readUInt16LE(info.byteOffset + 2 * i) << 16) >>> 0;
      const values = await checkpoint.readFloat32(name, { checkFinite: true });
      expect(Buffer.compare(Buffer.from(values.buffer), Buffer.from(expected.buffer)), name).toBe(0);
    }
    await checkpoint.close();
  });

  test('BF16 shards are the F32 weights rounded to nearest even by our writer', async () => {
    const rounded = await openCheckpoint(diskFolder(join(GOLDEN, 'lm/bf16')));
    const exact = await openCheckpoint(diskFolder(join(GOLDEN, 'lm')));
    for (const [name, { shape }] of exact.tensors) {
      const values = await exact.readFloat32(name);
      const file = await encodeSafetensors([{ name, dtype: 'BF16', shape, values }]);
      const ours = await (await SafetensorsFile.open(memorySource('ours', file))).readRaw(name);
      expect(Buffer.compare(ours, await rounded.readRaw(name)), name).toBe(0);
    }
    await rounded.close();
    await exact.close();
  });

  test('I64 scalars, I32 ids and the only file of a folder', async () => {
    const vision = await openCheckpoint(diskFolder(join(GOLDEN, 'vq')));
    const counter = 'encoder.time_res_stack.0.norm1.num_batches_tracked';
    expect(vision.tensors.get(counter)).toMatchObject({ dtype: 'I64', shape: [] });
    expect((await vision.readInt32(counter)).length).toBe(1);
    await vision.close();
    const ids = await openCheckpoint(diskFolder(join(GOLDEN, 'lm')), { file: 'forward.safetensors' });
    const values = await ids.readInt32('input_ids');
    expect(values.length).toBe(80);
    expect([...(await ids.readFloat32('input_ids'))]).toEqual([...values]);
    await ids.close();
  });
});

describe('reading in pieces', () => {
  test('tiles cover a tensor once, in order, at whole elements, and are never larger than asked for', async () => {
    const checkpoint = await openCheckpoint(diskFolder(join(GOLDEN, 'lm')));
    const name = 'model.layers.0.mlp.down_proj.weight';
    const whole = await checkpoint.readRaw(name);
    for (const tileBytes of [1, 1000, 1001, 4096, 1 << 30]) {
      let position = 0;
      let equal = true;
      for await (const { byteOffset, bytes } of checkpoint.stream(name, tileBytes)) {
        expect(byteOffset).toBe(position);
        if (bytes.byteLength % 4 !== 0 || bytes.byteLength > Math.max(4, tileBytes)) equal = false;
        if (Buffer.compare(bytes, whole.subarray(position, position + bytes.byteLength)) !== 0) equal = false;
        position += bytes.byteLength;
        if (tileBytes === 1 && position >= 400) break;
      }
      expect(equal).toBe(true);
      if (tileBytes > 1) expect(position).toBe(whole.byteLength);
    }
    expectError(await rejection(checkpoint.stream(name, 0).next()), 'argument', name);
    expectError(await rejection(checkpoint.readFloat32('nothing')), 'missing', 'nothing');
    await checkpoint.close();
  });

  test('a blob reads like a file', async () => {
    const bytes = await encodeSafetensors([weight('w', 1, 2, 3)]);
    const file = await SafetensorsFile.open(blobSource('picked', new Blob([bytes.slice()])));
    expect([...(await file.readFloat32('w'))]).toEqual([1, 2, 3]);
  });

  test('an aborted read', async () => {
    const file = await SafetensorsFile.open(memorySource('m', await encodeSafetensors([weight('w', 1)])));
    const error = await rejection(file.readFloat32('w', { signal: AbortSignal.abort() }));
    expectError(error, 'aborted', 'w');
  });
});

describe('a checkpoint in one file of another name', () => {
  const name = 'weights.safetensors';

  test.each(['memory', 'disk'])('is found in a folder and in a folder inside it, in %s', async (place) => {
    await inTemporaryFolder(async (path) => {
      const file = await encodeSafetensors([weight('a', 1)]);
      await mkdir(join(path, 'outer', 'inner'), { recursive: true });
      await writeFile(join(path, 'outer', 'inner', name), file);
      const whole = place === 'disk' ? diskFolder(path) : memoryFolder('m', new Map([[`outer/inner/${name}`, file]]));
      const inner = subfolder(subfolder(whole, 'outer'), 'inner');
      expect(await inner.list?.()).toEqual([name]);
      const checkpoint = await openCheckpoint(inner);
      expect([...(await checkpoint.readFloat32('a'))]).toEqual([1]);
      await checkpoint.close();
    });
  });
});

describe('bad checkpoints', () => {
  const folder = (files: Record<string, Uint8Array | string>): ReturnType<typeof memoryFolder> =>
    memoryFolder('model', new Map(Object.entries(files)));
  const index = (map: Record<string, unknown>): string => JSON.stringify({ weight_map: map });

  test('NaN weights are named with their first index', async () => {
    const file = await encodeSafetensors([weight('fine', 1), weight('layers.0.weight', 1, 2, NaN, Infinity)]);
    const checkpoint = await openCheckpoint(folder({ 'model.safetensors': file }));
    const error = await rejection(checkpoint.readFloat32('layers.0.weight', { checkFinite: true }));
    expectError(error, 'not-finite', 'layers.0.weight', 'Element 2', 'NaN');
    expect((await checkpoint.readFloat32('layers.0.weight'))[3]).toBe(Infinity);
  });

  test('no weights at all', async () => {
    expectError(await rejection(openCheckpoint(folder({}))), 'missing', 'model.safetensors');
    expectError(await rejection(openCheckpoint(diskFolder('/nonexistent/model'))), 'missing', '/nonexistent/model');
  });

  test('a missing shard', async () => {
    const files = { [INDEX]: index({ a: 'one.safetensors', b: 'two.safetensors' }) };
    const one = await encodeSafetensors([weight('a', 1)]);
    const error = await rejection(openCheckpoint(folder({ ...files, 'one.safetensors': one })));
    expectError(error, 'missing', 'two.safetensors');
  });

  test('a tensor that its shard lacks', async () => {
    const one = await encodeSafetensors([weight('a', 1)]);
    const files = { [INDEX]: index({ a: 'one.safetensors', b: 'one.safetensors' }), 'one.safetensors': one };
    expectError(await rejection(openCheckpoint(folder(files))), 'missing', '"b"', 'one.safetensors');
  });

  test('a tensor in two shards, and twice in the index', async () => {
    const one = await encodeSafetensors([weight('a', 1)]);
    const two = await encodeSafetensors([weight('a', 1), weight('b', 1)]);
    const shards = { 'one.safetensors': one, 'two.safetensors': two };
    const files = { [INDEX]: index({ a: 'one.safetensors', b: 'two.safetensors' }), ...shards };
    expectError(
      await rejection(openCheckpoint(folder(files))),
      'duplicate',
      '"a"',
      'one.safetensors',
      'two.safetensors',
    );
    const twice = { [INDEX]: '{"weight_map":{"a":"one.safetensors","a":"two.safetensors"}}', ...shards };
    expectError(await rejection(openCheckpoint(folder(twice))), 'duplicate', '"a"');
  });

  test('a damaged index', async () => {
    expectError(await rejection(openCheckpoint(folder({ [INDEX]: '{' }))), 'format', INDEX);
    expectError(await rejection(openCheckpoint(folder({ [INDEX]: '{}' }))), 'format', 'weight_map');
    expectError(await rejection(openCheckpoint(folder({ [INDEX]: index({ a: 3 }) }))), 'format', '"a"');
  });

  test('a shard name that leaves the folder', async () => {
    for (const name of ['../secret', '/etc/passwd', 'a/../../b', 'C:\\x', 'http://x/y', '']) {
      expectError(await rejection(openCheckpoint(folder({ [INDEX]: index({ a: name }) }))), 'format', INDEX);
    }
    assertInsideFolder('shards/model-00001.safetensors', 'x');
    expectError(
      thrown(() => assertInsideFolder('..', 'x')),
      'format',
    );
  });

  test('a truncated file on disk, also when it shrinks after it was opened', async () => {
    await inTemporaryFolder(async (path) => {
      const file = join(path, 'model.safetensors');
      const bytes = await encodeSafetensors([weight('a', ...new Array<number>(100).fill(1))]);
      await writeFile(file, bytes.subarray(0, bytes.byteLength - 7));
      expectError(await rejection(openCheckpoint(diskFolder(path))), 'format', file, ': a');
      await writeFile(file, bytes);
      const checkpoint = await openCheckpoint(diskFolder(path));
      await truncate(file, bytes.byteLength - 40);
      expectError(await rejection(checkpoint.readFloat32('a')), 'format', file, 'ended early');
      await checkpoint.close();
    });
  });

  test('a folder in place of a file', async () => {
    await inTemporaryFolder(async (path) => expectError(await rejection(openFileSource(path)), 'io', path));
  });

  test('ranges outside a source are refused before anything is allocated', async () => {
    const source = memorySource('m', new Uint8Array(10));
    for (const [offset, length] of [
      [0, 11],
      [10, 1],
      [-1, 2],
      [0.5, 1],
      [0, NaN],
      [2 ** 53, 1],
    ] as const) {
      expectError(await rejection(source.read(offset, length)), 'argument', 'm');
    }
  });
});
