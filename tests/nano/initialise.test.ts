import { describe, expect, it } from 'vitest';
import { SeededRandom } from '../../demos/nano/data/random.js';
import { addCodebookProjection } from '../../demos/nano/train/initialise.js';

describe('vision embeddings from the codebook', () => {
  const size = 6;
  const dimension = 3;
  const hidden = 16;
  // Codes 0 and 1 are the same, the last dimension is dead, and the first one's values are a thousand times larger.
  const values = Float32Array.of(1e3, 1, 7, 1e3, 1, 7, 2e3, 5, 7, 3e3, 2, 7, 4e3, 8, 7, 9e3, 4, 7);
  const rowsOf = (seed: number): Float32Array => {
    const rows = new Float32Array(size * hidden);
    addCodebookProjection(rows, { size, dimension, values }, new SeededRandom(seed));
    return rows;
  };

  it('adds the same to codes that are the same, and the same again for the seed', () => {
    const rows = rowsOf(4);
    expect(rows.subarray(0, hidden)).toEqual(rows.subarray(hidden, 2 * hidden));
    expect(rows.subarray(0, hidden)).not.toEqual(rows.subarray(2 * hidden, 3 * hidden));
    expect(rowsOf(4)).toEqual(rows);
    expect(rowsOf(5)).not.toEqual(rows);
  });

  it('counts every dimension alike, whatever its scale, and adds nothing on average', () => {
    const rows = rowsOf(4);
    for (let channel = 0; channel < hidden; channel++) {
      let sum = 0;
      for (let code = 0; code < size; code++) sum += rows[code * hidden + channel];
      expect(sum).toBeCloseTo(0, 5);
    }
    const scaled = values.map((value, at) => (at % dimension === 0 ? value / 1e3 : value));
    const same = new Float32Array(size * hidden);
    addCodebookProjection(same, { size, dimension, values: scaled }, new SeededRandom(4));
    same.forEach((value, at) => expect(value).toBeCloseTo(rows[at], 5));
  });
});
