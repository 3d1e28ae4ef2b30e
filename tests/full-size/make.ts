import { join } from 'node:path';
import {
  parseTransformerConfig,
  replaceFile,
  transformerTensorShapes,
  writeModel,
  type TensorToWrite,
} from '../../loader/index.node.js';
import { elementCount } from '../../kernels/core/index.js';
import { SeededRandom } from '../../demos/nano/world/random.js';

export interface MakeOptions {
  /** Layers; the released model has 32. */
  layers: number;
  seed: number;
  onProgress: (bytes: number, total: number) => void;
  signal?: AbortSignal;
}

/** Normal numbers that all tensors are cut from. */
const poolSize = 1 << 22;
const pieceSize = 1 << 20;

/**
 * Writes a checkpoint of the released transformer's names, shapes, element types and shards with random weights: normal
 * with deviation 0.02, norms around 1.
 *
 * @returns bytes of tensor data.
 */
export async function makeFullSize(folder: string, options: MakeOptions): Promise<number> {
  const { layers, seed, onProgress, signal } = options;
  // Fields that are absent have the released values.
  const json = JSON.stringify({ architectures: ['Emu3ForCausalLM'], model_type: 'Emu3', num_hidden_layers: layers });
  const shapes = transformerTensorShapes(parseTransformerConfig(json, 'config'));
  const random = new SeededRandom(seed);
  const pool = normalPool(random);
  const total = [...shapes.values()].reduce((sum, shape) => sum + 2 * elementCount(shape), 0);
  let written = 0;
  const tensors = [...shapes].map(([name, shape]): TensorToWrite => ({
    name,
    dtype: 'BF16',
    shape,
    values: async function* () {
      const count = elementCount(shape);
      const offset = shape.length === 1 ? 1 : 0;
      for (let done = 0; done < count; done += pieceSize) {
        // Odd places in the pool, so that no two rows of a weight are the same.
        const from = random.integer(poolSize - pieceSize);
        const piece = pool.subarray(from, from + Math.min(pieceSize, count - done));
        yield offset === 0 ? piece : piece.map((value) => offset + value);
        written += 2 * piece.length;
        onProgress(written, total);
      }
    },
  }));
  await writeModel(folder, tensors, signal ? { signal } : {});
  await replaceFile(join(folder, 'config.json'), [new TextEncoder().encode(json)]);
  return total;
}

function normalPool(random: SeededRandom): Float32Array {
  const deviation = 0.02;
  return Float32Array.from({ length: poolSize }, () => deviation * random.normal());
}
