import { cacheWidth, type CacheType } from '../../kernels/attention/index.js';
import { quantizedVectors } from '../../kernels/attention/reference.js';
import { narrowFloat16, widenFloat16 } from '../../engine/tensor.js';

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
