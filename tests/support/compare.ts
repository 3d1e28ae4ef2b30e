import { expect } from 'vitest';

export { relativeError } from './norm.js';

export interface Tolerance {
  /** Largest allowed |actual - expected|. */
  absolute?: number;
  /** Allowed error relative to |expected|, added to `absolute`. */
  relative?: number;
}

/** Fails with the worst element and its index unless every element is within `absolute + relative * |expected|`. */
export function expectClose(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  tolerance: Tolerance,
  label: string,
): void {
  expect(actual.length, `${label}: number of elements`).toBe(expected.length);
  let worst = -1;
  let worstExcess = 0;
  for (let index = 0; index < expected.length; index++) {
    const error = Math.abs(actual[index] - expected[index]);
    const allowed = (tolerance.absolute ?? 0) + (tolerance.relative ?? 0) * Math.abs(expected[index]);
    const excess = Number.isFinite(error) ? error - allowed : Infinity;
    if (excess > worstExcess) {
      worst = index;
      worstExcess = excess;
    }
  }
  if (worst >= 0) {
    expect.fail(
      `${label}: element ${worst} of ${expected.length} is ${actual[worst]}, expected ${expected[worst]} ` +
        `(error ${Math.abs(actual[worst] - expected[worst])}, absolute ${tolerance.absolute ?? 0}, relative ${tolerance.relative ?? 0})`,
    );
  }
}

/** Deterministic whole numbers from 0, below a bound. */
export function integers(count: number, seed: number, below: number): number[] {
  return Array.from(pseudoRandom(count, seed), (value) => Math.floor(((value + 1) / 2) * 0.999 * below));
}

/** Deterministic values in -1..1 (splitmix32), different for every index and seed. */
export function pseudoRandom(count: number, seed: number): Float32Array {
  const out = new Float32Array(count);
  let state = (seed * 0x9e3779b9) >>> 0;
  for (let index = 0; index < count; index++) {
    state = (state + 0x9e3779b9) >>> 0;
    let z = state;
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    out[index] = (((z ^ (z >>> 15)) >>> 0) / 0xffffffff) * 2 - 1;
  }
  return out;
}
