import * as ort from 'onnxruntime-web/webgpu';
import type { Job } from './contender.js';
import { onnxModel, type OnnxGraph, type OnnxNode, type OnnxType, type OnnxValue } from './onnx-model.js';
import {
  firstToken,
  joinedWeights,
  normEpsilon,
  rotaryTables,
  type Decoding,
  type InitialTensor,
} from './transformer.js';

/** Bytes of an id, int64. */
const idBytes = 8;

/**
 * A run of the model for each token: the cache is written in place, and each id goes to a buffer that the next run reads.
 * Not a captured run (`enableGraphCapture`): version 1.30 lets go of buffers that are given to it before it replays.
 */
export async function decodingJob(problem: Decoding): Promise<Job> {
  const { sizes, tokens } = problem;
  const session = await ort.InferenceSession.create(onnxModel(decodingGraph(problem)), {
    executionProviders: ['webgpu'],
    preferredOutputLocation: 'gpu-buffer',
  });
  const device = await ort.env.webgpu.device;
  const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
  const owned: GPUBuffer[] = [];
  const create = (size: number, bits: number = usage): GPUBuffer => {
    const buffer = device.createBuffer({ size: Math.max(16, size), usage: bits });
    owned.push(buffer);
    return buffer;
  };
  const idBuffers = Array.from({ length: tokens + 1 }, () => create(idBytes));
  device.queue.writeBuffer(idBuffers[0], 0, BigInt64Array.of(BigInt(firstToken)));
  const ids = idBuffers.map((buffer) => ort.Tensor.fromGpuBuffer(buffer, { dataType: 'int64', dims: [1, 1] }));
  const cache = cacheNames(sizes.layers).map(({ past, present }) => {
    const { dims } = cacheValue(problem);
    const buffer = create(4 * dims.reduce((product, size) => product * size, 1));
    return { past, present, tensor: ort.Tensor.fromGpuBuffer(buffer, { dataType: 'float32', dims }) };
  });
  const read = Object.fromEntries(cache.map(({ past, tensor }) => [past, tensor]));
  const written = Object.fromEntries(cache.map(({ present, tensor }) => [present, tensor]));
  const all = create(tokens * idBytes, GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST);
  const decode = async (): Promise<Float32Array> => {
    for (let position = 0; position < tokens; position++) {
      const places = {
        before: new ort.Tensor('int32', Int32Array.of(position), [1]),
        length: new ort.Tensor('int32', Int32Array.of(position + 1), [1]),
      };
      await session.run({ ...read, ...places, id: ids[position] }, { ...written, next: ids[position + 1] });
    }
    const encoder = device.createCommandEncoder();
    idBuffers.slice(1).forEach((buffer, at) => encoder.copyBufferToBuffer(buffer, 0, all, at * idBytes, idBytes));
    device.queue.submit([encoder.finish()]);
    await all.mapAsync(GPUMapMode.READ);
    const values = Float32Array.from(new BigInt64Array(all.getMappedRange()), Number);
    all.unmap();
    return values;
  };
  return {
    run: async (times) => {
      for (let time = 0; time < times; time++) await decode();
    },
    result: decode,
    destroy: () => {
      void session.release();
      for (const buffer of owned) buffer.destroy();
    },
  };
}

function cacheNames(layers: number): { past: string; present: string }[] {
  return Array.from({ length: layers }, (_, layer) =>
    ['key', 'value'].map((part) => ({ past: `past ${part} ${layer}`, present: `present ${part} ${layer}` })),
  ).flat();
}

function cacheValue({ sizes, tokens }: Decoding): OnnxValue {
  return { dims: [1, sizes.heads, tokens, sizes.hidden / sizes.heads], type: 'float32' };
}

