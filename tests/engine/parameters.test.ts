import { describe, expect, it } from 'vitest';
import { requestAdapterNode } from '../../engine/adapter/request.node.js';
import { Device } from '../../engine/device.js';
import { Graph, Program } from '../../engine/graph/index.js';
import { add } from '../../engine/ops/elementwise.js';
import { ParameterStore } from '../../engine/parameters.js';
import { GpuTensor } from '../../engine/tensor.js';
import { testDevice } from '../support/gpu.js';

const shapes = new Map<string, readonly number[]>([
  ['embed.weight', [10, 7]],
  ['norm.weight', [5]],
  ['head.weight', [3, 64]],
]);

describe('parameters', () => {
  it('lie in one block at aligned places and do not touch each other', async () => {
    const store = ParameterStore.create(await testDevice(), shapes, { training: true });
    expect(store.blocks).toHaveLength(1);
    expect([...shapes.keys()].map((name) => store.tensor(name).offset)).toEqual([0, 512, 768]);
    for (const [index, name] of [...shapes.keys()].entries()) {
      const { shape } = store.tensor(name);
      store.tensor(name).write(new Float32Array(shape.reduce((a, b) => a * b)).fill(index + 1));
    }
    const block = await store.blocks[0].parameters.readFloat32();
    const filled = (value: number): number => block.filter((found) => found === value).length;
    expect([block.length, filled(0), filled(1), filled(2), filled(3)]).toEqual([384, 117, 70, 5, 192]);
    store.destroy();
  });

  it('decay where they have two axes, or where the caller says', async () => {
    const device = await testDevice();
    const maskOf = async (decays?: (name: string) => boolean): Promise<number[]> => {
      const store = ParameterStore.create(device, shapes, { training: true, ...(decays ? { decays } : {}) });
      const mask = await store.blocks[0].training?.decayMask.readFloat32();
      store.destroy();
      return [...(mask ?? [])];
    };
    expect(await maskOf()).toEqual([1, 1, 0, 1, 1, 1]);
    expect(await maskOf((name) => name === 'norm.weight')).toEqual([0, 0, 1, 0, 0, 0]);
  });

  it('give back what they took', async () => {
    const device = await testDevice();
    const before = device.allocatedBytes;
    const store = ParameterStore.create(device, shapes, { training: true });
    expect(store.bytes).toBe(4 * 384 * 4 + 6 * 4);
    expect(device.allocatedBytes).toBeGreaterThanOrEqual(before + store.bytes);
    store.destroy();
    expect(device.allocatedBytes).toBe(before);
  });

  it('are views of the moments and gradients of their block', async () => {
    const store = ParameterStore.create(await testDevice(), shapes, { training: true });
    const { first, second } = store.moments('head.weight');
    first.write(new Float32Array(192).fill(2));
    second.write(new Float32Array(192).fill(3));
    store.gradient('head.weight').write(new Float32Array(192).fill(4));
    const { training } = store.blocks[0];
    for (const [tensor, value] of [
      [training?.firstMoment, 2],
      [training?.secondMoment, 3],
      [training?.gradients, 4],
    ] as const) {
      const data = await tensor?.readFloat32();
      expect([data?.[191], data?.[192], data?.[383]]).toEqual([0, value, value]);
    }
    expect(await store.tensor('head.weight').readFloat32()).toEqual(new Float32Array(192));
    store.destroy();
  });

  it('are missing by name', async () => {
    const store = ParameterStore.create(await testDevice(), shapes);
    expect(() => store.tensor('lm_head')).toThrow(expect.objectContaining({ code: 'missing', where: 'lm_head' }));
    const untrained: unknown = expect.objectContaining({ code: 'missing', where: 'norm.weight' });
    expect(() => store.gradient('norm.weight')).toThrow(untrained);
    expect(() => store.moments('norm.weight')).toThrow(untrained);
    store.destroy();
  });

  it('start another block where one binding is full, and a tensor above a binding is refused by name', async () => {
    const device = await Device.create(await requestAdapterNode({ log: () => undefined }), { tier: 'default' });
    const elements = device.gpu.limits.maxStorageBufferBindingSize / 4;
    const rows = elements / 64;
    const large = new Map<string, readonly number[]>([
      ['a', [rows - 1, 64]],
      ['b', [64]],
      ['c', [2, 64]],
    ]);
    const store = ParameterStore.create(device, large);
    expect(store.blocks.map(({ parameters }) => parameters.shape)).toEqual([[elements], [128]]);
    expect(store.tensor('b').offset).toBe((elements - 64) * 4);
    store.tensor('b').write(new Float32Array(64).fill(1));
    store.tensor('c').write(new Float32Array(128).fill(2));
    expect([...new Set(await store.tensor('b').readFloat32())]).toEqual([1]);
    expect([...new Set(await store.tensor('c').readFloat32())]).toEqual([2]);
    store.destroy();
    const tooLarge = new Map<string, readonly number[]>([
      ['a', [64]],
      ['huge', [rows + 1, 64]],
    ]);
    const { allocatedBytes } = device;
    expect(() => ParameterStore.create(device, tooLarge)).toThrow(
      expect.objectContaining({ code: 'limit', where: 'huge' }),
    );
    expect(device.allocatedBytes).toBe(allocatedBytes);
    await device.finish();
    device.destroy();
  });
});

describe('outputs of a program', () => {
  it('are those it was compiled with, and must be written by something', async () => {
    const device = await testDevice();
    const graph = new Graph(device.traits);
    const x = GpuTensor.from(device, [2], 'f32', Float32Array.of(1, 2), 'x');
    const inner = add(graph, graph.bind(x), graph.bind(x));
    const out = add(graph, inner, inner);
    const program = await Program.compile(device, graph, { label: 'sums', outputs: [out] });
    expect(() => program.output(inner)).toThrow(expect.objectContaining({ code: 'argument', where: 'sums' }));
    program.destroy();
    const ghost = graph.temporary([2], 'f32', 'ghost');
    await expect(Program.compile(device, graph, { label: 'none', outputs: [ghost] })).rejects.toMatchObject({
      code: 'argument',
      message: expect.stringContaining('ghost') as unknown,
    });
    x.destroy();
  });
});
