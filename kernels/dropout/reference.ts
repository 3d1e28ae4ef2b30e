/** The hash pcg4d of Jarzynski and Olano 2020 (JCGT 9(3), "Hash Functions for GPU Rendering"), on four u32 words. */
export function pcg4d(key: readonly [number, number, number, number]): [number, number, number, number] {
  let [x, y, z, w] = key.map((word) => (Math.imul(word, 1664525) + 1013904223) >>> 0) as [
    number,
    number,
    number,
    number,
  ];
  const mix = (): void => {
    x = (x + Math.imul(y, w)) >>> 0;
    y = (y + Math.imul(z, x)) >>> 0;
    z = (z + Math.imul(x, y)) >>> 0;
    w = (w + Math.imul(y, z)) >>> 0;
  };
  mix();
  x = (x ^ (x >>> 16)) >>> 0;
  y = (y ^ (y >>> 16)) >>> 0;
  z = (z ^ (z >>> 16)) >>> 0;
  w = (w ^ (w >>> 16)) >>> 0;
  mix();
  return [x, y, z, w];
}

/**
 * What each of `count` elements is multiplied by: 0 where dropped, `1 / (1 - rate)` where kept. Element i is dropped when
 * word `i % 4` of `pcg4d(seed, step, site, floor(i / 4))` is below `rate * 2^32`. Same bits as the WGSL.
 *
 * @param key.seed u32 @param key.step u32, the training step @param key.site u32, which dropout of the model it is
 * @param rate Probability of dropping, in [0, 1).
 */
export function dropoutMask(
  key: { seed: number; step: number; site: number },
  rate: number,
  count: number,
): Float64Array {
  const threshold = dropoutThreshold(rate);
  return Float64Array.from({ length: count }, (_, index) => {
    const word = pcg4d([key.seed, key.step, key.site, index >>> 2])[index & 3] ?? 0;
    return word >= threshold ? 1 / (1 - rate) : 0;
  });
}

/** The u32 below which a random word means "dropped". */
export function dropoutThreshold(rate: number): number {
  return Math.floor(rate * 2 ** 32);
}
