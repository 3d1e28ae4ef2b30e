import { Emu3Error } from '../../kernels/core/errors.js';
import type { Device } from '../../engine/device.js';
import {
  mergeAdapters,
  withAdapters,
  type LoraAdapters,
  type ModelWeights,
} from '../../engine/models/transformer/index.js';
import type { ParameterStore } from '../../engine/parameters.js';
import type { QuantizedParameters } from '../../engine/quantized/index.js';
import type { QuantizationFormat } from '../../kernels/quantize/index.js';
import { loadAdapters } from '../adapters.js';
import type { CacheStore } from '../cache/store.js';
import type { CacheOutcome } from '../cache/through.js';
import { transformerTensorShapes } from '../config/shapes.js';
import type { Emu3Config } from '../config/transformer.js';
import type { ModelFolder } from '../folder.js';
import { loadQuantizedTransformer, loadTransformer } from '../load-model.js';
import type { TransferOptions } from '../transfer.js';

/** How the transformer's matrices are kept on the GPU: in f32, or packed in 8 or 4 bits a weight. */
export type WeightFormat = 'f32' | QuantizationFormat;

export const weightFormats: readonly WeightFormat[] = ['f32', 'q8', 'q4'];

/** A transformer's weights, ready to be read. */
export interface PipelineWeights {
  readonly parameters: ParameterStore | QuantizedParameters;
  /** The parameters with the adapters that are not merged into them. */
  readonly weights: ModelWeights;
  destroy(): void;
}

export interface PipelineWeightsOptions {
  weights: WeightFormat;
  /** Folder of adapters that go with the model. */
  adapters: ModelFolder | undefined;
  /** Where packed weights are kept. */
  cache: CacheStore | undefined;
  cacheFrom: number | undefined;
  onCache: ((outcome: CacheOutcome) => void) | undefined;
  /** Of the model and of the adapters; reports both. */
  model: TransferOptions;
  ofAdapters: TransferOptions;
}

/**
 * Loads a transformer's weights in a form, with adapters: merged into f32 weights, which then cost nothing; beside packed
 * ones, which merging would round again. Adapters are checked and loaded first.
 */
export async function loadPipelineWeights(
  device: Device,
  folder: ModelFolder,
  config: Emu3Config,
  options: PipelineWeightsOptions,
): Promise<PipelineWeights> {
  const { adapters: place, weights: format, cache, cacheFrom, onCache } = options;
  let adapters: LoraAdapters | undefined;
  if (place) {
    const loaded = await loadAdapters(device, place, transformerTensorShapes(config), options.ofAdapters);
    adapters = loaded.adapters;
  }
  let parameters: ParameterStore | QuantizedParameters | undefined;
  const destroy = (): void => {
    parameters?.destroy();
    adapters?.destroy();
  };
  try {
    if (format === 'f32') {
      const store = (await loadTransformer(device, folder, options.model)).parameters;
      parameters = store;
      if (adapters) await mergeAdapters(device, store, adapters);
      adapters?.destroy();
      adapters = undefined;
    } else {
      const packing = { ...options.model, format, cache, cacheFrom, onCache };
      parameters = (await loadQuantizedTransformer(device, folder, packing)).parameters;
    }
  } catch (error) {
    destroy();
    throw error;
  }
  return { parameters, weights: adapters ? withAdapters(parameters, adapters) : parameters, destroy };
}

/** @throws Emu3Error `argument` for a format there is none of. */
export function checkWeightFormat(format: WeightFormat): void {
  if (!weightFormats.includes(format)) {
    throw new Emu3Error(`There is no weight format ${format}.`, {
      code: 'argument',
      where: 'weights',
      fix: `Choose from ${weightFormats.join(', ')}.`,
    });
  }
}