/** One token with the cache of those before: `id`, their number `before` and the `length` with it, to the `next` id. */
function decodingGraph(problem: Decoding): OnnxGraph {
  const { sizes, tokens } = problem;
  const { cos, sin } = rotaryTables(sizes, tokens);
  const norm = { domain: 'com.microsoft', attributes: { epsilon: { float: normEpsilon } } };
  const names = cacheNames(sizes.layers);
  const nodes: OnnxNode[] = [];
  const add = (
    type: string,
    inputs: readonly string[],
    outputs: readonly string[],
    more: Partial<OnnxNode> = {},
  ): string => {
    nodes.push({ type, inputs, outputs, ...more });
    return outputs[0];
  };
  let sum = add('Gather', ['model.embed_tokens.weight', 'id'], ['embedded']);
  let normed = add('SimplifiedLayerNormalization', [sum, 'model.layers.0.input_layernorm.weight'], ['normed'], {
    attributes: norm.attributes,
  });
  for (let layer = 0; layer < sizes.layers; layer++) {
    const weight = (part: string): string => `model.layers.${layer}.${part}.weight`;
    const name = (part: string): string => `${part} ${layer}`;
    const [key, value] = [names[2 * layer], names[2 * layer + 1]];
    const projected = add('MatMul', [normed, weight('self_attn.qkv_proj')], [name('projected')]);
    const attended = add(
      'GroupQueryAttention',
      [projected, '', '', key.past, value.past, 'before', 'length', 'cos', 'sin'],
      [name('attended'), key.present, value.present],
      {
        domain: 'com.microsoft',
        attributes: { num_heads: sizes.heads, kv_num_heads: sizes.heads, do_rotary: 1, rotary_interleaved: 0 },
      },
    );
    const mixed = add('MatMul', [attended, weight('self_attn.o_proj')], [name('mixed')]);
    const between = name('between');
    const again = add(
      'SkipSimplifiedLayerNormalization',
      [sum, mixed, weight('post_attention_layernorm')],
      [name('normed again'), '', '', between],
      norm,
    );
    const halves = add('MatMul', [again, weight('mlp.gate_up_proj')], [name('halves')]);
    const [gate, up] = [name('gate'), name('up')];
    add('Split', [halves], [gate, up], { attributes: { axis: -1 } });
    const silu = add('QuickGelu', [gate], [name('silu')], {
      domain: 'com.microsoft',
      attributes: { alpha: { float: 1 } },
    });
    const gated = add('Mul', [silu, up], [name('gated')]);
    const down = add('MatMul', [gated, weight('mlp.down_proj')], [name('down')]);
    const last = layer === sizes.layers - 1;
    const next = last ? 'model.norm.weight' : `model.layers.${layer + 1}.input_layernorm.weight`;
    sum = name('sum');
    normed = add('SkipSimplifiedLayerNormalization', [between, down, next], [name('normed'), '', '', sum], norm);
  }
  const logits = add('MatMul', [normed, 'lm_head.weight'], ['logits']);
  add('ArgMax', [logits], ['next'], { attributes: { axis: -1, keepdims: 0 } });
  const integer = (type: OnnxType, dims: readonly number[]): OnnxValue => ({ type, dims });
  const caches = (which: 'past' | 'present'): Record<string, OnnxValue> =>
    Object.fromEntries(names.map((pair) => [pair[which], cacheValue(problem)]));
  const weights = new Map([...joinedWeights(sizes), ['cos', cos], ['sin', sin]]);
  return {
    nodes,
    inputs: {
      id: integer('int64', [1, 1]),
      before: integer('int32', [1]),
      length: integer('int32', [1]),
      ...caches('past'),
    },
    weights: Object.fromEntries([...weights].map(([name, tensor]) => [name, asWeight(tensor)])),
    outputs: { next: integer('int64', [1, 1]), ...caches('present') },
  };
}

function asWeight({ shape, values }: InitialTensor): OnnxGraph['weights'][string] {
  return { dims: shape, type: 'float32', bytes: new Uint8Array(values.buffer) };
}
