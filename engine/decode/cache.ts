import type { Device } from '../device.js';
import type { Graph, Tensor } from '../graph/index.js';
import { attentionHeadDimension, type Attend, type TransformerConfig } from '../models/transformer/index.js';
import { attentionWithCache, cacheWrite } from '../ops/attention.js';
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
   * Attention for new tokens, equally many a row: writes their keys and values at `position[row] + i` and lets token i
   * see the cached ones `start[row] .. position[row] + i`.
   *
   * @param place.start,place.position u32 [rows].
   */
  attend(graph: Graph, place: { start: Tensor; position: Tensor }): Attend {
    return (layer, q, k, v) => {
      const cache = { keys: graph.bind(this.keys[layer]), values: graph.bind(this.values[layer]) };
      cacheWrite(graph, k, v, cache, place.position);
      return attentionWithCache(graph, q, cache, { heads: this.config.num_attention_heads, ...place });
    };
  }

  destroy(): void {
    for (const tensor of [...this.keys, ...this.values]) tensor.destroy();
  }
}
