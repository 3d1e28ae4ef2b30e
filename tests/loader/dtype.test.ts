import { describe, expect, test } from 'vitest';
import {
  bfloatFromFloatBits,
  decodeToFloat32,
  decodeToInt32,
  encodeElements,
  firstNonFinite,
  halfFromFloatBits,
} from '../../loader/safetensors/dtype.js';
import { expectError, randomNumbers, thrown } from './support.js';

const scratch = new DataView(new ArrayBuffer(4));

function floatOf(bits: number): number {
  scratch.setUint32(0, bits);
  return scratch.getFloat32(0);
}

function bitsOf(value: number): number {
  scratch.setFloat32(0, value);
  return scratch.getUint32(0);
}

/** Value of half-precision bits by the definition of the format. */
function halfValue(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >> 10) & 31;
  const mantissa = half & 1023;
  if (exponent === 31) return mantissa ? NaN : sign * Infinity;
  return exponent === 0 ? sign * mantissa * 2 ** -24 : sign * (1 + mantissa / 1024) * 2 ** (exponent - 15);
}

function all16(): Uint16Array {
  return Uint16Array.from({ length: 65536 }, (_, index) => index);
}

describe('widening', () => {
  test('every half-precision number widens to its value, and narrows back to its bits', () => {
    const output = new Float32Array(65536);
    decodeToFloat32('F16', new Uint8Array(all16().buffer), output, 0, 'halves');
    for (let half = 0; half < 65536; half++) {
      const value = output[half] ?? 0;
      expect(Object.is(value, halfValue(half)), `half ${half}`).toBe(true);
      if (!Number.isNaN(value)) expect(halfFromFloatBits(bitsOf(value))).toBe(half);
    }
  });

  test('every bfloat16 number is the upper half of its float32, NaN payloads included', () => {
    const output = new Float32Array(65536);
    decodeToFloat32('BF16', new Uint8Array(all16().buffer), output, 0, 'bfloats');
    expect(new Uint32Array(output.buffer)).toEqual(Uint32Array.from(all16(), (value) => (value << 16) >>> 0));
  });

  test('unaligned bytes and output positions', () => {
    const bytes = new Uint8Array(9);
    new DataView(bytes.buffer).setFloat32(1, 1.5, true);
    new DataView(bytes.buffer).setFloat32(5, -2, true);
    const output = new Float32Array(3);
    decodeToFloat32('F32', bytes.subarray(1), output, 1, 'x');
    expect([...output]).toEqual([0, 1.5, -2]);
  });

  test('integers', () => {
    const wide = new Uint8Array(BigInt64Array.of(-5n, 2n ** 31n - 1n).buffer);
    expect([...decodeToInt32('I64', wide, 'x')]).toEqual([-5, 2 ** 31 - 1]);
    expect([...decodeToInt32('U8', Uint8Array.of(255, 1), 'x')]).toEqual([255, 1]);
    expect([...decodeToInt32('I8', Uint8Array.of(255, 1), 'x')]).toEqual([-1, 1]);
    const output = new Float32Array(2);
    decodeToFloat32('I32', new Uint8Array(Int32Array.of(-7, 2 ** 24).buffer), output, 0, 'x');
    expect([...output]).toEqual([-7, 2 ** 24]);
  });

  test('what would lose value is refused', () => {
    const large = new Uint8Array(BigInt64Array.of(0n, 2n ** 31n).buffer);
    expectError(
      thrown(() => decodeToInt32('I64', large, 'ids')),
      'dtype',
      'ids',
      'Element 1',
    );
    const odd = new Uint8Array(Int32Array.of(2 ** 24 + 1).buffer);
    expectError(
      thrown(() => decodeToFloat32('I32', odd, new Float32Array(1), 0, 'ids')),
      'dtype',
      '16777217',
    );
    expectError(
      thrown(() => decodeToInt32('F32', new Uint8Array(4), 'weights')),
      'dtype',
      'F32',
    );
    expectError(
      thrown(() => decodeToFloat32('F64', new Uint8Array(8), new Float32Array(1), 0, 'w')),
      'dtype',
      'F64',
    );
  });
});

