import { describe, expect, it } from 'vitest';
import { SeededRandom } from '../../demos/nano/world/random.js';
import { addCodebookProjection, initialiseVision, initialVisionTensor } from '../../demos/nano/train/initialise.js';
import { visionTensorShapes, withoutCounters } from '../../loader/index.js';
import { tinyVision } from '../cli/support.js';

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

describe('the vision tokenizer at its start', () => {
  it('takes the lift of its latents out wherever the decoder reads them', () => {
    const shapes = visionTensorShapes(tinyVision);
    const names = [...withoutCounters(shapes).keys()];
    const written = new Map<string, Float32Array>();
    initialiseVision(shapes, (name, values) => written.set(name, values), names, new SeededRandom(3));
    expect([...written.keys()]).toEqual(names);
    const silu = (x: number): number => x / (1 + Math.exp(-x));
    // A latent of 0 enters the decoder's first convolution over time, whose bias lifts it, and passes two SiLUs.
    const lifted = silu(silu(written.get('decoder.time_conv.0.conv.conv.bias')?.[0] ?? 0));
    expect(lifted).toBeGreaterThan(2);
    let readers = 0;
    for (const [name, weight] of written) {
      if (!/conv_y\.weight$|conv_b\.weight$|^decoder\.conv_in\.weight$/.test(name)) continue;
      const bias = written.get(name.replace(/weight$/, 'bias')) ?? new Float32Array();
      const start = initialVisionTensor(name.replace(/weight$/, 'bias'), [bias.length], new SeededRandom(1));
      const fanIn = weight.length / bias.length;
      bias.forEach((value, channel) => {
        let sum = value;
        for (let at = 0; at < fanIn; at++) sum += lifted * weight[channel * fanIn + at];
        expect(sum).toBeCloseTo(start[channel], 4);
      });
      readers += 1;
    }
    expect(readers).toBeGreaterThan(10);
  });
});
