import { cacheElement, cacheWidth, type CacheOperands, type CacheType } from '../../kernels/attention/index.js';
import { quantizedVectors } from '../../kernels/attention/reference.js';
import type { Tensor } from '../../engine/graph/index.js';
import { narrowFloat16, widenFloat16 } from '../../engine/tensor.js';
import { pseudoRandom, type TestTensor } from './kernel.js';

/** Heads' vectors as a cache of some type holds them, `[.., cacheWidth]`. */
export function storeVectors(type: CacheType, values: Float32Array, headDimension: number): Float32Array | Uint32Array {
  if (type === 'f32') return values;
  if (type === 'f16') return new Uint32Array(narrowFloat16(values).buffer);
  const { levels, scales } = quantizedVectors(values, headDimension);
  const width = cacheWidth(type, headDimension);
  const words = new Uint32Array(scales.length * width);
  const bytes = new Int8Array(words.buffer);
  const floats = new Float32Array(words.buffer);
  scales.forEach((scale, vector) => {
    floats[vector * width] = scale;
    bytes.set(levels.subarray(vector * headDimension, (vector + 1) * headDimension), 4 * (vector * width + 1));
  });
  return words;
}

/** What vectors in a cache stand for, `[.., headDimension]`. */
export function readVectors(type: CacheType, stored: Float32Array | Uint32Array, headDimension: number): Float64Array {
  if (type === 'f32') return Float64Array.from(stored);
  const { buffer, byteOffset, byteLength } = stored;
  if (type === 'f16') return Float64Array.from(widenFloat16(new Uint16Array(buffer, byteOffset, byteLength / 2)));
  const width = cacheWidth(type, headDimension);
  const view = new DataView(buffer, byteOffset, byteLength);
  return Float64Array.from({ length: (stored.length / width) * headDimension }, (_, index) => {
    const vector = 4 * width * Math.floor(index / headDimension);
    return view.getFloat32(vector, true) * view.getInt8(vector + 4 + (index % headDimension));
  });
}

/** Loud: what lies in the cache outside the visible positions must not be read. */
export const stale = 1e4;

export interface CachedRows {
  /** Whole rows of `total` tokens, of which the last `length` are queries. */
  q: Float32Array;
  /** What the cache stands for. */
  k: Float64Array;
  v: Float64Array;
  keyCache: TestTensor;
  valueCache: TestTensor;
}

export interface CacheShape {
  rows: number;
  heads: number;
  keyValueHeads: number;
  capacity: number;
  headDimension: number;
}

/** Caches `[rows, keyValueHeads, capacity, cacheWidth]` holding `counts[row]` tokens, and the tokens row-major. */
export function makeCaches(shape: CacheShape, counts: readonly number[], type: CacheType): CachedRows {
  const { rows, heads, keyValueHeads, capacity, headDimension } = shape;
  const tokens = rows * capacity;
  const q = pseudoRandom(tokens * heads * headDimension, 1).map((value) => value * 3);
  const width = cacheWidth(type, headDimension);
  const made = [2, 3].map((seed) => {
    const values = pseudoRandom(tokens * keyValueHeads * headDimension, seed).map((value) => value * (4 - seed));
    const stored = storeVectors(type, values, headDimension);
    const cache = storeVectors(type, new Float32Array(values.length).fill(stale), headDimension);
    for (let row = 0; row < rows; row++) {
      for (let position = 0; position < (counts[row] ?? 0); position++) {
        for (let head = 0; head < keyValueHeads; head++) {
          const from = ((row * capacity + position) * keyValueHeads + head) * width;
          const to = ((row * keyValueHeads + head) * capacity + position) * width;
          cache.set(stored.subarray(from, from + width), to);
        }
      }
    }
    const tensor = { shape: [rows, keyValueHeads, capacity, width], dtype: cacheElement(type), data: cache };
    return { kept: readVectors(type, stored, headDimension), tensor };
  });
  const [keys, values] = made;
  return { q, k: keys.kept, v: values.kept, keyCache: keys.tensor, valueCache: values.tensor };
}

/** The tensors of a run with both caches in one. */
export function withCache<T extends { keyCache: Tensor; valueCache: Tensor }>(
  { keyCache: keys, valueCache: values, ...others }: T,
  type: CacheType,
  headDimension: number,
): Omit<T, 'keyCache' | 'valueCache'> & { cache: CacheOperands<Tensor> } {
  return { ...others, cache: { keys, values, type, headDimension } };
}
