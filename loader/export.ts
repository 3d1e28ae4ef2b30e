import type { ParameterStore } from '../engine/parameters.js';
import { assertFinite } from './safetensors/reader.js';
import type { TensorToWrite } from './safetensors/writer.js';

/**
 * The tensors of a store, to be written under its names. Each is read from the GPU when its turn comes, and NaN and
 * infinities fail the writing with `not-finite`: a diverged training must not replace a good file.
 */
export function storeTensors(store: ParameterStore, dtype: 'F32' | 'F16' | 'BF16'): TensorToWrite[] {
  return [...store.shapes].map(([name, shape]) => ({
    name,
    dtype,
    shape,
    values: async () => {
      const values = await store.tensor(name).readFloat32();
      assertFinite(values, name);
      return values;
    },
  }));
}
