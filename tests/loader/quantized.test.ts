import { describe, expect, it, vi } from 'vitest';
import type { ParameterStore } from '../../engine/parameters.js';
import { QuantizedParameters, quantizedBytes } from '../../engine/quantized/index.js';
import {
  encodeSafetensors,
  loadQuantizedTransformer,
  loadTransformer,
  memoryFolder,
  storeTensors,
  type ModelFolder,
  type TensorToWrite,
} from '../../loader/index.js';
import { testDevice } from '../support/gpu.js';
import { packedWords } from '../support/quantized.js';
import { packableConfig, packableConfigJson, tinyBase } from '../support/lora.js';
import { expectError, rejection } from './support.js';

async function folderOf(
  store: ParameterStore,
  dtype: 'F32' | 'F16' | 'BF16',
  edit: (tensor: TensorToWrite) => TensorToWrite = (tensor) => tensor,
): Promise<ModelFolder> {
  const tensors = storeTensors(store, dtype).map(edit);
  const files: [string, Uint8Array | string][] = [
    ['config.json', packableConfigJson],
    ['model.safetensors', await encodeSafetensors(tensors)],
  ];
  return memoryFolder('memory', new Map(files));
}

async function expectSame(actual: QuantizedParameters, expected: QuantizedParameters): Promise<void> {
  expect([...actual.shapes]).toEqual([...expected.shapes]);
  expect([...actual.weights.keys()]).toEqual([...expected.weights.keys()]);
  expect(actual.errors).toEqual(expected.errors);
  for (const [name, weight] of expected.weights) {
    const packed = actual.weights.get(name);
    expect(packed && (await packedWords(packed)), name).toEqual(await packedWords(weight));
  }
  for (const name of expected.full.shapes.keys()) {
    expect(await actual.tensor(name).readFloat32(), name).toEqual(await expected.tensor(name).readFloat32());
  }
}

describe('packing while loading', () => {
  it('gives what packing the loaded weights gives, from every type of file', async () => {
    const device = await testDevice();
    const base = await tinyBase({}, packableConfig);
    for (const [dtype, format] of [
      ['F32', 'q4'],
      ['F16', 'q8'],
      ['BF16', 'q4'],
    ] as const) {
      const folder = await folderOf(base, dtype);
      const { parameters: plain } = await loadTransformer(device, folder);
      const expected = await QuantizedParameters.from(device, plain, { format });
      const progress: string[] = [];
      const { config, parameters } = await loadQuantizedTransformer(device, folder, {
        format,
        onProgress: ({ tensor, loadedBytes, totalBytes }) => {
          progress.push(tensor);
          if (progress.length === base.shapes.size) expect(loadedBytes).toBe(totalBytes);
        },
      });
      expect(config).toEqual(packableConfig);
      expect(progress).toEqual([...base.shapes.keys()]);
      expect(parameters.weights.size).toBe(14);
      await expectSame(parameters, expected);
      for (const part of [plain, expected, parameters]) part.destroy();
    }
    base.destroy();
  });

  it('never has a matrix in f32 on the GPU', async () => {
    const device = await testDevice();
    const base = await tinyBase({}, packableConfig);
    const folder = await folderOf(base, 'BF16');
    base.destroy();
    await device.finish();
    const before = device.allocatedBytes;
    let [most, largest] = [0, 0];
    const create = device.createBuffer.bind(device);
    const spy = vi.spyOn(device, 'createBuffer').mockImplementation((...args) => {
      const buffer = create(...args);
      most = Math.max(most, device.allocatedBytes - before);
      largest = Math.max(largest, args[1]);
      return buffer;
    });
    try {
      const { parameters } = await loadQuantizedTransformer(device, folder, { format: 'q4' });
      const matrices = [...parameters.weights.values()].map(({ shape: [outputs, inputs] }) => outputs * inputs);
      const head = Math.max(...matrices);
      expect(parameters.bytes).toBe(
        parameters.full.bytes +
          [...parameters.weights.values()].reduce((sum, weight) => sum + quantizedBytes(weight), 0),
      );
      // On top of what stays: the bf16 rows of one weight, its statistics, their copy for the host, and uniforms.
      expect(most - parameters.bytes).toBeLessThan(2 * head + 2 * 16 * packableConfig.vocab_size + 4096);
      expect(most).toBeLessThan((4 * matrices.reduce((sum, elements) => sum + elements, 0)) / 1.5);
      expect(largest).toBe(Math.max(parameters.full.bytes, 2 * head));
      parameters.destroy();
    } finally {
      spy.mockRestore();
    }
  });

  it('leaves nothing behind when it fails or is stopped', async () => {
    const device = await testDevice();
    const base = await tinyBase({}, packableConfig);
    const folder = await folderOf(base, 'F32');
    // Grows the buffer for reading back, which stays.
    (await loadQuantizedTransformer(device, folder)).parameters.destroy();
    const before = device.allocatedBytes;
    const damaged = 'model.layers.1.mlp.gate_proj.weight';
    const infinite = await folderOf(base, 'BF16', (tensor) =>
      tensor.name === damaged ? { ...tensor, values: new Float32Array(40 * 96).fill(Infinity) } : tensor,
    );
    expectError(await rejection(loadQuantizedTransformer(device, infinite)), 'not-finite', damaged);
    expect(device.allocatedBytes).toBe(before);
    const controller = new AbortController();
    const stopped = loadQuantizedTransformer(device, folder, {
      signal: controller.signal,
      onProgress: ({ tensor }) => {
        if (tensor === 'model.layers.0.mlp.up_proj.weight') controller.abort();
      },
    });
    expectError(await rejection(stopped), 'aborted');
    expect(device.allocatedBytes).toBe(before);
    const byName = { format: () => 'q4' as const };
    const uneven = await rejection(loadQuantizedTransformer(device, folder, byName));
    expectError(uneven, 'shape', 'model.layers.0.mlp.down_proj.weight');
    expect(device.allocatedBytes).toBe(before);
    base.destroy();
  });
});
