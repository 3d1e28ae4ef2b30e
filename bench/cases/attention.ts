import type { KernelTraits } from '../../kernels/core/index.js';
import { attention, attentionWithCache } from '../../engine/ops/attention.js';
import { spatialAttention } from '../../engine/ops/spatial-attention.js';
import type { Workbench } from '../workbench.js';
import { largeSizes, type KernelCase, type LanguageSizes } from './types.js';

function causal(bench: Workbench, sizes: LanguageSizes, batch: number, length: number, dropout: number) {
  const { heads, keyValueHeads, headDimension } = sizes;
  const rows = batch * length;
  const query = bench.values([rows, heads * headDimension]);
  const key = bench.values([rows, keyValueHeads * headDimension]);
  const value = bench.values([rows, keyValueHeads * headDimension]);
  const start = bench.given([rows], 'u32', new Uint32Array(rows));
  const out = attention(bench.graph, query, key, value, start, {
    batch,
    length,
    heads,
    keyValueHeads,
    headDimension,
    dropout: dropout > 0 ? { rate: dropout, site: 0, state: bench.given([2], 'u32', Uint32Array.of(1, 2)) } : undefined,
  });
  return { out, inputs: [query, key, value] };
}

function whole(sizes: LanguageSizes, use: string, batch: number, length: number): KernelCase {
  return {
    op: 'attention',
    sizes: `${use}, ${batch} x ${length}`,
    build: (bench) => [causal(bench, sizes, batch, length, 0).out],
  };
}

/** New tokens against a cache that is full but for them. */
function cached(sizes: LanguageSizes, batch: number, length: number, capacity: number): KernelCase {
  const { name, heads, keyValueHeads, headDimension } = sizes;
  return {
    op: length === 1 ? 'attention, decoding' : 'attention, prefill',
    sizes: `${name}, ${batch} x ${length} after ${capacity - length} cached`,
    build: (bench) => {
      const features = (heads + 2 * keyValueHeads) * headDimension;
      const [keys, values] = [0, 1].map(() => bench.values([batch, keyValueHeads, capacity, headDimension]));
      const start = bench.given([batch], 'u32', new Uint32Array(batch));
      const position = bench.given([batch], 'u32', new Uint32Array(batch).fill(capacity - length));
      const places = {
        rotaryPositions: bench.given([batch * length], 'u32', new Uint32Array(batch * length)),
        rotaryTable: bench.values([capacity, headDimension]),
        position,
        start,
      };
      const projected = bench.values([batch * length, features]);
      const cache = { keys, values, type: 'f32', headDimension } as const;
      return [attentionWithCache(bench.graph, projected, cache, places, heads)];
    },
  };
}

function spatial(name: string, frames: number, tokens: number, channels: number): KernelCase {
  return {
    op: 'spatial attention',
    sizes: `${name}, ${frames} x ${tokens} x ${channels}`,
    build: (bench) => {
      const [q, k, v] = [0, 1, 2].map(() => bench.values([frames, tokens, channels]));
      return [spatialAttention(bench.graph, q, k, v, { frames, tokens, channels })];
    },
  };
}

export function attentionCases(traits: KernelTraits, nano: LanguageSizes, batch: number, length: number): KernelCase[] {
  const longest = traits.software ? 256 : 2048;
  return [
    whole(nano, 'nano training', batch, length),
    {
      op: 'attention with gradients',
      sizes: `nano training, ${batch} x ${length}, dropout 0.05`,
      build: (bench) => {
        const { out, inputs } = causal(bench, nano, batch, length, 0.05);
        return [out, ...bench.gradients(out, inputs)];
      },
    },
    cached(nano, 2, 1, 160),
    cached(nano, 16, 1, 160),
    cached(nano, 2, 32, 160),
    whole(largeSizes, '8B', 1, longest),
    cached(largeSizes, 2, 1, traits.software ? 2048 : 8192),
    cached(largeSizes, 2, traits.software ? 32 : 256, longest),
    spatial('nano tokenizer', 4, 64, 64),
    spatial('full-width tokenizer', 1, traits.software ? 512 : 4096, 1024),
  ];
}
