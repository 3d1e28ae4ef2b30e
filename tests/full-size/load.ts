import { setImmediate as nextTurn } from 'node:timers/promises';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Decoder } from '../../engine/decode/index.js';
import type { Device } from '../../engine/device.js';
import {
  diskFolder,
  loadQuantizedTransformer,
  openFileSource,
  openTransformer,
  transformerTensorShapes,
} from '../../loader/index.node.js';
import type { Emu3Config } from '../../loader/index.js';
import type { QuantizedParameters } from '../../engine/quantized/index.js';
import type { QuantizationFormat } from '../../kernels/quantize/index.js';
import { weightBytes } from '../../loader/memory/plan.js';

/** Ids of the released vision tokens. */
export const visionIds = { first: 151_854, count: 32_768 };

export interface LoadFigures {
  fileBytes: number;
  /** Reading the files alone, in the tiles that loading reads. */
  readSeconds: number;
  loadSeconds: number;
  /** Planned before and there after. */
  plannedBytes: number;
  weightBytes: number;
  /** Most memory of the process above what it had before loading and the packed bytes there at that time. */
  peakHostBytes: number;
  /** Worst and root mean square of the weights' relative errors. */
  worstError: number;
  rmsError: number;
}

const tileBytes = 4 << 20;

/** Seconds of reading every weight file once, tile by tile. */
async function readFiles(folder: string): Promise<{ bytes: number; seconds: number }> {
  const files = (await readdir(folder)).filter((name) => name.endsWith('.safetensors'));
  const start = performance.now();
  let bytes = 0;
  for (const name of files) {
    const source = await openFileSource(join(folder, name));
    for (let at = 0; at < source.size; at += tileBytes) {
      bytes += (await source.read(at, Math.min(tileBytes, source.size - at))).length;
    }
    await source.close();
  }
  return { bytes, seconds: (performance.now() - start) / 1000 };
}

/**
 * Reads the files, loads them packed, and measures both.
 *
 * @throws Emu3Error of `loadQuantizedTransformer`.
 */
export async function loadFullSize(
  device: Device,
  folder: string,
  options: { format: QuantizationFormat; onProgress: (loaded: number, total: number) => void; signal?: AbortSignal },
): Promise<{ config: Emu3Config; parameters: QuantizedParameters; figures: LoadFigures }> {
  const { format, onProgress, signal } = options;
  const read = await readFiles(folder);
  globalThis.gc?.();
  await nextTurn();
  const baseline = process.memoryUsage.rss();
  const { config, checkpoint } = await openTransformer(diskFolder(folder));
  await checkpoint.close();
  const shapes = transformerTensorShapes(config);
  let [packed, peak] = [0, 0];
  const sample = (): void => {
    peak = Math.max(peak, process.memoryUsage.rss() - baseline - packed);
  };
  const timer = setInterval(sample, 10);
  const start = performance.now();
  try {
    const { parameters } = await loadQuantizedTransformer(device, diskFolder(folder), {
      format,
      ...(signal && { signal }),
      onProgress: ({ tensor, loadedBytes, totalBytes }) => {
        sample();
        packed += weightBytes(new Map([[tensor, shapes.get(tensor) ?? []]]), format);
        onProgress(loadedBytes, totalBytes);
      },
    });
    const loadSeconds = (performance.now() - start) / 1000;
    const errors = [...parameters.errors.values()].map(({ relativeRms }) => relativeRms);
    const figures = {
      fileBytes: read.bytes,
      readSeconds: read.seconds,
      loadSeconds,
      plannedBytes: weightBytes(shapes, format),
      weightBytes: parameters.bytes,
      peakHostBytes: peak,
      worstError: Math.max(...errors),
      rmsError: Math.sqrt(errors.reduce((sum, error) => sum + error * error, 0) / errors.length),
    };
    return { config, parameters, figures };
  } finally {
    clearInterval(timer);
  }
}

export interface DecodeFigures {
  compileSeconds: number;
  prefillSeconds: number;
  /** Of each guided step. */
  stepSeconds: number;
  dispatches: number;
  cacheBytes: number;
  activationBytes: number;
  ids: number[];
}

/** Samples vision tokens behind random prompts, a guided pair at a time, and measures it. */
export async function decodeSteps(
  device: Device,
  config: Emu3Config,
  parameters: QuantizedParameters,
  options: { steps: number; context: number },
): Promise<DecodeFigures> {
  const { steps, context } = options;
  const start = performance.now();
  const decoder = await Decoder.create(device, config, parameters, {
    sequences: 1,
    guided: true,
    capacity: context,
    slice: visionIds,
    cacheType: 'f16',
  });
  const compileSeconds = (performance.now() - start) / 1000;
  const text = (length: number): Uint32Array =>
    Uint32Array.from({ length }, (_, index) => (index * 7919 + 11) % 150_000);
  const run = async (newTokens: number): Promise<{ seconds: number; ids: number[] }> => {
    const begin = performance.now();
    const ids: number[] = [];
    const sequences = [
      {
        prompt: text(24),
        negativePrompt: text(12),
        sampling: { seed: 1, temperature: 1, topK: 2048, guidance: 3 },
      },
    ];
    for await (const block of decoder.decode({ sequences, newTokens })) ids.push(...block.ids[0]);
    await device.finish();
    return { seconds: (performance.now() - begin) / 1000, ids };
  };
  // The first run also pays for what the driver does when a shader or a buffer is first used.
  await run(1);
  const { seconds: prefillSeconds } = await run(1);
  const { seconds, ids } = await run(steps + 1);
  const { cache, activations } = decoder.bytes;
  const figures = {
    compileSeconds,
    prefillSeconds,
    stepSeconds: (seconds - prefillSeconds) / steps,
    dispatches: decoder.step.dispatches,
    cacheBytes: cache,
    activationBytes: activations,
    ids,
  };
  decoder.destroy();
  return figures;
}
