import { describe, expect, it } from 'vitest';
import { mergeCodebook } from '../../demos/nano/train/merge-codebook.js';
import { SeededRandom } from '../../demos/nano/world/random.js';

/** Points around centres far apart. */
function clouds(centres: number, each: number): { size: number; dimension: number; values: Float32Array } {
  const random = new SeededRandom(5);
  const values = Float32Array.from({ length: centres * each * 2 }, (_, at) => {
    const centre = Math.floor(at / 2 / each);
    return 10 * (at % 2 === 0 ? centre % 4 : Math.floor(centre / 4)) + random.between(-0.5, 0.5);
  });
  return { size: centres * each, dimension: 2, values };
}

describe('merging a codebook', () => {
  it('makes one of the codes of each neighbourhood, their mean by use', () => {
    const codebook = clouds(8, 5);
    const random = new SeededRandom(6);
    const counts = Uint32Array.from({ length: 40 }, () => 1 + random.integer(9));
    const merged = mergeCodebook(codebook, counts, 8);
    expect(merged).toMatchObject({ size: 8, dimension: 2 });
    for (let centre = 0; centre < 8; centre++) {
      const codes = Array.from({ length: 5 }, (_, index) => centre * 5 + index);
      const weight = codes.reduce((sum, code) => sum + counts[code], 0);
      const mean = [0, 1].map(
        (at) => codes.reduce((sum, code) => sum + counts[code] * codebook.values[code * 2 + at], 0) / weight,
      );
      const nearest = Math.min(
        ...Array.from({ length: 8 }, (_, place) =>
          Math.hypot(merged.values[place * 2] - mean[0], merged.values[place * 2 + 1] - mean[1]),
        ),
      );
      expect(nearest).toBeLessThan(1e-5);
    }
  });

  it('never gives more than asked for, and drops what is unused first', () => {
    const codebook = clouds(16, 3);
    const counts = new Uint32Array(48).fill(4);
    counts.fill(0, 24);
    for (const size of [1, 3, 8, 12, 24, 30])
      expect(mergeCodebook(codebook, counts, size).size).toBeLessThanOrEqual(size);
    const kept = mergeCodebook(codebook, counts, 24);
    expect([...kept.values].sort()).toEqual([...codebook.values.subarray(0, 48)].sort());
    expect(mergeCodebook(codebook, counts, 30).size).toBe(30);
    expect(mergeCodebook(codebook, new Uint32Array(48), 10).size).toBe(10);
  });

  it('leaves a codebook that is small enough as it is', () => {
    const codebook = clouds(4, 2);
    expect(mergeCodebook(codebook, new Uint32Array(8), 8)).toBe(codebook);
  });
});
