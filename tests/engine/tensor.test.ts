import { describe, expect, it } from 'vitest';
import { GpuTensor, narrowFloat16, widenFloat16 } from '../../engine/tensor.js';
import { pseudoRandom } from '../support/compare.js';
import { testDevice } from '../support/gpu.js';

const patterns = Uint16Array.from({ length: 65536 }, (_, index) => index);
const isNotANumber = (bits: number): boolean => (bits & 0x7fff) > 0x7c00;

/** Every size a half float can have, by pattern, and the next one it could have. */
const halves = [...widenFloat16(patterns.subarray(0, 0x7c00)), 65536];

/** The pattern nearest to a value, the even one of two that are as near, by search among all finite values. */
function nearestHalf(value: number): number {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  let low = 0;
  let high = halves.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (halves[middle] <= size) low = middle;
    else high = middle - 1;
  }
  if (low === halves.length - 1) return sign | low;
  const below = size - halves[low];
  const above = halves[low + 1] - size;
  return sign | (below < above || (below === above && low % 2 === 0) ? low : low + 1);
}

describe('binary16', () => {
  it('widens every pattern to the value IEEE 754 gives it, and back', () => {
    const values = widenFloat16(patterns);
    const back = narrowFloat16(values);
    for (const bits of patterns) {
      if (isNotANumber(bits)) {
        expect(values[bits]).toBeNaN();
        expect(isNotANumber(back[bits]), `pattern ${bits}`).toBe(true);
      } else if (back[bits] !== bits) {
        expect.fail(`pattern ${bits} is ${values[bits]} and comes back as ${back[bits]}`);
      }
    }
    expect([0x0001, 0x03ff, 0x0400, 0x3c00, 0x3c01, 0x7bff, 0xc000].map((bits) => values[bits])).toEqual([
      2 ** -24,
      1023 * 2 ** -24,
      2 ** -14,
      1,
      1 + 2 ** -10,
      65504,
      -2,
    ]);
    expect([values[0x7c00], values[0xfc00]]).toEqual([Infinity, -Infinity]);
    expect([Object.is(values[0], 0), Object.is(values[0x8000], -0)]).toEqual([true, true]);
  });

  it('rounds to the nearest, and ties to even', () => {
    const random = pseudoRandom(1200, 21);
    const values = Float32Array.from(random, (value, index) => value * 2 ** ((index % 48) - 28));
    // Between two neighbours: the tie itself, and the f32 values on both of its sides.
    const ties = [0, 1, 2, 1022, 1023, 1024, 2047, 15360, 15361, 31742].flatMap((bits) => {
      const tie = (halves[bits] + halves[bits + 1]) / 2;
      const pattern = new Uint32Array(Float32Array.of(tie).buffer)[0];
      return [...new Float32Array(Uint32Array.of(pattern - 1, pattern, pattern + 1).buffer)];
    });
    const edges = [65504, 65519.99609375, 65520, 65536, 3e38, 2 ** -25, 2 ** -26, 1e-45, 0];
    const all = Float32Array.from([...values, ...ties, ...edges].flatMap((value) => [value, -value]));
    const narrowed = narrowFloat16(all);
    for (const [index, value] of all.entries()) {
      const expected = nearestHalf(value);
      if (narrowed[index] !== expected) expect.fail(`${value} is ${narrowed[index]}, expected ${expected}`);
    }
    expect([...narrowFloat16(Float32Array.of(Infinity, -Infinity))]).toEqual([0x7c00, 0xfc00]);
  });
});

describe('tensors', () => {
  it('of an odd number of half floats keep their neighbours', async () => {
    const device = await testDevice();
    const bits = narrowFloat16(Float32Array.of(1, -2, 0.5));
    const tensor = GpuTensor.from(device, [3], 'f16', bits, 'odd');
    expect(tensor.byteLength).toBe(8);
    expect([...(await tensor.readFloat32())]).toEqual([1, -2, 0.5]);
    tensor.destroy();
  });

  it('take a part at an offset', async () => {
    const tensor = GpuTensor.from(await testDevice(), [4], 'i32', Int32Array.of(1, 2, 3, 4), 'ids');
    tensor.write(Int32Array.of(-7, -8), 1);
    expect([...(await tensor.readInt32())]).toEqual([1, -7, -8, 4]);
    tensor.destroy();
  });

  it('refuse data that does not fit, and reads as another type', async () => {
    const tensor = GpuTensor.create(await testDevice(), [2, 2], 'u32', 'ids');
    const misfit: unknown = expect.objectContaining({ code: 'shape', where: 'ids' });
    expect(() => tensor.write(new Uint32Array(5))).toThrow(misfit);
    expect(() => tensor.write(new Uint32Array(2), 3)).toThrow(misfit);
    expect(() => tensor.write(new Uint16Array(4))).toThrow(misfit);
    const wrong = { code: 'dtype', where: 'ids' };
    await expect(tensor.readFloat32()).rejects.toMatchObject(wrong);
    await expect(tensor.readInt32()).rejects.toMatchObject(wrong);
    expect([...(await tensor.readUint32())]).toEqual([0, 0, 0, 0]);
    tensor.destroy();
  });
});
