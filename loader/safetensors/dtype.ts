import { Emu3Error } from '../../kernels/core/errors.js';

/** Every element type the safetensors format names, with its width in bits. */
export const DTYPE_BITS = {
  F64: 64,
  I64: 64,
  U64: 64,
  C64: 64,
  F32: 32,
  I32: 32,
  U32: 32,
  F16: 16,
  BF16: 16,
  I16: 16,
  U16: 16,
  I8: 8,
  U8: 8,
  BOOL: 8,
  F8_E4M3: 8,
  F8_E5M2: 8,
  F8_E8M0: 8,
  F6_E2M3: 6,
  F6_E3M2: 6,
  F4: 4,
} as const;

export type Dtype = keyof typeof DTYPE_BITS;

export function isDtype(name: unknown): name is Dtype {
  return typeof name === 'string' && Object.hasOwn(DTYPE_BITS, name);
}

/** Types that widen to float32 without loss: what weights may be stored in. */
export function isFloatDtype(dtype: Dtype): boolean {
  return dtype === 'F32' || dtype === 'F16' || dtype === 'BF16';
}

/** Bits of the float32 with the value of a half-precision number. */
function widenHalf(half: number): number {
  const sign = (half & 0x8000) << 16;
  const exponent = (half >> 10) & 0x1f;
  const mantissa = half & 0x3ff;
  if (exponent === 0x1f) return (sign | 0x7f800000 | (mantissa << 13)) >>> 0;
  if (exponent !== 0) return (sign | ((exponent + 112) << 23) | (mantissa << 13)) >>> 0;
  if (mantissa === 0) return sign >>> 0;
  // A subnormal half is a normal float32: move its leading bit to the implicit place.
  const shift = Math.clz32(mantissa) - 21;
  return (sign | ((113 - shift) << 23) | (((mantissa << shift) & 0x3ff) << 13)) >>> 0;
}

let halfTable: Uint32Array | undefined;

function halfToFloatTable(): Uint32Array {
  halfTable ??= Uint32Array.from({ length: 65536 }, (_, half) => widenHalf(half));
  return halfTable;
}

/** Half-precision bits nearest to a float32 given by its bits; ties to even, overflow to infinity, NaN stays NaN. */
export function halfFromFloatBits(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00 | ((magnitude >> 13) & 0x1ff);
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  if (magnitude >= 0x38800000) return sign | roundShift(magnitude - 0x38000000, 13);
  if (magnitude <= 0x33000000) return sign;
  return sign | roundShift((magnitude & 0x7fffff) | 0x800000, 126 - (magnitude >>> 23));
}

/** `value >> shift`, rounded to nearest, ties to even. */
function roundShift(value: number, shift: number): number {
  const quotient = value >>> shift;
  const remainder = value & ((1 << shift) - 1);
  const half = 1 << (shift - 1);
  return remainder > half || (remainder === half && (quotient & 1) === 1) ? quotient + 1 : quotient;
}

