import { requestAdapterNode, type AdapterPreference } from '../../engine/adapter/request.node.js';
import { Device } from '../../engine/device.js';
import { spatialFactor } from '../../engine/models/vision/index.js';
import { Emu3Error } from '../../kernels/core/errors.js';
import { SeededRandom } from '../../demos/nano/world/random.js';
import { diskFolder, loadVisionTokenizer, visionTensorShapes } from '../../loader/index.node.js';
import { planVision } from '../../loader/memory/plan.js';

export interface PictureOptions {
  /** Pixels, a multiple of 8. */
  side: number;
  adapter?: AdapterPreference;
  log: (line: string) => void;
  signal?: AbortSignal;
  onPart: (done: number, total: number) => void;
}

export interface PictureFigures {
  weightBytes: number;
  plannedBytes: number;
  /** On the GPU for decoding: activations, codes and what is read back. */
  takenBytes: number;
  /** Of one buffer of activations. */
  largestBytes: number;
  loadSeconds: number;
  decodeSeconds: number;
  /** Of the pixels. */
  mean: number;
  deviation: number;
}

/**
 * Decodes a picture of random tokens on a device with no more than WebGPU's default limits.
 *
 * @throws Emu3Error `not-finite` for a pixel that is no number; those of loading and decoding.
 */
export async function decodePicture(folder: string, options: PictureOptions): Promise<PictureFigures> {
  const { side, adapter, log, signal, onPart } = options;
  const choice = await requestAdapterNode(adapter === undefined ? { log } : { prefer: adapter, log });
  const device = await Device.create(choice, { tier: 'default' });
  const start = performance.now();
  const { config, weights, tokenizer } = await loadVisionTokenizer(device, diskFolder(folder));
  const loadSeconds = (performance.now() - start) / 1000;
  const weightBytes = device.allocatedBytes;
  const rows = side / spatialFactor(config);
  const size = { height: rows, width: rows };
  const { decoder } = planVision(device, config, visionTensorShapes(config), size);
  const random = new SeededRandom(1);
  const codes = Uint32Array.from({ length: rows * rows }, () => random.integer(config.codebook_size));
  const decodeStart = performance.now();
  const { data } = await tokenizer.decode({ batch: 1, frames: 1, ...size, codes }, true, signal, onPart);
  const decodeSeconds = (performance.now() - decodeStart) / 1000;
  const takenBytes = device.allocatedBytes - weightBytes;
  const mean = data.reduce((sum, value) => sum + value, 0) / data.length;
  const deviation = Math.sqrt(data.reduce((sum, value) => sum + (value - mean) ** 2, 0) / data.length);
  if (!Number.isFinite(deviation)) {
    throw new Emu3Error('The picture has pixels that are no numbers.', {
      code: 'not-finite',
      where: folder,
      fix: 'Make the tokenizer again.',
    });
  }
  await tokenizer.destroy();
  weights.destroy();
  device.destroy();
  const { arena: plannedBytes, largest: largestBytes } = decoder;
  return { weightBytes, plannedBytes, takenBytes, largestBytes, loadSeconds, decodeSeconds, mean, deviation };
}
