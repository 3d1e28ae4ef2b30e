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

/** Sequences of a batch, and tokens of each. */
export interface SequenceShape {
  readonly batch: number;
  readonly length: number;
}

/** Sequences of nothing but padding, whose positions lie before their own start and so attend to nothing. */
export function emptyBatch({ batch, length }: SequenceShape, padId: number): Omit<PackedBatch, 'documents'> {
  const rows = batch * length;
  return {
    batch,
    length,
    ids: new Uint32Array(rows).fill(padId),
    positions: new Uint32Array(rows),
    start: new Uint32Array(rows).fill(length),
    targets: new Int32Array(rows).fill(ignoredTarget),
    weights: new Float32Array(rows).fill(1),
  };
}

/** Writes a document into row `row` from place `origin` on, where it must fit. */
export function placeDocument(
  packed: Omit<PackedBatch, 'documents'>,
  row: number,
  origin: number,
  document: TokenDocument,
): void {
  const size = document.ids.length;
  for (let index = 0; index < size; index++) {
    const at = row * packed.length + origin + index;
    packed.ids[at] = document.ids[index];
    packed.positions[at] = index;
    packed.start[at] = origin;
    if (index + 1 === size) continue;
    packed.targets[at] = (document.labels ?? document.ids)[index + 1];
    if (document.weights) packed.weights[at] = document.weights[index + 1];
  }
}

/**
 * Packs whole documents into sequences, first fit in the order given: none is cut, so no picture ever is
 * (arXiv 2409.18869, section 3.2), and none attends to another. Padding attends to nothing.
 *
 * @param next gives the next document, and is told the tokens that are left in the emptiest sequence: a caller that keeps
 *   several waiting can give one that fits. It is called until it has none to give, or gives one that does not fit, which
 *   the caller keeps for the next batch.
 * @throws Emu3Error `limit` for a document longer than a sequence, `shape` for one with another number of labels or
 *   weights than ids.
 */
export function packDocuments(
  next: (room: number) => TokenDocument | undefined,
  shape: SequenceShape,
  padId: number,
): PackedBatch {
  const packed = emptyBatch(shape, padId);
  const used = new Uint32Array(shape.batch);
  let documents = 0;
  for (;;) {
    const document = next(shape.length - Math.min(...used));
    if (document === undefined) break;
    const size = document.ids.length;
    checkDocument(document, shape.length);
    const row = used.findIndex((filled) => filled + size <= shape.length);
    if (row < 0) break;
    placeDocument(packed, row, used[row], document);
    used[row] += size;
    documents += 1;
  }
  return { ...packed, documents };
}

function checkDocument({ ids, labels = ids, weights = ids }: TokenDocument, length: number): void {
  if (ids.length > length) {
    throw new Emu3Error(`A document of ${ids.length} tokens is longer than the ${length} of a training sequence.`, {
      code: 'limit',
      where: 'packing',
      fix: 'Use a longer sequence or drop the document.',
    });
  }
  if (labels.length !== ids.length || weights.length !== ids.length) {
    throw new Emu3Error(`A document has ${ids.length} ids, ${labels.length} labels and ${weights.length} weights.`, {
      code: 'shape',
      where: 'packing',
      fix: 'Give a label and a weight for each id, or none at all.',
    });
  }
}
