import { Emu3Error } from '../../../../kernels/core/errors.js';
import type { Device } from '../../../device.js';
import { Graph, Program } from '../../../graph/index.js';
import { accumulate, scale } from '../../../ops/elementwise.js';
import { matmul } from '../../../ops/matmul.js';
import type { ParameterStore } from '../../../parameters.js';
import type { GpuTensor } from '../../../tensor.js';
import type { LoraAdapters, LoraPair } from './lora.js';

/**
 * Adds (alpha / rank) B A to the base weights on the GPU, after which the base alone is the adapted model (arXiv
 * 2106.09685, section 4.1). The adapters stay as they are; merging them twice adds them twice. Waits until it is done.
 *
 * @throws Emu3Error `missing` for a weight the base lacks, `shape` for one of another shape; the base is unchanged then.
 */
export async function mergeAdapters(device: Device, base: ParameterStore, adapters: LoraAdapters): Promise<void> {
  checkAdapters(adapters, base.shapes);
  await addProducts(device, adapters, [...adapters.pairs.values()], (name) => base.tensor(name));
}

/**
 * As {@link mergeAdapters}, for one weight [out, in] f32, wherever it is; one that no adapter goes beside stays.
 *
 * @param name hub name of the weight.
 */
export async function mergeAdapter(
  device: Device,
  weight: GpuTensor,
  adapters: LoraAdapters,
  name: string,
): Promise<void> {
  const pair = adapters.pairs.get(name);
  if (pair) await addProducts(device, adapters, [pair], () => weight);
}

/** @throws Emu3Error `missing` for a weight the model lacks, `shape` for one of another shape than its adapter's. */
export function checkAdapters(adapters: LoraAdapters, baseShapes: ReadonlyMap<string, readonly number[]>): void {
  for (const { base, shape } of adapters.pairs.values()) {
    const found = baseShapes.get(base);
    if (found?.join() === shape.join()) continue;
    const message = found
      ? `The weight is [${found.join(', ')}], its adapter [${shape.join(', ')}].`
      : 'The model has no weight that an adapter goes beside.';
    throw new Emu3Error(message, {
      code: found ? 'shape' : 'missing',
      where: base,
      fix: 'Merge adapters into the model they were made for.',
    });
  }
}

async function addProducts(
  device: Device,
  { store, scale: factor }: LoraAdapters,
  pairs: readonly LoraPair[],
  weightOf: (name: string) => GpuTensor,
): Promise<void> {
  const graph = new Graph(device.traits);
  for (const { base, a, b } of pairs) {
    const scaled = scale(graph, graph.bind(store.tensor(b)), factor);
    accumulate(graph, graph.bind(weightOf(base)), matmul(graph, scaled, graph.bind(store.tensor(a))));
  }
  const program = await Program.compile(device, graph, { label: 'adapters into weights' });
  try {
    program.run();
    await device.finish();
  } finally {
    program.destroy();
  }
}
