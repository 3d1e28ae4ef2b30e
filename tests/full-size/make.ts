import { join } from 'node:path';
import {
  parseTransformerConfig,
  parseVisionConfig,
  replaceFile,
  transformerTensorShapes,
  visionTensorShapes,
  writeModel,
  type TensorToWrite,
} from '../../loader/index.node.js';
import { elementCount } from '../../kernels/core/index.js';
import { SeededRandom } from '../../demos/nano/world/random.js';

export interface MakeOptions {
  seed: number;
  onProgress: (bytes: number, total: number) => void;
  signal?: AbortSignal;
}

/** Normal numbers that all tensors are cut from. */
const poolSize = 1 << 22;
const pieceSize = 1 << 20;

/** What is written; fields of a config that are absent have the released values. */
interface Made {
  json: string;
  shapes: ReadonlyMap<string, readonly number[]>;
  dtype: 'BF16' | 'F32';
}

/**
 * Writes a checkpoint of the released transformer's names, shapes, element types and shards with random weights: normal
 * with deviation 0.02, norms around 1.
 *
 * @param options layers: the released model has 32.
 * @returns bytes of tensor data.
 */
export async function makeFullSize(folder: string, options: MakeOptions & { layers: number }): Promise<number> {
  const { layers } = options;
  const json = JSON.stringify({ architectures: ['Emu3ForCausalLM'], model_type: 'Emu3', num_hidden_layers: layers });
  return make(
    folder,
    { json, shapes: transformerTensorShapes(parseTransformerConfig(json, 'config')), dtype: 'BF16' },
    options,
  );
}

/** The same of the released vision tokenizer; running variances are around 1 too. */
export async function makeFullSizeVision(folder: string, options: MakeOptions): Promise<number> {
  const json = JSON.stringify({ architectures: ['Emu3VisionVQModel'], model_type: 'Emu3VisionVQ' });
  const shapes = visionTensorShapes(parseVisionConfig(json, 'config'));
  for (const name of shapes.keys()) if (name.endsWith('num_batches_tracked')) shapes.delete(name);
  return make(folder, { json, shapes, dtype: 'F32' }, options);
}

async function make(folder: string, { json, shapes, dtype }: Made, options: MakeOptions): Promise<number> {
  const { seed, onProgress, signal } = options;
  const random = new SeededRandom(seed);
  const pool = normalPool(random);
  const elementBytes = dtype === 'F32' ? 4 : 2;
  const total = [...shapes.values()].reduce((sum, shape) => sum + elementBytes * elementCount(shape), 0);
  let written = 0;
  const tensors = [...shapes].map(([name, shape]): TensorToWrite => ({
    name,
    dtype,
    shape,
    values: async function* () {
      const count = elementCount(shape);
      const offset = shape.length === 1 && !/bias$|running_mean$/.test(name) ? 1 : 0;
      for (let done = 0; done < count; done += pieceSize) {
        // Odd places in the pool, so that no two rows of a weight are the same.
        const from = random.integer(poolSize - pieceSize);
        const piece = pool.subarray(from, from + Math.min(pieceSize, count - done));
        yield offset === 0 ? piece : piece.map((value) => offset + value);
        written += elementBytes * piece.length;
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
