import { describe, expect, it } from 'vitest';
import { matmulReference } from '../../kernels/matmul/reference.js';
import type { Device } from '../../engine/device.js';
import { Graph, gradients, Program, type Tensor } from '../../engine/graph/index.js';
import { scale } from '../../engine/ops/elementwise.js';
import { ParameterStore } from '../../engine/parameters.js';
import {
  createQuantizedWeight,
  dequantize,
  destroyQuantizedWeight,
  isTransformerMatrix,
  QuantizedParameters,
  quantizedBytes,
  quantizeWeight,
  WeightQuantizer,
} from '../../engine/quantized/index.js';
import { GpuTensor } from '../../engine/tensor.js';
import { expectClose, pseudoRandom, relativeError } from '../support/compare.js';
import { testDevice } from '../support/gpu.js';
import { packedWords } from '../support/quantized.js';

const [n, k] = [7, 96];

/** Bytes the device holds, once its buffer for reading back has grown to what these tests read. */
async function settledBytes(device: Device): Promise<number> {
  const large = GpuTensor.create(device, [64, 160], 'f32', 'large');
  await large.readFloat32();
  large.destroy();
  return device.allocatedBytes;
}

describe('a packed weight', () => {
  it('is the same from the host, from the GPU and tile by tile, and comes with its error', async () => {
    const device = await testDevice();
    const before = await settledBytes(device);
    const data = pseudoRandom(n * k, 1);
    const source = GpuTensor.from(device, [n, k], 'f32', data, 'weight');
    for (const format of ['q4', 'q8'] as const) {
      const host = await quantizeWeight(device, { shape: [n, k], data }, format);
      const gpu = await quantizeWeight(device, source, format);
      const tiled = createQuantizedWeight(device, format, [n, k], 'tiled');
      const quantizer = await WeightQuantizer.create(device, tiled, { source: 'f32', tileRows: 3 });
      const { buffers, bindGroups } = device.counters;
      for (let row = 0; row < n; row += 3) quantizer.write(row, data.subarray(row * k, (row + 3) * k));
      await device.finish();
      expect([device.counters.buffers, device.counters.bindGroups]).toEqual([buffers, bindGroups]);
      expect(await packedWords(gpu.weight)).toEqual(await packedWords(host.weight));
      expect(await packedWords(tiled)).toEqual(await packedWords(host.weight));
      expect(gpu.error).toEqual(host.error);
      expect(await quantizer.error()).toEqual(host.error);

      const values = await dequantize(device, host.weight);
      const packed = await values.readFloat32();
      expect(host.error.relativeRms).toBeCloseTo(relativeError(packed, data), 6);
      expect(host.error.maxAbsolute).toBeCloseTo(Math.max(...packed.map((value, i) => Math.abs(value - data[i]))), 6);
      expect(host.error.relativeRms).toBeLessThan(format === 'q4' ? 0.08 : 0.006);
      expect(quantizedBytes(host.weight)).toBe(n * (k * (format === 'q4' ? 0.5 : 1) + 8));

      quantizer.destroy();
      values.destroy();
      for (const weight of [host.weight, gpu.weight, tiled]) destroyQuantizedWeight(weight);
    }
    source.destroy();
    expect(device.allocatedBytes).toBe(before);
  });

  it('takes the bytes of a bf16 file, from any offset', async () => {
    const device = await testDevice();
    const values = Float32Array.from({ length: n * k }, (_, index) => ((index * 7) % 16) - 8);
    const bits = new Uint32Array(values.buffer);
    const file = new Uint8Array(1 + 2 * n * k);
    bits.forEach((word, index) => file.set([(word >>> 16) & 255, word >>> 24], 1 + 2 * index));
    const weight = createQuantizedWeight(device, 'q4', [n, k], 'from bf16');
    const quantizer = await WeightQuantizer.create(device, weight, { source: 'bf16' });
    quantizer.write(0, file.subarray(1));
    expect(await quantizer.error()).toEqual({ maxAbsolute: 0, relativeRms: 0 });
    const out = await dequantize(device, weight);
    expect(await out.readFloat32()).toEqual(values);
    quantizer.destroy();
    out.destroy();
    destroyQuantizedWeight(weight);
  });

  it('is refused where it cannot be packed, and nothing stays behind', async () => {
    const device = await testDevice();
    const data = pseudoRandom(n * k, 1);
    const before = await settledBytes(device);
    const refused = (code: string, where = 'weight'): unknown => expect.objectContaining({ code, where });
    await expect(quantizeWeight(device, { shape: [n, 95], data }, 'q4')).rejects.toEqual(refused('shape'));
    await expect(quantizeWeight(device, { shape: [n + 1, k], data }, 'q4')).rejects.toEqual(refused('shape'));
    const holed = data.map((value, index) => (index === 100 ? NaN : value));
    await expect(quantizeWeight(device, { shape: [n, k], data: holed }, 'q8')).rejects.toThrow(
      /1 values? .*not finite/,
    );
    const signal = AbortSignal.abort();
    await expect(quantizeWeight(device, { shape: [n, k], data }, 'q4', { signal })).rejects.toEqual(refused('aborted'));
    const columns = device.gpu.limits.maxStorageBufferBindingSize / 4 + 32;
    expect(() => createQuantizedWeight(device, 'q4', [9, columns], 'huge')).toThrow(/binding limit/);

    const weight = createQuantizedWeight(device, 'q4', [n, k], 'weight');
    const quantizer = await WeightQuantizer.create(device, weight, { source: 'f32', tileRows: 2 });
    expect(() => quantizer.write(0, data.subarray(0, 3 * k))).toThrow(/at most 2/);
    expect(() => quantizer.write(0, data.subarray(0, k + 1))).toThrow(/whole number of rows/);
    expect(() => quantizer.write(n - 1, data.subarray(0, 2 * k))).toThrow(/no tile of 7 rows/);
    quantizer.destroy();
    destroyQuantizedWeight(weight);
    expect(device.allocatedBytes).toBe(before);
  });
});