/** bfloat16 bits nearest to a float32 given by its bits; ties to even, NaN stays NaN. */
export function bfloatFromFloatBits(bits: number): number {
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40;
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

function aligned(bytes: Uint8Array, size: number): Uint8Array {
  return bytes.byteOffset % size === 0 ? bytes : bytes.slice();
}

function asUint16(bytes: Uint8Array): Uint16Array {
  const copy = aligned(bytes, 2);
  return new Uint16Array(copy.buffer, copy.byteOffset, copy.byteLength >> 1);
}

function asUint32(bytes: Uint8Array): Uint32Array {
  const copy = aligned(bytes, 4);
  return new Uint32Array(copy.buffer, copy.byteOffset, copy.byteLength >> 2);
}

function asInt32(bytes: Uint8Array): Int32Array {
  const copy = aligned(bytes, 4);
  return new Int32Array(copy.buffer, copy.byteOffset, copy.byteLength >> 2);
}

function asBigInt64(bytes: Uint8Array): BigInt64Array {
  const copy = aligned(bytes, 8);
  return new BigInt64Array(copy.buffer, copy.byteOffset, copy.byteLength >> 3);
}

/**
 * Converts stored elements to float32 bits, exactly: F16 and BF16 widen, NaN payloads included; I32, I64, U8, I8 and
 * BOOL convert when the value is representable (|v| <= 2^24).
 * @param bytes whole elements, little-endian
 * @param output bits are written here from `start` on, one u32 an element
 * @param where tensor, for the error
 * @throws Emu3Error `dtype` for other types and for integers float32 cannot hold.
 */
export function decodeToFloat32(
  dtype: Dtype,
  bytes: Uint8Array,
  output: Float32Array,
  start: number,
  where: string,
): void {
  const bits = new Uint32Array(output.buffer, output.byteOffset, output.length);
  if (dtype === 'F32') {
    bits.set(asUint32(bytes), start);
  } else if (dtype === 'BF16') {
    const values = asUint16(bytes);
    for (let i = 0; i < values.length; i++) bits[start + i] = (values[i] ?? 0) << 16;
  } else if (dtype === 'F16') {
    const table = halfToFloatTable();
    const values = asUint16(bytes);
    for (let i = 0; i < values.length; i++) bits[start + i] = table[values[i] ?? 0] ?? 0;
  } else {
    const values = decodeToInt32(dtype, bytes, where);
    for (let i = 0; i < values.length; i++) {
      const value = values[i] ?? 0;
      if (Math.abs(value) > 2 ** 24) throw outOfRange(where, start + i, value, 'float32');
      output[start + i] = value;
    }
  }
}

/**
 * Converts stored integers (I32, I64, U8, I8, BOOL) to int32.
 * @throws Emu3Error `dtype` for other types and for values outside int32.
 */
export function decodeToInt32(dtype: Dtype, bytes: Uint8Array, where: string): Int32Array {
  if (dtype === 'I32') return asInt32(bytes).slice();
  if (dtype === 'U8' || dtype === 'BOOL') return Int32Array.from(bytes);
  if (dtype === 'I8') return Int32Array.from(new Int8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  if (dtype === 'I64') {
    const values = asBigInt64(bytes);
    const output = new Int32Array(values.length);
    for (let i = 0; i < values.length; i++) {
      const value = Number(values[i] ?? 0n);
      if (value < -(2 ** 31) || value >= 2 ** 31) throw outOfRange(where, i, value, 'int32');
      output[i] = value;
    }
    return output;
  }
  throw new Emu3Error(`Elements of type ${dtype} cannot be converted.`, {
    code: 'dtype',
    where,
    fix: 'Store the tensor as F32, F16, BF16, I32, I64, I8, U8 or BOOL, or read its raw bytes.',
  });
}

function outOfRange(where: string, index: number, value: number, target: string): Emu3Error {
  return new Emu3Error(`Element ${index} is ${value}, which ${target} cannot hold exactly.`, {
    code: 'dtype',
    where,
    fix: 'Read the raw bytes of this tensor.',
  });
}

/** Index of the first NaN or infinity, -1 when all are finite. */
export function firstNonFinite(values: Float32Array): number {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  for (let i = 0; i < bits.length; i++) {
    if (((bits[i] ?? 0) & 0x7f800000) === 0x7f800000) return i;
  }
  return -1;
}

/** Types the writer can produce, and the array each is produced from. */
export type WritableDtype = 'F32' | 'F16' | 'BF16' | 'I32' | 'I64' | 'U8';
export type TensorValues = Float32Array | Int32Array | BigInt64Array | Uint8Array;

/**
 * Little-endian bytes of `values` stored as `dtype`: F32, F16 and BF16 (round to nearest even) from Float32Array, I32
 * from Int32Array, I64 from BigInt64Array, U8 from Uint8Array.
 * @throws Emu3Error `dtype` when array and type do not go together, `not-finite` when a finite value overflows F16/BF16.
 */
export function encodeElements(dtype: WritableDtype, values: TensorValues, where: string): Uint8Array {
  const fits =
    (values instanceof Float32Array && (dtype === 'F32' || dtype === 'F16' || dtype === 'BF16')) ||
    (values instanceof Int32Array && dtype === 'I32') ||
    (values instanceof BigInt64Array && dtype === 'I64') ||
    (values instanceof Uint8Array && dtype === 'U8');
  if (!fits) {
    throw new Emu3Error(`A ${values.constructor.name} cannot be stored as ${dtype}.`, {
      code: 'dtype',
      where,
      fix: 'Use Float32Array for F32, F16 and BF16, Int32Array for I32, BigInt64Array for I64, Uint8Array for U8.',
    });
  }
  if (dtype !== 'F16' && dtype !== 'BF16') return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const output = new Uint16Array(bits.length);
  const narrow = dtype === 'F16' ? halfFromFloatBits : bfloatFromFloatBits;
  const infinity = dtype === 'F16' ? 0x7c00 : 0x7f80;
  for (let i = 0; i < bits.length; i++) {
    const source = bits[i] ?? 0;
    const result = narrow(source);
    if ((result & 0x7fff) === infinity && (source & 0x7fffffff) !== 0x7f800000) {
      throw new Emu3Error(`Element ${i} is too large for ${dtype}.`, {
        code: 'not-finite',
        where,
        fix: 'Store the tensor as F32 or BF16.',
      });
    }
    output[i] = result;
  }
  return new Uint8Array(output.buffer);
}
