import { cp, mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { averagedTensors, diskFolder, openCheckpoint, writeModel, type Checkpoint } from '../../loader/index.node.js';
import { cli, writeText, writeTinyModel } from './support.js';

let root = '';
let models: string[] = [];

/** A model with each weight of the first times a factor. */
async function scaledCopy(model: string, name: string, factor: number): Promise<string> {
  const folder = join(root, name);
  await cp(model, folder, { recursive: true });
  const checkpoint = await openCheckpoint(diskFolder(model));
  const tensors = await Promise.all(
    [...checkpoint.tensors].map(async ([tensor, { shape }]) => {
      const values = await checkpoint.readFloat32(tensor);
      return { name: tensor, dtype: 'F32' as const, shape, values: values.map((value) => value * factor) };
    }),
  );
  await checkpoint.close();
  await writeModel(folder, tensors);
  return folder;
}

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'emu3-average-'));
  const model = await writeTinyModel(join(root, 'model'));
  models = [model, await scaledCopy(model, 'twice', 2), await scaledCopy(model, 'sixfold', 6)];
});
afterAll(() => rm(root, { recursive: true, force: true }));

async function valuesOf(model: string): Promise<Map<string, { dtype: string; values: Float32Array }>> {
  const checkpoint = await openCheckpoint(diskFolder(model));
  const found = new Map<string, { dtype: string; values: Float32Array }>();
  for (const [name, { dtype }] of checkpoint.tensors) {
    found.set(name, { dtype, values: await checkpoint.readFloat32(name) });
  }
  await checkpoint.close();
  return found;
}

describe('average', () => {
  it('writes the mean in the formats of the first model, and all else as it has it', async () => {
    const output = join(root, 'mean');
    await mkdir(join(models[0], 'adapter'), { recursive: true });
    const { code, out } = await cli(['average', ...models, '-o', output]);
    expect(code).toBe(0);
    expect(out).toContain('the mean of 3 models');
    const [first, mean] = [await valuesOf(models[0]), await valuesOf(output)];
    expect([...mean.keys()]).toEqual([...first.keys()]);
    // (1 + 2 + 6) / 3 is 3, of which each bf16 value has a neighbour within 2^-8 of it.
    for (const [name, { dtype, values }] of mean) {
      expect(dtype).toBe('BF16');
      const own = first.get(name)?.values ?? new Float32Array();
      values.forEach((value, at) => {
        expect(Math.abs(value - 3 * own[at])).toBeLessThanOrEqual(Math.abs(own[at]) * 3 * 2 ** -8);
      });
    }
    for (const file of ['config.json', 'tokenizer.json', 'vision_tokenizer/model.safetensors']) {
      expect(await readFile(join(output, file))).toEqual(await readFile(join(models[0], file)));
    }
    await expect(readdir(join(output, 'adapter'))).rejects.toThrow(/ENOENT/);
    const picture = await cli(['inspect', output]);
    expect(picture.code).toBe(0);
  });

  it('refuses one model, other models and its own input, and leaves nothing behind', async () => {
    const other = await writeTinyModel(join(root, 'other'), 64);
    const broken = join(root, 'broken');
    await cp(models[0], broken, { recursive: true });
    await writeText(join(broken, 'tokenizer.json'), '{}');
    const foreign = join(root, 'foreign');
    await cp(models[0], foreign, { recursive: true });
    await rm(join(foreign, 'vision_tokenizer', 'model.safetensors'));
    await writeModel(join(foreign, 'vision_tokenizer'), [
      { name: 'a', dtype: 'F32', shape: [1], values: Float32Array.of(1) },
    ]);
    const output = join(root, 'none');
    for (const [args, message] of [
      [[models[0], '-o', output], /mean of 1 models/],
      [[...models, '-o', models[1]], /would replace/],
      [[models[0], other, '-o', output], /config\.json is not that of/],
      [[models[0], broken, '-o', output], /tokenizer\.json is not that of/],
      [[models[0], foreign, '-o', output], /vision_tokenizer is not that of/],
      [[models[0], join(root, 'nowhere'), '-o', output], /nowhere/],
    ] as const) {
      const { code, err } = await cli(['average', ...args]);
      expect(code).toBe(1);
      expect(err).toMatch(message);
      await expect(readFile(join(output, 'config.json'))).rejects.toThrow(/ENOENT/);
    }
  });

  it('refuses tensors that are missing, of another shape, of whole numbers or not finite', async () => {
    const open = async (name: string, tensors: Parameters<typeof writeModel>[1]): Promise<Checkpoint> => {
      await writeModel(join(root, name), tensors);
      return openCheckpoint(diskFolder(join(root, name)));
    };
    const tensor = (name: string, values: Float32Array, shape = [values.length]) =>
      ({ name, dtype: 'F32', shape, values }) as const;
    const one = await open('one', [tensor('a', Float32Array.of(1, 3)), tensor('b', Float32Array.of(5))]);
    const fewer = await open('fewer', [tensor('a', Float32Array.of(1, 3))]);
    const shaped = await open('shaped', [tensor('a', Float32Array.of(1, 3), [1, 2]), tensor('b', Float32Array.of(5))]);
    const whole = await open('whole', [{ name: 'n', dtype: 'I32', shape: [1], values: Int32Array.of(1) }]);
    const infinite = await open('infinite', [
      tensor('a', Float32Array.of(1, Infinity)),
      tensor('b', Float32Array.of(5)),
    ]);
    expect(() => averagedTensors([one, fewer])).toThrow(/no tensor "b"/);
    expect(() => averagedTensors([fewer, one])).toThrow(/no tensor "b"/);
    expect(() => averagedTensors([fewer, fewer, one])).toThrow(/no tensor "b"/);
    expect(() => averagedTensors([one, shaped])).toThrow(/shape \[1, 2\], and \[2\]/);
    expect(() => averagedTensors([whole, whole])).toThrow(/stored as I32/);
    await expect(writeModel(join(root, 'infinite mean'), averagedTensors([one, infinite]))).rejects.toMatchObject({
      code: 'not-finite',
    });
    for (const each of [one, fewer, shaped, whole, infinite]) await each.close();
  });
});
