import type { Codebook } from './initialise.js';

/** Halvings of the distance within which codes are taken for one. */
const halvings = 40;

/**
 * Makes a codebook small by letting codes that lie near to one another stand for the same: the most used code of a
 * neighbourhood leads, the others follow their nearest leader, and a leader becomes the mean of its followers, weighted by
 * use. The neighbourhood is as small as gives `size` leaders.
 *
 * A codebook that was trained large names the same patch in many ways, between which nothing decides but rounding. The
 * pictures lose little when those fall together, and a transformer no longer has to guess which name comes next: the idea of
 * entropy-constrained vector quantization (Chou, Lookabaugh and Gray 1989), with the rate set by the size.
 *
 * @param counts how often each entry is used.
 * @returns `size` entries, the most used first; where fewer are used, unused ones fill it up. A codebook of `size` entries or
 *   fewer comes back as it is.
 */
export function mergeCodebook(codebook: Codebook, counts: ArrayLike<number>, size: number): Codebook {
  const { dimension, values } = codebook;
  if (codebook.size <= size) return codebook;
  const order = Array.from(counts, (_, code) => code).sort((a, b) => counts[b] - counts[a]);
  const used = order.filter((code) => counts[code] > 0);
  const distance = (a: number, b: number): number => {
    let sum = 0;
    for (let at = 0; at < dimension; at++) sum += (values[a * dimension + at] - values[b * dimension + at]) ** 2;
    return sum;
  };
  const leadersAt = (apart: number): number[] => {
    const leaders: number[] = [];
    for (const code of used) if (leaders.every((leader) => distance(code, leader) > apart)) leaders.push(code);
    return leaders;
  };
  let [low, high] = [0, 1];
  while (leadersAt(high).length > size) [low, high] = [high, 2 * high];
  for (let round = 0; round < halvings && used.length > size; round++) {
    const middle = (low + high) / 2;
    if (leadersAt(middle).length > size) low = middle;
    else high = middle;
  }
  const leaders = used.length > size ? leadersAt(high) : order.slice(0, size);
  const sums = new Float64Array(leaders.length * dimension);
  const weights = new Float64Array(leaders.length);
  const add = (code: number, place: number, weight: number): void => {
    weights[place] += weight;
    for (let at = 0; at < dimension; at++) sums[place * dimension + at] += weight * values[code * dimension + at];
  };
  for (const code of used) {
    const apart = leaders.map((leader) => distance(code, leader));
    add(code, apart.indexOf(Math.min(...apart)), counts[code]);
  }
  leaders.forEach((leader, place) => {
    if (weights[place] === 0) add(leader, place, 1);
  });
  const merged = Float32Array.from(sums, (sum, at) => sum / weights[Math.floor(at / dimension)]);
  return { size: leaders.length, dimension, values: merged };
}
