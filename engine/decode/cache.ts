import {
  attentionCached,
  attentionCacheWrite,
  attentionDecode,
  attentionDecodeSplits,
} from '../../kernels/attention/index.js';
import type { Device } from '../device.js';
import type { Graph, Tensor } from '../graph/index.js';
import { attentionHeadDimension, type Attend, type TransformerConfig } from '../models/transformer/index.js';
import { GpuTensor } from '../tensor.js';

/** Keys and values of every layer, `[rows, key-value heads, capacity, head dimension]` each. */
export class KeyValueCache {
  readonly rows: number;
  readonly capacity: number;
  private readonly config: TransformerConfig;
  private readonly keys: readonly GpuTensor[];
  private readonly values: readonly GpuTensor[];

  /** @throws Emu3Error `limit` when one layer's keys are above the device's storage binding size. */
  constructor(
    device: Device,
    config: TransformerConfig,
    options: { rows: number; capacity: number; dtype: 'f32' | 'f16' },
  ) {
    const { rows, capacity, dtype } = options;
    this.config = config;
    this.rows = rows;
    this.capacity = capacity;
    const shape = [rows, config.num_key_value_heads, capacity, attentionHeadDimension(config)];
    const layers = (what: string): GpuTensor[] =>
      Array.from({ length: config.num_hidden_layers }, (_, layer) =>
        GpuTensor.create(device, shape, dtype, `${what} cache ${layer}`),
      );
    this.keys = layers('key');
    this.values = layers('value');
  }

  get bytes(): number {
    return [...this.keys, ...this.values].reduce((sum, tensor) => sum + tensor.byteLength, 0);
  }

  /**
   * Attention for `length` new tokens a row: writes their keys and values at `position[row] + i` and lets token i see the
   * cached ones `start[row] .. position[row] + i`.
   *
   * @param place.start,place.position u32 [rows].
   */
  attend(graph: Graph, place: { start: Tensor; position: Tensor; length: number }): Attend {
    return (layer, q, k, v) => {
      const keyCache = graph.bind(this.keys[layer]);
      const valueCache = graph.bind(this.values[layer]);
      const { position } = place;
      graph.node({
        name: 'cache write',
        inputs: [k, v, position],
        outputs: [keyCache, valueCache],
        calls: [attentionCacheWrite(graph.traits, { k, v, keyCache, valueCache, position })],
      });
      return place.length === 1
        ? this.decodeAttention(graph, q, { ...place, keyCache, valueCache })
        : this.chunkAttention(graph, q, { ...place, keyCache, valueCache });
    };
  }

  private decodeAttention(
    graph: Graph,
    q: Tensor,
    tensors: { start: Tensor; position: Tensor; keyCache: Tensor; valueCache: Tensor },
  ): Tensor {
    const { start, position, keyCache, valueCache } = tensors;
    const heads = this.config.num_attention_heads;
    const splits = attentionDecodeSplits(graph.traits);
    const scratch =
      splits === 0
        ? undefined
        : {
            partials: graph.temporary(
              [this.rows, heads, splits, attentionHeadDimension(this.config)],
              'f32',
              'attention partials',
            ),
            statistics: graph.temporary([this.rows, heads, splits, 2], 'f32', 'attention statistics'),
          };
    const out = graph.temporary(q.shape, q.dtype, 'attention');
    graph.node({
      name: 'attention decode',
      inputs: [q, keyCache, valueCache, start, position],
      outputs: scratch ? [out, scratch.partials, scratch.statistics] : [out],
      calls: attentionDecode(graph.traits, { q, keyCache, valueCache, start, position, out, heads, scratch }),
    });
    return out;
  }

  private chunkAttention(
    graph: Graph,
    q: Tensor,
    tensors: { start: Tensor; position: Tensor; keyCache: Tensor; valueCache: Tensor; length: number },
  ): Tensor {
    const { start, position, keyCache, valueCache, length } = tensors;
    const heads = this.config.num_attention_heads;
    const out = graph.temporary(q.shape, q.dtype, 'attention');
    const logsumexp = graph.temporary([this.rows * length, heads], 'f32', 'attention log-sum-exp');
    const shape = {
      batch: this.rows,
      length,
      heads,
      keyValueHeads: this.config.num_key_value_heads,
      headDimension: attentionHeadDimension(this.config),
    };
    graph.node({
      name: 'attention cached',
      inputs: [q, keyCache, valueCache, start, position],
      outputs: [out, logsumexp],
      calls: [attentionCached(graph.traits, { q, keyCache, valueCache, start, position, out, logsumexp, shape })],
    });
    return out;
  }

  destroy(): void {
    for (const tensor of [...this.keys, ...this.values]) tensor.destroy();
  }
}
