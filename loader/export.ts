import type { Device } from '../engine/device.js';
import { checkAdapters, mergeAdapter, type LoraAdapters } from '../engine/models/transformer/index.js';
import { ParameterStore } from '../engine/parameters.js';
import { dequantize, type QuantizedParameters } from '../engine/quantized/index.js';
import { copyTensor, GpuTensor } from '../engine/tensor.js';
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

/**
 * The tensors of a transformer as one plain model, to be written under hub names: packed weights as the values they stand
 * for, adapters merged. The weights stay as they are; one of them at a time is on the GPU in f32.
 *
 * @param dtype F32 for the very model that was used, to the rounding of the merge.
 * @throws Emu3Error `missing` or `shape` for adapters of another model; the values, `not-finite`.
 */
export function mergedTensors(
  device: Device,
  weights: ParameterStore | QuantizedParameters,
  adapters: LoraAdapters | undefined,
  dtype: 'F32' | 'F16' | 'BF16',
): TensorToWrite[] {
  if (adapters) checkAdapters(adapters, weights.shapes);
  return [...weights.shapes].map(([name, shape]) => ({
    name,
    dtype,
    shape,
    values: async () => {
      const merged = await plainCopy(device, weights, name);
      try {
        if (adapters) await mergeAdapter(device, merged, adapters, name);
        const values = await merged.readFloat32();
        assertFinite(values, name);
        return values;
      } finally {
        merged.destroy();
      }
    },
  }));
}

/** The values of a weight in an f32 tensor of its own. */
async function plainCopy(
  device: Device,
  weights: ParameterStore | QuantizedParameters,
  name: string,
): Promise<GpuTensor> {
  const packed = weights instanceof ParameterStore ? undefined : weights.weights.get(name);
  if (packed) return dequantize(device, packed);
  const source = weights.tensor(name);
  const copy = GpuTensor.create(device, source.shape, 'f32', `copy of ${name}`);
  copyTensor(source, copy);
  return copy;
}
