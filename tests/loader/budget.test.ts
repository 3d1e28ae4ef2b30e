import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Emu3 } from '../../loader/pipeline/emu3.js';
import { describeBudget, planBudget, type MemoryBudget } from '../../loader/memory/budget.js';
import { diskFolder, parseTransformerConfig, parseVisionConfig, type ModelFolder } from '../../loader/index.node.js';
import type { CacheType } from '../../engine/decode/index.js';
import type { WeightFormat } from '../../loader/pipeline/weights.js';
import { writeTinyModel } from '../cli/support.js';
import { testDevice } from '../support/gpu.js';
import { expectError, rejection } from './support.js';

const gib = 2 ** 30;
let root = '';
let model = '';

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'emu3-budget-'));
  model = await writeTinyModel(join(root, 'model'));
});
afterAll(() => rm(root, { recursive: true, force: true }));

/** The folder, its weights out of reach. */
function withoutWeights(folder: ModelFolder): ModelFolder {
  return { ...folder, open: (file) => Promise.reject(new Error(`${file} was opened`)) };
}

describe('the memory budget', () => {
  it('is told before a weight is read, and covers what the model then takes', async () => {
    const device = await testDevice();
    const before = device.allocatedBytes;
    let budget: MemoryBudget | undefined;
    const emu3 = await Emu3.load({ device, folder: diskFolder(model), onBudget: (told) => (budget = told) });
    await emu3.generate({ prompt: 'a tiger', seed: 1, guidance: 2, temperature: 1 });
    const taken = device.allocatedBytes - before;
    const { total = 0, weights, visionTokenizer } = budget ?? {};
    expect(weights).toBe(emu3.parameters.bytes);
    expect(visionTokenizer).toBeGreaterThan(1e6);
    // The cache is rounded up to whole chunks, prompts are short here, and uniforms come on top.
    expect(taken).toBeLessThan(total + (2 << 20));
    expect(taken).toBeGreaterThan(total / 4);
    await emu3.destroy();
  });

  it('refuses what is above the limit, with the numbers and what would fit, and nothing is read', async () => {
    const device = await testDevice();
    const before = device.allocatedBytes;
    const folder = withoutWeights(diskFolder(model));
    let total = 0;
    const onBudget = (budget: MemoryBudget): void => void (total = budget.total);
    const slightly = rejection(Emu3.load({ device, folder, onBudget, memoryLimit: 1 }));
    expectError(await slightly, 'limit', 'memory');
    const above = (memoryLimit: number): Promise<Emu3> => Emu3.load({ device, folder, memoryLimit });
    await expect(above(total - 1)).rejects.toThrow(
      /needs .* GiB \(.*weights .*\), and there are .*Load it with f32 weights and a key-value cache of f16/,
    );
    await expect(above(100)).rejects.toThrow(/at least .* GiB/);
    expect(device.allocatedBytes).toBe(before);
    await expect(Emu3.load({ device, folder, memoryLimit: total })).rejects.toThrow('was opened');
  });

  it('of the released model fits a consumer GPU in 4 bit alone', async () => {
    const device = await testDevice();
    const config = parseTransformerConfig('{"model_type": "Emu3"}', 'config');
    const visionConfig = parseVisionConfig('{"model_type": "Emu3VisionVQ"}', 'vision');
    const of = (weights: WeightFormat, cacheType: CacheType): MemoryBudget =>
      planBudget(device, { config, visionConfig, weights, cacheType });
    const q4 = of('q4', 'f16');
    // 8.49 G matrix weights of half a byte and a sixteenth.
    expect(q4.weights / gib).toBeCloseTo((8.49e9 * 0.5625) / gib, 1);
    // 2 rows x 8,257 positions x 32 layers x 2 x 8 heads x 128 x 2 bytes.
    expect(q4.cache / gib).toBeCloseTo(2.02, 1);
    expect(of('q8', 'f16').total / gib).toBeGreaterThan(10);
    expect(of('f32', 'f16').total / gib).toBeGreaterThan(30);
    expect(of('q4', 'f32').cache).toBe(2 * q4.cache);
    // A byte an element, and four for each 128.
    expect(of('q4', 'q8').cache).toBe((q4.cache * 132) / 256);
    expect(describeBudget(q4)).toMatch(/^[\d.]+ GiB \(weights [\d.]+ GiB, /);
  });
});
