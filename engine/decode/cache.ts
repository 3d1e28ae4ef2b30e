import { cacheElement, cacheWidth, type CacheType } from '../../kernels/attention/index.js';
import type { Device } from '../device.js';
import type { Graph } from '../graph/index.js';
import { attentionHeadDimension, type TransformerConfig } from '../models/transformer/index.js';
import type { KeyValueCache as LayerCache } from '../ops/attention.js';
import { GpuTensor } from '../tensor.js';

/** Keys and values of every layer, `[rows, key-value heads, capacity, width of a vector]` each. */
export class KeyValueCache {
  readonly rows: number;
  readonly capacity: number;
  readonly type: CacheType;
  private readonly headDimension: number;
  private readonly keys: readonly GpuTensor[];
  private readonly values: readonly GpuTensor[];

  /** @throws Emu3Error `limit` when one layer's keys are above the device's storage binding size. */
  constructor(device: Device, config: TransformerConfig, options: { rows: number; capacity: number; type: CacheType }) {
    const { rows, capacity, type } = options;
    this.rows = rows;
    this.capacity = capacity;
    this.type = type;
    this.headDimension = attentionHeadDimension(config);
    const shape = [rows, config.num_key_value_heads, capacity, cacheWidth(type, this.headDimension)];
    const layers = (what: string): GpuTensor[] =>
      Array.from({ length: config.num_hidden_layers }, (_, layer) =>
        GpuTensor.create(device, shape, cacheElement(type), `${what} cache ${layer}`),
      );
    this.keys = layers('key');
    this.values = layers('value');
  }

  get bytes(): number {
    return [...this.keys, ...this.values].reduce((sum, tensor) => sum + tensor.byteLength, 0);
  }

  /** The layers as tensors of a graph. */
  bind(graph: Graph): LayerCache[] {
    const { type, headDimension } = this;
    return this.keys.map((keys, layer) => {
      return { keys: graph.bind(keys), values: graph.bind(this.values[layer]), type, headDimension };
    });
  }

  destroy(): void {
    for (const tensor of [...this.keys, ...this.values]) tensor.destroy();
  }
}
