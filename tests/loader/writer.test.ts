import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  diskFolder,
  encodeSafetensors,
  openCheckpoint,
  writeModel,
  writeSafetensors,
} from '../../loader/index.node.js';
import { memorySource, readHeader, SafetensorsFile } from '../../loader/index.js';
import type { TensorToWrite } from '../../loader/index.js';
import { diskWithRoom, killedAt } from './rehearse.js';
import { expectError, inTemporaryFolder, randomNumbers, rejection } from './support.js';

function randomTensor(
  name: string,
  shape: number[],
  seed: number,
  dtype: 'F32' | 'F16' | 'BF16' = 'F32',
): TensorToWrite {
  const random = randomNumbers(seed);
  const values = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => random() * 4 - 2);
  return { name, dtype, shape, values };
}

describe('writing', () => {
  test('every type comes back as it was', async () => {
    const tensors: TensorToWrite[] = [
      { name: 'u8', dtype: 'U8', shape: [3], values: Uint8Array.of(0, 128, 255) },
      { name: 'f32', dtype: 'F32', shape: [2, 2], values: Float32Array.of(1, -0, NaN, 1e-45) },
      { name: 'f16', dtype: 'F16', shape: [2], values: Float32Array.of(0.5, -65504) },
      { name: 'bf16', dtype: 'BF16', shape: [2], values: Float32Array.of(1.0078125, -3e38) },
      { name: 'i32', dtype: 'I32', shape: [2], values: Int32Array.of(-(2 ** 31), 7) },
      { name: 'steps', dtype: 'I64', shape: [], values: BigInt64Array.of(-(2n ** 62n)) },
      { name: 'none', dtype: 'F32', shape: [0, 5], values: new Float32Array(0) },
      { name: '7', dtype: 'F32', shape: [], values: Float32Array.of(7) },
    ];
    const bytes = await encodeSafetensors(tensors, { metadata: { format: 'pt', note: 'é' } });
    const file = await SafetensorsFile.open(memorySource('m', bytes));
    expect(file.metadata.get('note')).toBe('é');
    for (const { name, dtype, shape } of tensors) expect(file.tensor(name)).toMatchObject({ dtype, shape });
    const f32 = await file.readFloat32('f32');
    expect(new Uint32Array(f32.buffer)).toEqual(new Uint32Array(Float32Array.of(1, -0, NaN, 1e-45).buffer));
    expect([...(await file.readFloat32('f16'))]).toEqual([0.5, -65504]);
    expect((await file.readFloat32('bf16'))[0]).toBe(1.0078125);
    expect([...(await file.readInt32('i32'))]).toEqual([-(2 ** 31), 7]);
    expect([...(await file.readInt32('u8'))]).toEqual([0, 128, 255]);
    const raw = await file.readRaw('steps');
    expect(new DataView(raw.buffer, raw.byteOffset).getBigInt64(0, true)).toBe(-(2n ** 62n));
    const header = await readHeader(memorySource('m', bytes));
    expect(header.dataStart % 8).toBe(0);
    const widths = { F32: 4, F16: 2, BF16: 2, I32: 4, I64: 8, U8: 1 };
    for (const { name, dtype } of tensors) {
      expect((header.tensors.get(name)?.byteOffset ?? NaN) % widths[dtype], name).toBe(0);
    }
  });

  test('values may come late and in pieces, one tensor at a time', async () => {
    const order: string[] = [];
    async function* halves(name: string): AsyncGenerator<Float32Array> {
      order.push(name);
      yield await Promise.resolve(Float32Array.of(1, 2));
      yield Float32Array.of(3);
      order.push(`${name} done`);
    }
    const bytes = await encodeSafetensors([
      { name: 'a', dtype: 'BF16', shape: [3], values: () => halves('a') },
      {
        name: 'b',
        dtype: 'BF16',
        shape: [3],
        values: () => (order.push('b'), Promise.resolve(Float32Array.of(4, 5, 6))),
      },
    ]);
    const file = await SafetensorsFile.open(memorySource('m', bytes));
    expect([...(await file.readFloat32('a')), ...(await file.readFloat32('b'))]).toEqual([1, 2, 3, 4, 5, 6]);
    expect(order).toEqual(['a', 'a done', 'b']);
  });

  test('what does not fit together is refused', async () => {
    const one = { dtype: 'F32', shape: [1], values: Float32Array.of(1) } as const;
    expectError(
      await rejection(
        encodeSafetensors([
          { name: 'a', ...one },
          { name: 'a', ...one },
        ]),
      ),
      'duplicate',
      '"a"',
    );
    expectError(await rejection(encodeSafetensors([{ name: '__metadata__', ...one }])), 'argument', 'reserved');
    expectError(
      await rejection(encodeSafetensors([{ name: 'a', ...one, shape: [2] }])),
      'shape',
      '2 elements',
      '1 were',
    );
    expectError(
      await rejection(encodeSafetensors([{ name: 'a', ...one, shape: [], values: new Float32Array(2) }])),
      'shape',
    );
    expectError(await rejection(encodeSafetensors([{ name: 'a', ...one, shape: [-1] }])), 'shape', '-1');
    expectError(await rejection(encodeSafetensors([{ name: 'a', ...one, dtype: 'I64' }])), 'dtype', 'Float32Array');
    const large: TensorToWrite = { name: 'a', dtype: 'F16', shape: [1], values: Float32Array.of(1e6) };
    expectError(await rejection(encodeSafetensors([large])), 'not-finite', 'a', 'F16');
  });

  test('in a file on disk, over an older one', async () => {
    await inTemporaryFolder(async (folder) => {
      const path = join(folder, 'deep/model.safetensors');
      await writeSafetensors(path, [randomTensor('old', [10], 1)]);
      const tensor = randomTensor('w', [1100, 1000], 2);
      await writeSafetensors(path, [tensor], { metadata: { format: 'pt' } });
      expect(await readdir(join(folder, 'deep'))).toEqual(['model.safetensors']);
      const checkpoint = await openCheckpoint(diskFolder(join(folder, 'deep')));
      const expected = tensor.values instanceof Float32Array ? new Uint8Array(tensor.values.buffer) : new Uint8Array(0);
      expect(Buffer.compare(await checkpoint.readRaw('w'), expected)).toBe(0);
      await checkpoint.close();
    });
  });
});

