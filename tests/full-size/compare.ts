import { SequenceScorer } from '../../engine/models/transformer/index.js';
import type { Device } from '../../engine/device.js';
import type { QuantizedParameters } from '../../engine/quantized/index.js';
import { dequantizeReference } from '../../kernels/quantize/reference.js';
import { diskFolder, openTransformer, transformerTensorShapes, type Checkpoint } from '../../loader/index.node.js';
import type { Emu3Config } from '../../loader/index.js';
import { transformerReference } from '../models/reference.js';
import { relativeError } from '../support/norm.js';
import { visionIds } from './load.js';

export interface Comparison {
  /** Relative root-mean-square error of the logits of the vision tokens against float64 with the packed values. */
  kernels: number;
  /** The same against float64 with the values of the file: what packing costs. */
  packing: number;
  /** Share of the positions whose likeliest vision token is that of the file's values. */
  sameTop: number;
}

/** Logits of vision tokens, packed on the GPU and in float64 on the host, behind every token of a random sequence. */
export async function compareLogits(
  device: Device,
  folder: string,
  config: Emu3Config,
  parameters: QuantizedParameters,
  length: number,
): Promise<Comparison> {
  const ids = Uint32Array.from({ length }, (_, index) =>
    index % 2 === 0 ? (index * 7919 + 11) % 150_000 : visionIds.first + ((index * 7919) % visionIds.count),
  );
  const scorer = await SequenceScorer.create(device, config, parameters, { batch: 1, length });
  const { logits } = await scorer.score({ ids });
  scorer.destroy();
  const actual = visionColumns(Float64Array.from(logits), config.vocab_size);
  const { checkpoint } = await openTransformer(diskFolder(folder));
  try {
    const packed = await reference(config, ids, (name, rows) => packedRows(parameters, checkpoint, name, rows));
    const full = await reference(config, ids, (name, rows) => fileRows(checkpoint, name, rows));
    return {
      kernels: relativeError(actual, packed),
      packing: relativeError(actual, full),
      sameTop: shareOfSameTop(actual, full),
    };
  } finally {
    await checkpoint.close();
  }
}

type RowsOf = (name: string, rows?: readonly number[]) => Promise<Float64Array>;

/** The float64 transformer on the rows that matter: the embeddings of the ids, and the head's of the vision tokens. */
async function reference(config: Emu3Config, ids: Uint32Array, rowsOf: RowsOf): Promise<Float64Array> {
  const vision = Array.from({ length: visionIds.count }, (_, index) => visionIds.first + index);
  const special: Record<string, readonly number[]> = {
    'model.embed_tokens.weight': Array.from(ids),
    'lm_head.weight': vision,
  };
  const weights: Record<string, Float64Array> = {};
  for (const name of transformerTensorShapes(config).keys()) weights[name] = await rowsOf(name, special[name]);
  return transformerReference(config, weights, {
    batch: 1,
    length: ids.length,
    // The table has been cut down to the rows of these ids, in their order.
    ids: Array.from(ids, (_, index) => index),
    leftPadding: [0],
  });
}

async function fileRows(checkpoint: Checkpoint, name: string, rows?: readonly number[]): Promise<Float64Array> {
  const values = await checkpoint.readFloat32(name);
  if (rows === undefined) return Float64Array.from(values);
  const width = checkpoint.tensors.get(name)?.shape[1] ?? 0;
  return gather(rows, width, (row) => values.subarray(row * width, (row + 1) * width));
}

async function packedRows(
  parameters: QuantizedParameters,
  checkpoint: Checkpoint,
  name: string,
  rows?: readonly number[],
): Promise<Float64Array> {
  const weight = parameters.weights.get(name);
  if (weight === undefined) return fileRows(checkpoint, name, rows);
  const { format, shape, shards } = weight;
  const wanted = rows ?? Array.from({ length: shape[0] }, (_, row) => row);
  const out = new Float64Array(wanted.length * shape[1]);
  for (const { firstRow, shape: own, data, scales } of shards) {
    const [words, scaleWords] = [await data.readUint32(), await scales.readUint32()];
    const rowOf = (from: Uint32Array, width: number, row: number): Uint32Array =>
      from.subarray((row - firstRow) * width, (row - firstRow + 1) * width);
    wanted.forEach((row, place) => {
      if (row < firstRow || row >= firstRow + own[0]) return;
      const levels = rowOf(words, data.shape[1], row);
      const sizes = { n: 1, k: shape[1], format };
      out.set(dequantizeReference(levels, rowOf(scaleWords, scales.shape[1], row), sizes), place * shape[1]);
    });
  }
  return out;
}

function gather(rows: readonly number[], width: number, row: (index: number) => ArrayLike<number>): Float64Array {
  const out = new Float64Array(rows.length * width);
  rows.forEach((index, place) => out.set(row(index), place * width));
  return out;
}

function visionColumns(logits: Float64Array, vocabulary: number): Float64Array {
  const { first, count } = visionIds;
  return gather(
    Array.from({ length: logits.length / vocabulary }, (_, row) => row),
    count,
    (row) => logits.subarray(row * vocabulary + first, row * vocabulary + first + count),
  );
}

function shareOfSameTop(actual: Float64Array, expected: Float64Array): number {
  const rows = actual.length / visionIds.count;
  const top = (logits: Float64Array, row: number): number => {
    const values = logits.subarray(row * visionIds.count, (row + 1) * visionIds.count);
    return values.indexOf(values.reduce((best, value) => Math.max(best, value), -Infinity));
  };
  const same = Array.from({ length: rows }, (_, row) => row).filter((row) => top(actual, row) === top(expected, row));
  return same.length / rows;
}
