import { Emu3Error } from '../../../../kernels/core/errors.js';
import type { Device } from '../../../device.js';
import { Graph, Program } from '../../../graph/index.js';
import { accumulate, scale } from '../../../ops/elementwise.js';
import { matmul } from '../../../ops/matmul.js';
import type { ParameterStore } from '../../../parameters.js';
import type { LoraAdapters } from './lora.js';

/**
 * Adds (alpha / rank) B A to the base weights on the GPU, after which the base alone is the adapted model (arXiv
 * 2106.09685, section 4.1). The adapters stay as they are; merging them twice adds them twice. Waits until it is done.
 *
 * @throws Emu3Error `missing` for a weight the base lacks, `shape` for one of another shape; the base is unchanged then.
 */
export async function mergeAdapters(device: Device, base: ParameterStore, adapters: LoraAdapters): Promise<void> {
  const graph = new Graph(device.traits);
  for (const { base: name, shape, a, b } of adapters.pairs.values()) {
    const weight = base.tensor(name);
    if (weight.shape.join() !== shape.join()) {
      throw new Emu3Error(`The weight is [${weight.shape.join(', ')}], its adapter [${shape.join(', ')}].`, {
        code: 'shape',
        where: name,
        fix: 'Merge adapters into the model they were made for.',
      });
    }
    const scaled = scale(graph, graph.bind(adapters.store.tensor(b)), adapters.scale);
    accumulate(graph, graph.bind(weight), matmul(graph, scaled, graph.bind(adapters.store.tensor(a))));
  }
  const program = await Program.compile(device, graph, { label: 'adapters into weights' });
  try {
    program.run();
    await device.finish();
  } finally {
    program.destroy();
  }
}
