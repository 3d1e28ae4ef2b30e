import { describe, expect, it } from 'vitest';
import { ignoredTarget, packDocuments, type TokenDocument } from '../../engine/train/packing.js';

function stream(sizes: number[]): () => TokenDocument {
  let index = 0;
  return () => {
    const size = sizes[index % sizes.length];
    index += 1;
    return { ids: Array.from({ length: size }, (_, at) => index * 100 + at) };
  };
}

describe('packing', () => {
  it('keeps documents whole, with their own positions, starts and targets', () => {
    const packed = packDocuments(stream([3, 4, 2, 5]), { batch: 2, length: 8 }, 7);
    expect(packed.documents).toBe(4);
    expect([...packed.ids]).toEqual([100, 101, 102, 200, 201, 202, 203, 7, 300, 301, 400, 401, 402, 403, 404, 7]);
    expect([...packed.positions.slice(0, 8)]).toEqual([0, 1, 2, 0, 1, 2, 3, 0]);
    expect([...packed.start]).toEqual([0, 0, 0, 3, 3, 3, 3, 8, 0, 0, 2, 2, 2, 2, 2, 8]);
    const none = ignoredTarget;
    expect([...packed.targets.slice(0, 8)]).toEqual([101, 102, none, 201, 202, 203, none, none]);
  });

  it('takes labels as targets where a document has them', () => {
    const document: TokenDocument = { ids: [1, 2, 3, 4], labels: [ignoredTarget, ignoredTarget, 3, 4] };
    const packed = packDocuments(() => document, { batch: 1, length: 4 }, 0);
    expect([...packed.targets]).toEqual([ignoredTarget, 3, 4, ignoredTarget]);
  });

  it("carries a document's weights to the positions that predict", () => {
    const document: TokenDocument = { ids: [1, 2, 3, 4], weights: [9, 1, 0.5, 2] };
    const packed = packDocuments(() => document, { batch: 1, length: 5 }, 0);
    expect([...packed.weights]).toEqual([1, 0.5, 2, 1, 1]);
    expect([...packDocuments(stream([3]), { batch: 1, length: 4 }, 0).weights]).toEqual([1, 1, 1, 1]);
  });

  it('refuses labels or weights of another number than ids', () => {
    for (const [document, count] of [
      [{ ids: [1, 2, 3], labels: [1, 2] }, '2 labels'],
      [{ ids: [1, 2, 3], weights: [1, 1, 1, 1] }, '4 weights'],
    ] as const) {
      expect(() => packDocuments(() => document, { batch: 1, length: 8 }, 0)).toThrow(
        expect.objectContaining({ code: 'shape', message: expect.stringContaining(count) as unknown }),
      );
    }
  });

  it('refuses a document longer than a sequence', () => {
    expect(() => packDocuments(stream([9]), { batch: 1, length: 8 }, 0)).toThrow(
      expect.objectContaining({ code: 'limit', message: expect.stringContaining('9 tokens') as unknown }),
    );
  });
});