describe('failing to write', () => {
  test.each(['ENOSPC', 'EDQUOT', 'EFBIG'])('a full disk (%s) leaves the old file and nothing else', async (code) => {
    await inTemporaryFolder(async (folder) => {
      const path = join(folder, 'model.safetensors');
      await writeSafetensors(path, [randomTensor('old', [10], 1)]);
      const before = await readFile(path);
      for (const room of [0, 1, 5]) {
        const options = { fileSystem: diskWithRoom(room, code) };
        const error = await rejection(writeSafetensors(path, [randomTensor('new', [5000], 2)], options));
        expectError(error, 'disk-full', 'model.safetensors', code);
        expect(await readdir(folder)).toEqual(['model.safetensors']);
        expect(await readFile(path)).toEqual(before);
      }
    });
  });

  test('a failing producer, a wrong count and an abort leave nothing either', async () => {
    await inTemporaryFolder(async (folder) => {
      const path = join(folder, 'model.safetensors');
      const broken = (): Promise<Float32Array> => Promise.reject(new Error('lost device'));
      const failing: TensorToWrite = { name: 'a', dtype: 'F32', shape: [2], values: broken };
      expectError(await rejection(writeSafetensors(path, [failing])), 'io', 'lost device');
      const short: TensorToWrite = { ...failing, values: Float32Array.of(1) };
      expectError(await rejection(writeSafetensors(path, [short])), 'shape', 'a');
      const signal = AbortSignal.abort();
      expectError(await rejection(writeSafetensors(path, [randomTensor('a', [2], 1)], { signal })), 'aborted');
      expect(await readdir(folder)).toEqual([]);
    });
  });

  test('a folder that cannot be made', async () => {
    await inTemporaryFolder(async (folder) => {
      await writeFile(join(folder, 'file'), '');
      const path = join(folder, 'file/model.safetensors');
      const error = await rejection(writeSafetensors(path, [randomTensor('a', [2], 1)]));
      expect(error).toMatchObject({ name: 'Emu3Error' });
    });
  });

  test('a kill at any step leaves the old file or the new one', async () => {
    const tensor = randomTensor('new', [1500], 2);
    for (let failing = 0, finished = false; !finished; failing++) {
      await inTemporaryFolder(async (folder) => {
        const path = join(folder, 'model.safetensors');
        await writeSafetensors(path, [randomTensor('old', [10], 1)]);
        const { fileSystem } = killedAt(failing);
        try {
          await writeSafetensors(path, [tensor], { fileSystem });
          finished = true;
        } catch (error) {
          expectError(error, 'io');
        }
        const checkpoint = await openCheckpoint(diskFolder(folder));
        const [name = ''] = checkpoint.tensors.keys();
        expect(['old', 'new']).toContain(name);
        if (name === 'new') expect(await checkpoint.readFloat32('new')).toEqual(tensor.values);
        await checkpoint.close();
      });
      expect(failing).toBeLessThan(100);
    }
  });
});

