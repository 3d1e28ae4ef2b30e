import { Emu3Error } from '../kernels/core/errors.js';
import type { WritableDtype } from './safetensors/dtype.js';
import { missingTensor } from './safetensors/reader.js';
import type { Checkpoint } from './safetensors/checkpoint.js';
import type { TensorToWrite } from './safetensors/writer.js';

const averaged: readonly WritableDtype[] = ['F32', 'F16', 'BF16'];

/**
 * The mean of several checkpoints of one model, tensor by tensor, to be written in the formats of the first: a model soup
 * (Wortsman et al. 2022, arXiv 2203.05482). Ends of trainings that began at one model often lie in one valley of the loss,
 * and their mean does what each of them does. Sums are float64; one tensor at a time of all checkpoints is in memory.
 *
 * @param checkpoints two or more, open until all has been written.
 * @param onTensor told after each tensor how many are made.
 * @throws Emu3Error `argument` for fewer than two, `missing` for a tensor that not all have, `shape` for one of another shape,
 *   `dtype` for one of whole numbers; the values, `not-finite`.
 */
export function averagedTensors(
  checkpoints: readonly Checkpoint[],
  onTensor?: (done: number, total: number) => void,
): TensorToWrite[] {
  const [first, ...others] = checkpoints;
  if (others.length === 0) {
    throw new Emu3Error(`The mean of ${checkpoints.length} models is nothing new.`, {
      code: 'argument',
      where: 'checkpoints',
      fix: 'Give two or more.',
    });
  }
  for (const other of others) {
    for (const name of first.tensors.keys()) if (!other.tensors.has(name)) throw missingTensor(other.name, name);
    for (const name of other.tensors.keys()) if (!first.tensors.has(name)) throw missingTensor(first.name, name);
  }
  let done = 0;
  return [...first.tensors].map(([name, { dtype, shape }]): TensorToWrite => {
    const format = averaged.find((each) => each === dtype);
    if (format === undefined) {
      throw new Emu3Error(`"${name}" is stored as ${dtype}, of which there is no mean.`, {
        code: 'dtype',
        where: first.name,
        fix: 'Give checkpoints in F32, F16 or BF16.',
      });
    }
    for (const other of others) {
      const found = other.tensors.get(name)?.shape ?? [];
      if (found.join() === shape.join()) continue;
      throw new Emu3Error(`"${name}" has shape [${found.join(', ')}], and [${shape.join(', ')}] in ${first.name}.`, {
        code: 'shape',
        where: other.name,
        fix: 'Give checkpoints of one model.',
      });
    }
    const values = async (): Promise<Float32Array> => {
      const sums = await mean(checkpoints, name);
      onTensor?.(++done, first.tensors.size);
      return sums;
    };
    return { name, dtype: format, shape, values };
  });
}

async function mean(checkpoints: readonly Checkpoint[], name: string): Promise<Float32Array> {
  let sums: Float64Array | undefined;
  for (const checkpoint of checkpoints) {
    const values = await checkpoint.readFloat32(name, { checkFinite: true });
    sums ??= new Float64Array(values.length);
    for (let index = 0; index < values.length; index++) sums[index] += values[index];
  }
  return Float32Array.from(sums ?? [], (sum) => sum / checkpoints.length);
}
