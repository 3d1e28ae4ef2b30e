import type { SamplerOptions } from './state.js';

/** `c`, `u` log-softmax of the two rows; guided = u + guidance * (c - u), in float64. */
export function guidanceReference(
  conditional: ArrayLike<number>,
  unconditional: ArrayLike<number>,
  guidance: number,
): Float64Array {
  const c = logSoftmax(conditional);
  const u = logSoftmax(unconditional);
  return c.map((value, id) => u[id] + guidance * (value - u[id]));
}

function logSoftmax(logits: ArrayLike<number>): Float64Array {
  const values = Float64Array.from(logits);
  const maximum = values.reduce((a, b) => Math.max(a, b), -Infinity);
  const total = maximum + Math.log(values.reduce((sum, value) => sum + Math.exp(value - maximum), 0));
  return values.map((value) => value - total);
}

function multiplyHigh(a: number, b: number): number {
  const low = (a & 0xffff) * (b & 0xffff);
  const cross = (a & 0xffff) * (b >>> 16);
  const cross2 = (a >>> 16) * (b & 0xffff);
  const carry = Math.floor(low / 65536) + (cross % 65536) + (cross2 % 65536);
  const high = (a >>> 16) * (b >>> 16) + Math.floor(cross / 65536) + Math.floor(cross2 / 65536);
  return (high + Math.floor(carry / 65536)) >>> 0;
}

/**
 * Philox 2x32 of 10 rounds (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") with the key `seed` and
 * the counter (id, position): two words; the sampler uses the first. The kernel computes the same bits.
 */
export function philox(seed: number, position: number, id: number): [number, number] {
  let x = id >>> 0;
  let y = position >>> 0;
  let key = seed >>> 0;
  for (let round = 0; round < 10; round++) {
    const high = multiplyHigh(0xd256d193, x);
    const low = Math.imul(0xd256d193, x) >>> 0;
    x = (high ^ key ^ y) >>> 0;
    y = low;
    key = (key + 0x9e3779b9) >>> 0;
  }
  return [x, y];
}

/** Standard Gumbel noise `-log(-log(1 - v))` with `v = (bits + 1/2) / 2^32`. */
export function gumbelNoise(seed: number, position: number, id: number): number {
  const v = (philox(seed, position, id)[0] + 0.5) / 2 ** 32;
  return -Math.log(-Math.log1p(-v));
}

/** The candidates top-k and top-p leave, most probable first, with their probabilities; lower ids first on ties. */
export function candidatesReference(
  logits: ArrayLike<number>,
  allowed: readonly [first: number, end: number],
  options: SamplerOptions,
): { id: number; logit: number; probability: number }[] {
  const { temperature = 1, topK = Infinity, topP = 1 } = options;
  const order: number[] = [];
  for (let id = allowed[0]; id < allowed[1]; id++) order.push(id);
  order.sort((a, b) => logits[b] - logits[a] || a - b);
  const kept = order.slice(0, Math.min(topK, order.length));
  const weights = kept.map((id) => Math.exp((logits[id] - logits[kept[0]]) / temperature));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  let count = 0;
  for (let sum = 0; count < kept.length && sum < topP * total * (1 - 1e-12); count++) sum += weights[count];
  if (topP === 1) count = kept.length;
  const left = weights.slice(0, count).reduce((sum, weight) => sum + weight, 0);
  return kept.slice(0, count).map((id, i) => ({ id, logit: logits[id], probability: weights[i] / left }));
}

/**
 * One token in float64: the forced id of a range of one; the largest allowed logit at temperature 0, the lowest id on
 * ties; else `argmax(logit / temperature + gumbel(seed, position, id))` over the candidates top-k and top-p leave.
 * `margin` is the gap between the two best: below the rounding of float32 a kernel may choose either.
 *
 * @param logits one row, indexed by id.
 */
export function sampleReference(
  logits: ArrayLike<number>,
  allowed: readonly [first: number, end: number],
  options: SamplerOptions,
): { id: number; margin: number } {
  const { seed, position = 0, temperature = 1 } = options;
  if (allowed[1] - allowed[0] <= 1) return { id: allowed[0], margin: Infinity };
  const candidates = candidatesReference(logits, allowed, temperature === 0 ? { ...options, temperature: 1 } : options);
  if (temperature === 0)
    return { id: candidates[0].id, margin: candidates[0].logit - (candidates[1]?.logit ?? -Infinity) };
  const noisy = candidates
    .map(({ id, logit }) => ({
      id,
      value: (logit - candidates[0].logit) / temperature + gumbelNoise(seed, position, id),
    }))
    .sort((a, b) => b.value - a.value || a.id - b.id);
  return { id: noisy[0].id, margin: noisy[0].value - (noisy[1]?.value ?? -Infinity) };
}
