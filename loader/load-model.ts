import { VisionTokenizer, VisionWeights } from '../engine/models/vision/index.js';
import { ParameterStore } from '../engine/parameters.js';
import { chooseFormats, QuantizedParameters, type QuantizationChoice } from '../engine/quantized/index.js';
import type { Device } from '../engine/device.js';
import { throughCache, type CacheOutcome } from './cache/through.js';
import type { CacheStore } from './cache/store.js';
import { transformerTensorShapes, visionTensorShapes } from './config/shapes.js';
import type { Emu3Config } from './config/transformer.js';
import type { Emu3VisionVQConfig } from './config/vision.js';
import type { ModelFolder } from './folder.js';
import { openTransformer, openVisionTokenizer } from './model.js';
import { fillTensors, inFileOrder, Transfer, type TransferOptions } from './transfer.js';

export interface LoadOptions extends TransferOptions {
  /** Also hold gradients and optimiser moments. */
  training?: boolean;
  /** The weights' file in the folder; default the one the hub's file names give. */
  file?: string;
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

export interface LoadedQuantizedTransformer {
  readonly config: Emu3Config;
  readonly parameters: QuantizedParameters;
}

export interface LoadQuantizedOptions extends Omit<LoadOptions, 'training'> {
  /** Default q4. */
  format?: QuantizationChoice;
  /** Where the packed model is looked for, and kept when it is not there. Default: nowhere. */
  cache?: CacheStore | undefined;
  /** Bytes in the files from which a model is kept. Default 0. */
  cacheFrom?: number | undefined;
  onCache?: ((outcome: CacheOutcome) => void) | undefined;
}

/**
 * As {@link loadTransformer}, with the matrices packed on the GPU as their rows arrive: their f32 values are never
 * there, neither on the GPU nor, but for a tile, on the host. Layers whose inputs are no multiple of 32 stay f32. With a
 * cache the packed model is read from there when it is of these very files; the cache failing is no failure of loading.
 *
 * @throws Emu3Error of {@link loadTransformer}.
 */
export async function loadQuantizedTransformer(
  device: Device,
  folder: ModelFolder,
  options: LoadQuantizedOptions = {},
): Promise<LoadedQuantizedTransformer> {
  const { config, checkpoint } = await openTransformer(folder, options);
  try {
    const shapes = transformerTensorShapes(config);
    const pack = async (): Promise<QuantizedParameters> => {
      const transfer = new Transfer(device, checkpoint, shapes.keys(), options);
      const parameters = await QuantizedParameters.build(device, shapes, options.format ?? 'q4', {
        order: inFileOrder(checkpoint, shapes.keys()),
        write: (name, tensor) => transfer.fill(name, tensor),
        pack: (name, weight) => transfer.pack(name, weight),
      });
      await guard(
        () => checkpoint.verify(options),
        () => parameters.destroy(),
      );
      return parameters;
    };
    const { cache, cacheFrom = 0 } = options;
    const fileBytes = (): number =>
      [...checkpoint.tensors.values()].reduce((sum, { byteLength }) => sum + byteLength, 0);
    if (cache === undefined || fileBytes() < cacheFrom) return { config, parameters: await pack() };
    const kept = {
      config,
      shapes,
      formats: chooseFormats(shapes, options.format ?? 'q4'),
      content: checkpoint.version,
    };
    return { config, parameters: await throughCache(device, cache, kept, options, pack) };
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
        const counters = [...weights.batchesTracked.keys()].filter((name) => checkpoint.tensors.has(name));
        const transfer = new Transfer(device, checkpoint, weights.names, options);
        for (const name of inFileOrder(checkpoint, [...weights.names, ...counters])) {
          if (!weights.batchesTracked.has(name)) {
            await transfer.fill(name, weights.tensor(name));
            continue;
          }
          const [batches] = await checkpoint.readInt32(name, options);
          if (batches !== undefined) weights.setBatchesTracked(name, batches);
        }
        await checkpoint.verify(options);
        await device.finish();
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