describe('writing a model in shards', () => {
  const tensors = [1, 2, 3, 4, 5].map((seed) => randomTensor(`layer.${seed}`, [10, 10], seed, 'BF16'));

  async function contents(folder: string): Promise<Map<string, number[]>> {
    const checkpoint = await openCheckpoint(diskFolder(folder));
    const values = new Map<string, number[]>();
    for (const name of checkpoint.tensors.keys()) values.set(name, [...(await checkpoint.readFloat32(name))]);
    await checkpoint.close();
    return values;
  }

  test('one file below the limit, shards and an index above it, stale files removed', async () => {
    await inTemporaryFolder(async (folder) => {
      await mkdir(join(folder, 'keep'));
      await writeFile(join(folder, 'config.json'), '{}');
      expect(await writeModel(folder, tensors)).toEqual(['model.safetensors']);
      const single = await contents(folder);
      const names = await writeModel(folder, tensors, { maxShardBytes: 400, metadata: { format: 'pt' } });
      expect(names).toEqual([
        'model-00001-of-00003.safetensors',
        'model-00002-of-00003.safetensors',
        'model-00003-of-00003.safetensors',
        'model.safetensors.index.json',
      ]);
      expect((await readdir(folder)).sort()).toEqual(['config.json', 'keep', ...names].sort());
      expect(await contents(folder)).toEqual(single);
      const index: unknown = JSON.parse(await readFile(join(folder, 'model.safetensors.index.json'), 'utf8'));
      expect(index).toMatchObject({ metadata: { total_size: 1000 } });
      await writeModel(folder, tensors, { maxShardBytes: 600 });
      expect((await readdir(folder)).length).toBe(2 + 3);
      await writeModel(folder, tensors);
      expect((await readdir(folder)).sort()).toEqual(['config.json', 'keep', 'model.safetensors']);
      expect(await contents(folder)).toEqual(single);
    });
  });

  test('a full disk leaves the older model', async () => {
    await inTemporaryFolder(async (folder) => {
      await writeModel(folder, [randomTensor('old', [3], 9)]);
      for (const room of [0, 2, 4, 6]) {
        const options = { maxShardBytes: 400, fileSystem: diskWithRoom(room) };
        expectError(await rejection(writeModel(folder, tensors, options)), 'disk-full', folder);
        expect(await readdir(folder)).toEqual(['model.safetensors']);
        expect([...(await contents(folder)).keys()]).toEqual(['old']);
      }
    });
  });

  test('a tensor larger than a shard, and a name used in two shards', async () => {
    await inTemporaryFolder(async (folder) => {
      expectError(await rejection(writeModel(folder, tensors, { maxShardBytes: 100 })), 'limit', 'layer.1');
      const twice = [...tensors, randomTensor('layer.1', [10, 10], 7, 'BF16')];
      expectError(await rejection(writeModel(folder, twice, { maxShardBytes: 400 })), 'duplicate', 'layer.1');
      expect(await readdir(folder)).toEqual([]);
    });
  });
});
