import { quantizationGroup, type QuantizationFormat } from './format.js';

/** The f16 value nearest to `value`, ties to even, at most 65504 in magnitude; 0 only for 0. */
function roundToHalf(value: number): number {
  if (value === 0) return 0;
  const exponent = Math.max(Math.floor(Math.log2(Math.abs(value))), -14);
  const step = 2 ** (exponent - 10);
  const scaled = value / step;
  const floor = Math.floor(scaled);
  const rest = scaled - floor;
  const rounded = rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
  return Math.max(-65504, Math.min(65504, (rounded || Math.sign(value)) * step));
}

/** Value of an f16 bit pattern. */
function halfValue(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15));
}

function levels(values: ArrayLike<number>, scale: number, format: QuantizationFormat): number[] {
  const [low, high] = format === 'q4' ? [-8, 7] : [-128, 127];
  return Array.from(values, (value) => (scale === 0 ? 0 : Math.max(low, Math.min(high, Math.round(value / scale)))));
}

function squaredError(values: ArrayLike<number>, scale: number, format: QuantizationFormat): number {
  return levels(values, scale, format).reduce(
    (sum, level, index) => sum + ((values[index] ?? 0) - scale * level) ** 2,
    0,
  );
}

/**
 * The scale of one group of 32 finite values and the squared error it leaves.
 *
 * q8: largest magnitude / 127, one subnormal half more where rounding would clip. q4: -extremum / d for the d of 7, 7.25, .. 9 that leaves the least squared error, where
 * the extremum is the first value of the largest magnitude.
 */
export function groupScaleReference(
  values: ArrayLike<number>,
  format: QuantizationFormat,
): { scale: number; squaredError: number } {
  const extremum = Array.from(values).reduce((best, value) => (Math.abs(value) > Math.abs(best) ? value : best), 0);
  if (format === 'q8') {
    const nearest = roundToHalf(Math.abs(extremum) / 127);
    const scale = Math.abs(extremum) > 127.5 * nearest ? roundToHalf(nearest + 2 ** -24) : nearest;
    return { scale, squaredError: squaredError(values, scale, format) };
  }
  const tried = Array.from({ length: 9 }, (_, index) => {
    const scale = roundToHalf(-extremum / (7 + index / 4));
    return { scale, squaredError: squaredError(values, scale, format) };
  });
  return tried.reduce((best, next) => (next.squaredError < best.squaredError ? next : best));
}

/** A packed weight [n, k] taken apart: the level of every element and the scale of every group, row by row. */
export function unpackReference(
  data: ArrayLike<number>,
  scales: ArrayLike<number>,
  sizes: { n: number; k: number; format: QuantizationFormat },
): { levels: Int32Array; groupScales: Float64Array } {
  const { n, k, format } = sizes;
  const groups = k / quantizationGroup;
  const scaleWords = Math.ceil(groups / 2);
  const out = { levels: new Int32Array(n * k), groupScales: new Float64Array(n * groups) };
  for (let row = 0; row < n; row++) {
    for (let column = 0; column < k; column++) {
      const index = row * k + column;
      const word = data[Math.floor(index / (format === 'q4' ? 8 : 4))] ?? 0;
      out.levels[index] =
        format === 'q4' ? ((word >>> (4 * (column % 8))) & 15) - 8 : (word << (24 - 8 * (column % 4))) >> 24;
    }
    for (let group = 0; group < groups; group++) {
      const word = scales[row * scaleWords + Math.floor(group / 2)] ?? 0;
      out.groupScales[row * groups + group] = halfValue((word >>> (16 * (group % 2))) & 0xffff);
    }
  }
  return out;
}

/** W[n,k] = scale[n, k / 32] * level[n,k] of a packed weight. */
export function dequantizeReference(
  data: ArrayLike<number>,
  scales: ArrayLike<number>,
  sizes: { n: number; k: number; format: QuantizationFormat },
): Float64Array {
  const unpacked = unpackReference(data, scales, sizes);
  return Float64Array.from(
    unpacked.levels,
    (level, index) => level * (unpacked.groupScales[Math.floor(index / quantizationGroup)] ?? 0),
  );
}
