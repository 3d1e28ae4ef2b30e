import type { Graph } from '../../../graph/index.js';
import { dropout } from '../../../ops/dropout.js';
import { add, scale } from '../../../ops/elementwise.js';
import { linear } from '../../../ops/matmul.js';
import type { GpuTensor } from '../../../tensor.js';
import {
  bindWeights,
  productsApart,
  type LinearLookup,
  type ModelWeights,
  type TransformerWeights,
  type WeightBinding,
} from '../weights.js';
import type { LoraAdapters, LoraPair } from './lora.js';

/** Adapters' dropouts are told from the network's by this site and upwards. */
const firstSite = 0x8000_0000;

/**
 * A model with adapters beside its linear layers, unmerged: decoding, scoring and training take it as they take the base
 * alone. Of the two only the adapters are trained.
 *
 * @param base its weights in whatever form; nothing writes to them.
 * @param dropoutState u32 `[2]`, seed and step, when training with the adapters' dropout.
 */
export function withAdapters(base: ModelWeights, adapters: LoraAdapters, dropoutState?: GpuTensor): WeightBinding {
  const { pairs, store, scale: factor } = adapters;
  const sites = new Map([...pairs.keys()].map((name, index) => [name, firstSite + index]));
  return {
    bind: (graph: Graph): TransformerWeights => {
      const weights = bindWeights(graph, base);
      const bind = (name: string) => graph.bind(store.tensor(name));
      const namesOf = ({ a, b }: LoraPair): string[] => [a, b];
      const adapted: LinearLookup = (name, x, rows) => {
        const plain = weights.linear(name, x, rows);
        const pair = pairs.get(name);
        if (pair === undefined) return plain;
        const rate = dropoutState ? adapters.options.dropout : 0;
        const read = dropoutState
          ? dropout(graph, x, { rate, site: sites.get(name) ?? firstSite, state: graph.bind(dropoutState) })
          : x;
        const inner = scale(graph, linear(graph, read, bind(pair.a)), factor);
        return add(graph, plain, linear(graph, inner, bind(pair.b)));
      };
      return {
        parameter: weights.parameter,
        embed: weights.embed,
        linear: adapted,
        joined: productsApart(graph, adapted),
        fused: (names, ...rest) => (names.some((name) => pairs.has(name)) ? undefined : weights.fused(names, ...rest)),
        trained: (layer) =>
          [...pairs.values()]
            .filter(({ base: name }) => name.startsWith(`model.layers.${layer}.`))
            .flatMap(namesOf)
            .map(bind),
      };
    },
  };
}
