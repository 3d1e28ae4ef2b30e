/**
 * Rotary position embedding (Su et al. 2021, arXiv 2104.09864, section 3.4.2) in rotate-half form: pair i of each head,
 * `(x[i], x[i + headDimension / 2])`, turns by `position * frequency[i]`; `direction` -1 turns it back.
 *
 * @param x `[rows, heads * headDimension]`
 * @param positions `[rows]`
 * @param frequencies `[headDimension / 2]`, radians per position.
 */
export function rotaryReference(
  x: Float64Array,
  positions: ArrayLike<number>,
  frequencies: Float64Array,
  heads: number,
  direction: 1 | -1 = 1,
): Float64Array {
  const half = frequencies.length;
  const out = new Float64Array(x.length);
  for (let row = 0; row < positions.length; row++) {
    for (let head = 0; head < heads; head++) {
      for (let pair = 0; pair < half; pair++) {
        const index = (row * heads + head) * 2 * half + pair;
        const angle = (positions[row] ?? 0) * (frequencies[pair] ?? 0) * direction;
        const low = x[index] ?? 0;
        const high = x[index + half] ?? 0;
        out[index] = low * Math.cos(angle) - high * Math.sin(angle);
        out[index + half] = high * Math.cos(angle) + low * Math.sin(angle);
      }
    }
  }
  return out;
}
