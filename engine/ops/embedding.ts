import { embeddingGather, embeddingGatherQuantized, embeddingGradient } from '../../kernels/embedding/index.js';
import { elementCount } from '../../kernels/core/types.js';
import type { DType } from '../../kernels/core/types.js';
import type { Graph, Tensor } from '../graph/index.js';
import type { QuantizedTensors } from './quantized-linear.js';

export interface EmbeddingOptions {
  /** Id whose row of the table gets a gradient of exactly zero; none when left out. */
  readonly paddingId?: number | undefined;
  /** Element type of the result; default that of the table. */
  readonly dtype?: DType;
}

/**
 * Rows of `table` `[vocabulary, features]` by `ids` (u32, any shape): `[rows, features]`. An id outside the table gives
 * zeros. The gradient of the table is dense and summed in row order, so it is the same in every run.
 */
export function embedding(graph: Graph, ids: Tensor, table: Tensor, options: EmbeddingOptions = {}): Tensor {
  const rows = elementCount(ids.shape);
  const [vocabulary = 0, features = 0] = table.shape;
  const out = graph.temporary([rows, features], options.dtype ?? table.dtype, `embedding of ${ids.label}`);
  graph.node({
    name: 'embedding',
    inputs: [ids, table],
    outputs: [out],
    calls: [embeddingGather(graph.traits, { ids, table, out })],
    backward: ([outGradient]) => {
      if (outGradient === undefined) return [undefined, undefined];
      const head = graph.temporary([vocabulary], 'u32', 'first row of each id');
      const next = graph.temporary([rows], 'u32', 'next row of the same id');
      const tableGradient = graph.temporary(table.shape, 'f32', `gradient of ${table.label}`);
      const { paddingId } = options;
      graph.node({
        name: 'embedding backward',
        inputs: [ids, outGradient],
        outputs: [head, next, tableGradient],
        calls: embeddingGradient(graph.traits, { ids, outGradient, head, next, tableGradient, paddingId }),
      });
      return [undefined, tableGradient];
    },
  });
  return out;
}

/**
 * Rows of a packed table by `ids` (u32, any shape): `[rows, features]`. An id outside the table gives zeros. The table is
 * frozen: it has no gradient.
 *
 * @param shards of the table, all its rows in order.
 */
export function quantizedEmbedding(
  graph: Graph,
  ids: Tensor,
  shards: readonly QuantizedTensors[],
  options: { dtype?: DType } = {},
): Tensor {
  const rows = elementCount(ids.shape);
  const [, features = 0] = shards[0].shape;
  const out = graph.temporary([rows, features], options.dtype ?? 'f32', `embedding of ${ids.label}`);
  let first = 0;
  const calls = shards.map((table, index) => {
    const call = embeddingGatherQuantized(graph.traits, { ids, table, out, first, clear: index === 0 });
    first += table.shape[0];
    return call;
  });
  const tables = shards.flatMap(({ data, scales }) => [data, scales]);
  graph.node({
    name: 'quantized embedding',
    inputs: [ids, ...tables],
    outputs: [out],
    calls,
    backward: () => [ids, ...tables].map(() => undefined),
  });
  return out;
}
