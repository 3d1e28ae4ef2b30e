import { Emu3Error, throwIfAborted } from '../kernels/core/errors.js';
import { VisionTokenizer, VisionWeights } from '../engine/models/vision/index.js';
import { ParameterStore } from '../engine/parameters.js';
import type { Device } from '../engine/device.js';
import type { GpuTensor } from '../engine/tensor.js';
import { transformerTensorShapes, visionTensorShapes } from './config/shapes.js';
import type { Emu3Config } from './config/transformer.js';
import type { Emu3VisionVQConfig } from './config/vision.js';
import type { ModelFolder } from './folder.js';
import { openTransformer, openVisionTokenizer } from './model.js';
import type { Checkpoint } from './safetensors/checkpoint.js';
import { DTYPE_BITS, decodeToFloat32, firstNonFinite } from './safetensors/dtype.js';

export interface LoadProgress {
  /** The tensor that has just been loaded. */
  readonly tensor: string;
  /** Bytes of the file read so far, and in all. */
  readonly loadedBytes: number;
  readonly totalBytes: number;
}

export interface LoadOptions {
  /** Also hold gradients and optimiser moments. */
  training?: boolean;
  /** The weights' file in the folder; default the one the hub's file names give. */
  file?: string;
  signal?: AbortSignal;
  onProgress?: (progress: LoadProgress) => void;
}

export interface LoadedTransformer {
  readonly config: Emu3Config;
  readonly parameters: ParameterStore;
}

export interface LoadedVisionTokenizer {
  readonly config: Emu3VisionVQConfig;
  readonly weights: VisionWeights;
  readonly tokenizer: VisionTokenizer;
}

/** Bytes of a file held on the host at a time. */
const tileBytes = 4 << 20;
/** Bytes sent to the GPU before the host waits for it, so that copies under way do not pile up. */
const bytesInFlight = 128 << 20;

/**
 * Loads a transformer onto the GPU as f32, tile by tile: config and tensor shapes are checked first, then every weight
 * is widened, checked to be finite and uploaded. Original names and those of the Transformers port both load.
 *
 * @throws Emu3Error of `openTransformer`; `not-finite` naming the tensor; `limit`, `out-of-memory`, `aborted`. Nothing
 *   stays on the GPU then.
 */
export async function loadTransformer(
  device: Device,
  folder: ModelFolder,
  options: LoadOptions = {},
): Promise<LoadedTransformer> {
  const { config, checkpoint } = await openTransformer(folder, options);
  try {
    const parameters = ParameterStore.create(device, transformerTensorShapes(config), options);
    await guard(
      () => fillTensors(device, checkpoint, [...parameters.shapes.keys()], (name) => parameters.tensor(name), options),
      () => parameters.destroy(),
    );
    return { config, parameters };
  } finally {
    await checkpoint.close();
  }
}

/** As {@link loadTransformer}, for the vision tokenizer: trained tensors and BatchNorm statistics. */
export async function loadVisionTokenizer(
  device: Device,
  folder: ModelFolder,
  options: LoadOptions = {},
): Promise<LoadedVisionTokenizer> {
  const { config, checkpoint } = await openVisionTokenizer(folder, options);
  try {
    const weights = VisionWeights.create(device, visionTensorShapes(config), options);
    await guard(
      async () => {
        await fillTensors(device, checkpoint, weights.names, (name) => weights.tensor(name), options);
        for (const name of weights.batchesTracked.keys()) {
          if (!checkpoint.tensors.has(name)) continue;
          const [batches] = await checkpoint.readInt32(name, options);
          if (batches !== undefined) weights.setBatchesTracked(name, batches);
        }
      },
      () => weights.destroy(),
    );
    return { config, weights, tokenizer: new VisionTokenizer(device, config, weights) };
  } finally {
    await checkpoint.close();
  }
}

/** Runs `load`, and `release` if it fails. */
export async function guard(load: () => Promise<void>, release: () => void): Promise<void> {
  try {
    await load();
  } catch (error) {
    release();
    throw error;
  }
}

/** Streams the tensors of these names to the GPU, widened to f32 and checked to be finite. */
export async function fillTensors(
  device: Device,
  checkpoint: Checkpoint,
  names: readonly string[],
  tensorOf: (name: string) => GpuTensor,
  options: Pick<LoadOptions, 'signal' | 'onProgress'>,
): Promise<void> {
  const sizes = names.map((name) => checkpoint.tensors.get(name)?.byteLength ?? 0);
  const totalBytes = sizes.reduce((sum, size) => sum + size, 0);
  let loadedBytes = 0;
  let sent = 0;
  for (const [index, name] of names.entries()) {
    throwIfAborted(options.signal, name);
    sent += await fillTensor(checkpoint, name, tensorOf(name), options);
    loadedBytes += sizes[index];
    options.onProgress?.({ tensor: name, loadedBytes, totalBytes });
    if (sent >= bytesInFlight) {
      await device.finish();
      sent = 0;
    }
  }
  await device.finish();
}

/** Streams one tensor; returns the bytes sent to the GPU. */
async function fillTensor(
  checkpoint: Checkpoint,
  name: string,
  target: GpuTensor,
  options: Pick<LoadOptions, 'signal'>,
): Promise<number> {
  const dtype = checkpoint.tensors.get(name)?.dtype ?? 'F32';
  const bytesPerElement = DTYPE_BITS[dtype] / 8;
  const where = `${checkpoint.name}: ${name}`;
  for await (const { byteOffset, bytes } of checkpoint.stream(name, tileBytes, options)) {
    const values = new Float32Array(bytes.byteLength / bytesPerElement);
    decodeToFloat32(dtype, bytes, values, 0, where);
    const start = byteOffset / bytesPerElement;
    const bad = firstNonFinite(values);
    if (bad >= 0) {
      throw new Emu3Error(`Element ${start + bad} is ${values[bad]}.`, {
        code: 'not-finite',
        where,
        fix: 'The weights are damaged or their training diverged; use an earlier checkpoint.',
      });
    }
    target.write(values, start);
  }
  return target.byteLength;
}
