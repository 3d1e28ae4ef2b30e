import { Emu3Error } from '../../kernels/core/errors.js';

/** Target of a position without a loss. */
export const ignoredTarget = -100;

/** One training document: token ids and, for each, whether the model learns to predict it. */
export interface TokenDocument {
  readonly ids: ArrayLike<number>;
  /** Same length as ids: the id itself where it is learned, {@link ignoredTarget} where not. Default: all are learned. */
  readonly labels?: ArrayLike<number>;
  /** Same length as ids: weight of the loss of predicting each, times the trainer's own weights. Default 1. */
  readonly weights?: ArrayLike<number>;
}

/** `batch` sequences of `length` tokens, flattened row by row: what one training step reads. */
export interface PackedBatch {
  readonly batch: number;
  readonly length: number;
  readonly ids: Uint32Array;
  /** Position within the document. */
  readonly positions: Uint32Array;
  /** First position of the sequence that may be attended to: where the document begins. */
  readonly start: Uint32Array;
  /** The next token of the same document, or {@link ignoredTarget}. */
  readonly targets: Int32Array;
  /** Weight of each target's loss, times the trainer's own weights. */
  readonly weights: Float32Array;
  /** Documents that found room. */
  readonly documents: number;
}

/**
 * Packs whole documents into sequences, first fit in the order given: none is cut, so no picture ever is
 * (arXiv 2409.18869, section 3.2), and none attends to another. Padding positions lie before their own start, so they
 * attend to nothing.
 *
 * @param next gives the next document; it is called until one does not fit any more, and the caller keeps that one for
 *   the next batch.
 * @throws Emu3Error `limit` for a document longer than a sequence.
 */
export function packDocuments(
  next: () => TokenDocument,
  shape: { batch: number; length: number },
  padId: number,
): PackedBatch {
  const { batch, length } = shape;
  const rows = batch * length;
  const ids = new Uint32Array(rows).fill(padId);
  const positions = new Uint32Array(rows);
  const start = new Uint32Array(rows).fill(length);
  const targets = new Int32Array(rows).fill(ignoredTarget);
  const weights = new Float32Array(rows).fill(1);
  const used = new Uint32Array(batch);
  let documents = 0;
  for (;;) {
    const document = next();
    const size = document.ids.length;
    if (size > length) {
      throw new Emu3Error(`A document of ${size} tokens is longer than the ${length} of a training sequence.`, {
        code: 'limit',
        where: 'packing',
        fix: 'Use a longer sequence or drop the document.',
      });
    }
    const row = used.findIndex((filled) => filled + size <= length);
    if (row < 0) break;
    const origin = used[row];
    for (let index = 0; index < size; index++) {
      const at = row * length + origin + index;
      ids[at] = document.ids[index];
      positions[at] = index;
      start[at] = origin;
      if (index + 1 === size) continue;
      targets[at] = (document.labels ?? document.ids)[index + 1];
      if (document.weights) weights[at] = document.weights[index + 1];
    }
    used[row] += size;
    documents += 1;
  }
  return { batch, length, ids, positions, start, targets, weights, documents };
}
