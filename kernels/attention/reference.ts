import { dropoutThreshold, pcg4d } from '../dropout/reference.js';

export interface AttentionShape {
  batch: number;
  /** Queries per row of the batch. */
  length: number;
  heads: number;
  keyValueHeads: number;
  headDimension: number;
}

export interface AttentionDropoutKey {
  rate: number;
  seed: number;
  step: number;
  site: number;
}

/**
 * What the probability of key j for (row, head) is multiplied by: 0 where dropped, `1 / (1 - rate)` where kept; `row` is
 * the index of (batch, query, head) flattened. Word `j % 4` of `pcg4d(seed + site * 0x9e3779b9, step, row, floor(j / 4))`
 * decides, as in dropout.
 */
export function attentionDropoutFactor(dropout: AttentionDropoutKey, row: number, key: number): number {
  const seed = (dropout.seed + Math.imul(dropout.site, 0x9e3779b9)) >>> 0;
  const word = pcg4d([seed, dropout.step, row, key >>> 2])[key & 3] ?? 0;
  return word >= dropoutThreshold(dropout.rate) ? 1 / (1 - dropout.rate) : 0;
}

/**
 * Causal grouped-query attention (Vaswani et al. 2017, eq. 1; Ainslie et al. 2023, arXiv 2305.13245):
 * `out = softmax(q k^T / sqrt(headDimension)) v` over keys `start[b, t] <= j <= t`. Query head h reads key-value head
 * `floor(h * keyValueHeads / heads)`. A query with `start > t` gives zeros.
 *
 * @param q `[batch * length, heads * headDimension]`
 * @param k,v `[batch * length, keyValueHeads * headDimension]`
 * @param start `[batch * length]`
 */
export function attentionReference(
  q: Float64Array,
  k: Float64Array,
  v: Float64Array,
  start: ArrayLike<number>,
  shape: AttentionShape,
  dropout?: AttentionDropoutKey,
): Float64Array {
  const { batch, length, heads, keyValueHeads, headDimension } = shape;
  const out = new Float64Array(q.length);
  for (let b = 0; b < batch; b++) {
    for (let t = 0; t < length; t++) {
      for (let head = 0; head < heads; head++) {
        const row = (b * length + t) * heads + head;
        const keyHead = Math.floor((head * keyValueHeads) / heads);
        const keyRow = (j: number): number => ((b * length + j) * keyValueHeads + keyHead) * headDimension;
        const first = start[b * length + t] ?? 0;
        const scores: number[] = [];
        for (let j = first; j <= t; j++) {
          let dot = 0;
          for (let d = 0; d < headDimension; d++) dot += (q[row * headDimension + d] ?? 0) * (k[keyRow(j) + d] ?? 0);
          scores.push(dot / Math.sqrt(headDimension));
        }
        const largest = Math.max(...scores);
        const weights = scores.map((score) => Math.exp(score - largest));
        const total = weights.reduce((sum, weight) => sum + weight, 0);
        weights.forEach((weight, index) => {
          const j = first + index;
          const probability = (weight / total) * (dropout ? attentionDropoutFactor(dropout, row, j) : 1);
          for (let d = 0; d < headDimension; d++) {
            const at = row * headDimension + d;
            out[at] = (out[at] ?? 0) + probability * (v[keyRow(j) + d] ?? 0);
          }
        });
      }
    }
  }
  return out;
}

/**
 * Heads' vectors in 8 bits: level `round(127 x / largest)` of each element, -127..127, and the scale `largest / 127` of each
 * vector, `largest` being its largest magnitude. No element is then off by more than `largest / 254`.
 *
 * @param values `[.., headDimension]`
 */
export function quantizedVectors(
  values: ArrayLike<number>,
  headDimension: number,
): { levels: Int8Array; scales: Float64Array } {
  const levels = new Int8Array(values.length);
  const scales = Float64Array.from({ length: values.length / headDimension }, (_, vector) => {
    const own = Array.from({ length: headDimension }, (_, index) => values[vector * headDimension + index]);
    const largest = Math.max(...own.map(Math.abs));
    if (largest > 0)
      levels.set(
        own.map((value) => Math.round((127 * value) / largest)),
        vector * headDimension,
      );
    return largest / 127;
  });
  return { levels, scales };
}