describe('narrowing', () => {
  /** Nearest of the two neighbours among the 16-bit values, even bits on ties, by comparing exact distances. */
  function nearest(value: number, valueOf: (bits: number) => number, largest: number): number {
    let [low, high] = [0, largest];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (valueOf(middle) <= Math.abs(value)) low = middle;
      else high = middle;
    }
    const [below, above] = [Math.abs(value) - valueOf(low), valueOf(high) - Math.abs(value)];
    const bits = below < above || (below === above && low % 2 === 0) ? low : high;
    return bits | (value < 0 ? 0x8000 : 0);
  }

  test('random and tie values round to nearest even', () => {
    const random = randomNumbers(5);
    const bfloatValue = (bits: number): number => floatOf(bits << 16);
    for (let round = 0; round < 20000; round++) {
      const tie = round % 2 === 0;
      const half = tie ? halfValue(Math.floor(random() * 0x7bff)) : 0;
      const step = tie ? halfValue(bitsAbove(half)) : 0;
      const value = tie ? (half + step) / 2 : Math.fround((random() * 2 - 1) * 2 ** (random() * 39 - 24));
      expect(halfFromFloatBits(bitsOf(value)), `half of ${value}`).toBe(nearest(value, halfValue, 0x7bff));
      const bits = (Math.floor(random() * 0x7f7f) << 16) | (tie ? 0x8000 : Math.floor(random() * 65536));
      const expected = nearest(floatOf(bits), bfloatValue, 0x7f7f);
      expect(bfloatFromFloatBits(bits), `bfloat of ${floatOf(bits)}`).toBe(expected);
    }
  });

  function bitsAbove(half: number): number {
    return halfFromFloatBits(bitsOf(half)) + 1;
  }

  test('the edges of half precision', () => {
    const cases: [number, number][] = [
      [65504, 0x7bff],
      [65519.996, 0x7bff],
      [65520, 0x7c00],
      [-Infinity, 0xfc00],
      [2 ** -14, 0x0400],
      [2 ** -24, 1],
      [2 ** -25, 0],
      [2 ** -25 * 1.0001, 1],
      [-0, 0x8000],
      [2 ** -14 - 2 ** -25, 0x0400],
    ];
    for (const [value, bits] of cases) expect(halfFromFloatBits(bitsOf(value)), String(value)).toBe(bits);
    expect(Number.isNaN(halfValue(halfFromFloatBits(bitsOf(NaN))))).toBe(true);
    expect(Number.isNaN(floatOf(bfloatFromFloatBits(0x7f800001) << 16))).toBe(true);
  });

  test('a finite value that would become infinite is refused by name', () => {
    const values = Float32Array.of(1, 70000);
    expectError(
      thrown(() => encodeElements('F16', values, 'head')),
      'not-finite',
      'head',
      'Element 1',
    );
    expectError(
      thrown(() => encodeElements('BF16', Float32Array.of(3.4e38), 'head')),
      'not-finite',
      'Element 0',
    );
    expect([...encodeElements('F16', Float32Array.of(Infinity), 'head')]).toEqual([0, 0x7c]);
  });

  test('array and type must go together', () => {
    expectError(
      thrown(() => encodeElements('F32', Int32Array.of(1), 'ids')),
      'dtype',
      'Int32Array',
      'F32',
    );
    expectError(
      thrown(() => encodeElements('U8', Float32Array.of(1), 'ids')),
      'dtype',
    );
  });
});

test('the first NaN or infinity is found', () => {
  expect(firstNonFinite(Float32Array.of(0, -3.4e38, 1e-45))).toBe(-1);
  expect(firstNonFinite(Float32Array.of(0, 1, NaN, Infinity))).toBe(2);
  expect(firstNonFinite(Float32Array.of(0, -Infinity))).toBe(1);
});