describe('packed parameters', () => {
  const shapes = new Map<string, readonly number[]>([
    ['model.embed_tokens.weight', [9, 64]],
    ['model.layers.0.input_layernorm.weight', [64]],
    ['model.layers.0.self_attn.q_proj.weight', [64, 64]],
    ['model.layers.0.self_attn.k_proj.weight', [32, 64]],
    ['model.layers.0.mlp.down_proj.weight', [64, 160]],
    ['model.norm.weight', [64]],
    ['lm_head.weight', [9, 64]],
  ]);

  async function filled(from: ReadonlyMap<string, readonly number[]> = shapes) {
    const store = ParameterStore.create(await testDevice(), from);
    for (const [index, [name, shape]] of [...from].entries()) {
      store.tensor(name).write(
        pseudoRandom(
          shape.reduce((a, b) => a * b),
          index + 1,
        ),
      );
    }
    return store;
  }

  it('hold matrices packed and the norms as they were', async () => {
    const device = await testDevice();
    const store = await filled();
    const before = await settledBytes(device);
    const progress: string[] = [];
    const packed = await QuantizedParameters.from(device, store, {
      format: (name) => (name === 'lm_head.weight' ? 'q8' : 'q4'),
      onProgress: (done, total, name) => progress.push(`${done}/${total} ${name}`),
    });
    const matrices = [...shapes.keys()].filter(isTransformerMatrix);
    expect([...packed.weights.keys()]).toEqual(matrices);
    expect(matrices).toHaveLength(5);
    expect(progress[4]).toBe('5/5 lm_head.weight');
    for (const name of matrices) {
      const { relativeRms, maxAbsolute } = packed.errors.get(name) ?? { relativeRms: NaN, maxAbsolute: NaN };
      const [rms, most] = name === 'lm_head.weight' ? [0.006, 1 / 250] : [0.08, 2 / 9];
      expect(relativeRms).toBeLessThan(rms);
      expect(relativeRms).toBeGreaterThan(rms / 10);
      expect(maxAbsolute).toBeLessThan(most);
      expect(() => packed.tensor(name)).toThrow(expect.objectContaining({ code: 'unsupported', where: name }));
    }
    for (const name of ['model.layers.0.input_layernorm.weight', 'model.norm.weight']) {
      expect(await packed.tensor(name).readFloat32()).toEqual(await store.tensor(name).readFloat32());
    }
    expect(() => packed.tensor('other')).toThrow(expect.objectContaining({ code: 'missing', where: 'other' }));
    expect(packed.bytes).toBeLessThan(store.bytes / 2);
    packed.destroy();
    expect(device.allocatedBytes).toBe(before);
    store.destroy();
  });

  it('multiply by name, packed or not, all rows or some', async () => {
    const device = await testDevice();
    const store = await filled();
    const packed = await QuantizedParameters.from(device, store);
    const x = pseudoRandom(3 * 64, 20);
    const input = GpuTensor.from(device, [3, 64], 'f32', x, 'x');
    const graph = new Graph(device.traits);
    const weights = packed.bind(graph);
    expect(weights.trained(0)).toEqual([]);
    const names = ['model.layers.0.self_attn.k_proj.weight', 'lm_head.weight', 'model.embed_tokens.weight'];
    const outputs = names.map((name) => weights.linear(name, graph.bind(input)));
    const some = names.map((name) => weights.linear(name, graph.bind(input), { first: 5, count: 3 }));
    const program = await Program.compile(device, graph, { label: 'products', outputs: [...outputs, ...some] });
    program.run();
    for (const [index, name] of names.entries()) {
      const weight = packed.weights.get(name);
      const values = weight ? await dequantize(device, weight) : packed.tensor(name);
      const [outs] = values.shape;
      const expected = matmulReference(x, await values.readFloat32(), { m: 3, n: outs, depth: 64, transposeB: true });
      expectClose(await program.output(outputs[index]).readFloat32(), expected, { absolute: 2e-5 }, name);
      const last = await program.output(some[index]).readFloat32();
      const columns = last.length / 3;
      for (let row = 0; row < 3; row++) {
        const three = last.subarray((row + 1) * columns - 3, (row + 1) * columns);
        expectClose(three, expected.subarray(row * outs + 5, row * outs + 8), { absolute: 2e-5 }, `${name}, rows`);
      }
      if (weight) values.destroy();
    }
    program.destroy();
    input.destroy();
    packed.destroy();
    store.destroy();
  });

  it('give the products of layers with one input at once, whether or not they lie together', async () => {
    const device = await testDevice();
    const names = ['q', 'k', 'v'].map((part) => `model.layers.0.self_attn.${part}_proj.weight`);
    const [query, key, value] = names;
    const attention = new Map<string, readonly number[]>([
      [query, [64, 64]],
      [key, [32, 64]],
      [value, [32, 64]],
    ]);
    const apart = new Map([...attention, [key, [33, 64]]]);
    const input = GpuTensor.from(device, [3, 64], 'f32', pseudoRandom(3 * 64, 20), 'x');
    for (const [given, format, shards] of [
      [attention, 'q4', undefined],
      [attention, (name: string) => (name === key ? 'q8' : 'q4'), undefined],
      [attention, (name: string) => (name === key ? undefined : 'q4'), undefined],
      [attention, 'q4', 1024],
      // The rows behind cannot be bound.
      [apart, 'q4', undefined],
      [attention, () => undefined, undefined],
    ] as const) {
      const store = await filled(given);
      const packed = await QuantizedParameters.from(device, store, { format, ...(shards && { shardBytes: shards }) });
      const graph = new Graph(device.traits);
      const weights = packed.bind(graph);
      const x = graph.bind(input);
      const joined = weights.joined(names, x);
      const single = names.map((name) => weights.linear(name, x));
      const program = await Program.compile(device, graph, { label: 'joined', outputs: [joined, ...single] });
      program.run();
      const read = (tensor: Tensor): Promise<Float32Array> => program.output(tensor).readFloat32();
      const [whole, parts] = [await read(joined), await Promise.all(single.map(read))];
      for (let row = 0; row < 3; row++) {
        const expected = parts.flatMap((part) => [
          ...part.subarray((row * part.length) / 3, ((row + 1) * part.length) / 3),
        ]);
        const width = whole.length / 3;
        expectClose(whole.subarray(row * width, (row + 1) * width), expected, { absolute: 1e-5 }, 'joined');
      }
      program.destroy();
      packed.destroy();
      store.destroy();
    }
    input.destroy();
  });

  it('are the same in shards, row by row and as products, look-ups and gradients', async () => {
    const device = await testDevice();
    const large = new Map([
      ...shapes,
      ['lm_head.weight', [203, 64]],
      ['model.embed_tokens.weight', [203, 64]],
    ] as const);
    const store = await filled(large);
    // The largest tensor read here: the buffer for reading back stays that large.
    const data = await store.tensor('lm_head.weight').readFloat32();
    const before = await settledBytes(device);
    for (const format of ['q4', 'q8'] as const) {
      const whole = await QuantizedParameters.from(device, store, { format });
      const cut = await QuantizedParameters.from(device, store, { format, shardBytes: 4096 });
      expect(cut.errors).toEqual(whole.errors);
      expect(cut.bytes).toBe(whole.bytes);
      for (const [name, weight] of whole.weights) {
        expect(weight.shards).toHaveLength(1);
        const same = cut.weights.get(name);
        expect(same && (await packedWords(same)), name).toEqual(await packedWords(weight));
      }
      const head = cut.weights.get('lm_head.weight');
      expect(head?.shards.map(({ firstRow }) => firstRow)).toEqual(format === 'q4' ? [0, 104] : [0, 48, 104, 152]);

      // Tiles that lie across the shards' borders.
      const tiled = createQuantizedWeight(device, format, [203, 64], 'tiled', 4096);
      const quantizer = await WeightQuantizer.create(device, tiled, { source: 'f32', tileRows: 61 });
      for (let row = 0; row < 203; row += 61) quantizer.write(row, data.subarray(row * 64, (row + 61) * 64));
      expect(await quantizer.error()).toEqual(whole.errors.get('lm_head.weight'));
      expect(head && (await packedWords(head))).toEqual(await packedWords(tiled));
      const values = await dequantize(device, tiled);

      const input = GpuTensor.from(device, [3, 64], 'f32', pseudoRandom(3 * 64, 20), 'x');
      const ids = GpuTensor.from(device, [5], 'u32', Uint32Array.of(202, 0, 150, 203, 104), 'ids');
      const results = [whole, cut].map((parameters) => {
        const graph = new Graph(device.traits);
        const weights = parameters.bind(graph);
        const x = graph.bind(input);
        const product = weights.linear('lm_head.weight', x);
        const gradient = gradients(graph, [[product, scale(graph, product, 0.5)]], [x]).get(x);
        if (gradient === undefined) throw new Error('the input has no gradient');
        const some = weights.linear('lm_head.weight', x, { first: 100, count: 60 });
        return { graph, outputs: [product, weights.embed(graph.bind(ids), 1), gradient, some] };
      });
      const read: Float32Array[][] = [];
      for (const { graph, outputs } of results) {
        const program = await Program.compile(device, graph, { label: 'products', outputs });
        program.run();
        read.push(await Promise.all(outputs.map((output) => program.output(output).readFloat32())));
        program.destroy();
      }
      const [expected, actual] = read;
      expect(actual[0]).toEqual(expected[0]);
      expect(actual[1]).toEqual(expected[1]);
      expect(actual[1].subarray(3 * 64, 4 * 64)).toEqual(new Float32Array(64));
      expect(actual[1].subarray(64, 128)).not.toEqual(new Float32Array(64));
      expectClose(actual[2], Float64Array.from(expected[2]), { absolute: 1e-5, relative: 1e-6 }, 'gradient');
      for (let row = 0; row < 3; row++) {
        const asked = actual[3].subarray(0, ((row + 1) * actual[3].length) / 3).slice(-60);
        expect(asked).toEqual(expected[0].slice(row * 203 + 100, row * 203 + 160));
      }
      quantizer.destroy();
      destroyQuantizedWeight(tiled);
      for (const part of [values, input, ids, whole, cut]) part.destroy();
    }
    expect(device.allocatedBytes).toBe(before);
    store.destroy();
  });

  it('keep a layer that cannot be cut into groups, or refuse it when it was asked for', async () => {
    const device = await testDevice();
    const name = 'model.layers.1.mlp.up_proj.weight';
    const store = await filled(new Map([...shapes, [name, [8, 40]]]));
    const before = await settledBytes(device);
    const packed = await QuantizedParameters.from(device, store);
    expect(packed.weights.size).toBe(5);
    expect([...packed.shapes.keys()]).toEqual([...store.shapes.keys()]);
    expect(await packed.tensor(name).readFloat32()).toEqual(await store.tensor(name).readFloat32());
    packed.destroy();
    await expect(QuantizedParameters.from(device, store, { format: () => 'q4' })).rejects.toEqual(
      expect.objectContaining({ code: 'shape', where: name }),
    );
    await expect(QuantizedParameters.from(device, store, { signal: AbortSignal.abort() })).rejects.toEqual(
      expect.objectContaining({ code: 'aborted' }),
    );
    expect(device.allocatedBytes).toBe(before);
    store.destroy();
  });
});
