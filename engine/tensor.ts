import { Emu3Error } from '../kernels/core/errors.js';
import { bytesPerElement, elementCount, type DType, type Operand } from '../kernels/core/types.js';
import type { Device } from './device.js';

/** A typed array that can be written to or comes from a tensor. f16 travels as raw 16-bit patterns. */
export type TensorData = Float32Array | Uint32Array | Int32Array | Uint16Array;

const storageUsage = (): GPUBufferUsageFlags =>
  GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;

/** A row-major tensor in GPU memory: a range of a buffer with a shape and an element type. */
export class GpuTensor implements Operand {
  readonly device: Device;
  readonly buffer: GPUBuffer;
  /** First byte in the buffer, a multiple of 256. */
  readonly offset: number;
  readonly shape: readonly number[];
  readonly dtype: DType;
  readonly label: string;
  /** Bytes of the elements, rounded up to 4 (an odd number of f16 elements ends in two unused bytes). */
  readonly byteLength: number;

  constructor(
    device: Device,
    buffer: GPUBuffer,
    offset: number,
    shape: readonly number[],
    dtype: DType,
    label: string,
  ) {
    this.device = device;
    this.buffer = buffer;
    this.offset = offset;
    this.shape = shape;
    this.dtype = dtype;
    this.label = label;
    this.byteLength = tensorBytes(shape, dtype);
  }

  /** A tensor in a buffer of its own, zero-filled. @throws Emu3Error `limit` above the device's storage binding size. */
  static create(device: Device, shape: readonly number[], dtype: DType, label: string): GpuTensor {
    const bytes = tensorBytes(shape, dtype);
    checkBindingSize(device, bytes, label);
    return new GpuTensor(device, device.createBuffer(label, bytes, storageUsage()), 0, shape, dtype, label);
  }

  /** Like {@link create}, filled with `data` (as many elements as the shape has). */
  static from(device: Device, shape: readonly number[], dtype: DType, data: TensorData, label: string): GpuTensor {
    const tensor = GpuTensor.create(device, shape, dtype, label);
    tensor.write(data);
    return tensor;
  }

  /** Replaces all elements. @throws Emu3Error `shape` when the number of bytes differs. */
  write(data: TensorData, elementOffset = 0): void {
    const start = elementOffset * bytesPerElement[this.dtype];
    if (data.BYTES_PER_ELEMENT !== bytesPerElement[this.dtype] || start + data.byteLength > this.byteLength) {
      throw new Emu3Error(
        `${data.length} elements of ${data.BYTES_PER_ELEMENT} bytes at ${elementOffset} do not fit ${this.dtype} [${this.shape.join(', ')}].`,
        { code: 'shape', where: this.label, fix: 'Give data of the shape and element type of the tensor.' },
      );
    }
    if (data.byteLength % 4 === 0) {
      this.device.gpu.queue.writeBuffer(this.buffer, this.offset + start, data as GPUAllowSharedBufferSource);
      return;
    }
    const padded = new Uint8Array(Math.ceil(data.byteLength / 4) * 4);
    padded.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    this.device.gpu.queue.writeBuffer(this.buffer, this.offset + start, padded);
  }

  private async bytes(): Promise<ArrayBuffer> {
    return this.device.read(this.buffer, this.offset, this.byteLength);
  }

  /** All elements as f32. @throws Emu3Error `dtype` unless the tensor is f32 or f16. */
  async readFloat32(): Promise<Float32Array> {
    const count = elementCount(this.shape);
    if (this.dtype === 'f32') return new Float32Array(await this.bytes(), 0, count);
    if (this.dtype === 'f16') return widenFloat16(new Uint16Array(await this.bytes(), 0, count));
    throw this.dtypeError('f32 or f16');
  }

  async readUint32(): Promise<Uint32Array> {
    if (this.dtype !== 'u32') throw this.dtypeError('u32');
    return new Uint32Array(await this.bytes(), 0, elementCount(this.shape));
  }

  async readInt32(): Promise<Int32Array> {
    if (this.dtype !== 'i32') throw this.dtypeError('i32');
    return new Int32Array(await this.bytes(), 0, elementCount(this.shape));
  }

  private dtypeError(wanted: string): Emu3Error {
    return new Emu3Error(`The tensor is ${this.dtype}, not ${wanted}.`, {
      code: 'dtype',
      where: this.label,
      fix: 'Read it with the method of its element type.',
    });
  }

  /** Frees the buffer; only for tensors that own theirs. */
  destroy(): void {
    this.device.destroyBuffer(this.buffer);
  }
}

/** Copies all elements to a tensor of the same size on the same device. Does not wait. */
export function copyTensor(from: GpuTensor, to: GpuTensor): void {
  const encoder = from.device.gpu.createCommandEncoder({ label: `copy ${from.label}` });
  encoder.copyBufferToBuffer(from.buffer, from.offset, to.buffer, to.offset, to.byteLength);
  from.device.submit(encoder);
}

export function tensorBytes(shape: readonly number[], dtype: DType): number {
  return Math.ceil((elementCount(shape) * bytesPerElement[dtype]) / 4) * 4;
}

export function checkBindingSize(device: Device, bytes: number, label: string): void {
  const limit = device.gpu.limits.maxStorageBufferBindingSize;
  if (bytes > limit) {
    throw new Emu3Error(`A tensor of ${bytes} bytes is above the adapter's binding limit of ${limit}.`, {
      code: 'limit',
      where: label,
      fix: 'Use a smaller batch, context or model, or an adapter with larger bindings.',
    });
  }
}

const halfView = new DataView(new ArrayBuffer(4));

/** IEEE binary16 bit patterns to f32, exact. */
export function widenFloat16(bits: Uint16Array): Float32Array {
  const out = new Float32Array(bits.length);
  for (let index = 0; index < bits.length; index++) {
    const half = bits[index];
    const sign = half & 0x8000 ? -1 : 1;
    const exponent = (half >> 10) & 31;
    const fraction = half & 1023;
    if (exponent === 0) out[index] = sign * fraction * 2 ** -24;
    else if (exponent === 31) out[index] = fraction === 0 ? sign * Infinity : NaN;
    else out[index] = sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  }
  return out;
}

/** f32 to IEEE binary16 bit patterns, rounded to nearest even; 65520 and above becomes infinity, NaN the quiet NaN. */
export function narrowFloat16(values: Float32Array): Uint16Array {
  const out = new Uint16Array(values.length);
  for (let index = 0; index < values.length; index++) {
    halfView.setFloat32(0, values[index]);
    const bits = halfView.getUint32(0);
    const sign = (bits >>> 16) & 0x8000;
    const exponent = ((bits >>> 23) & 255) - 127;
    const fraction = bits & 0x7fffff;
    if (exponent === 128) {
      out[index] = sign | (fraction === 0 ? 0x7c00 : 0x7e00);
    } else if (exponent < -25) {
      out[index] = sign;
    } else {
      const subnormal = exponent < -14;
      const shift = subnormal ? -1 - exponent : 13;
      const mantissa = subnormal ? fraction | 0x800000 : fraction | ((exponent + 15) << 23);
      const half = mantissa >>> shift;
      const rest = mantissa & ((1 << shift) - 1);
      const middle = 1 << (shift - 1);
      const rounded = half + (rest > middle || (rest === middle && half & 1) ? 1 : 0);
      out[index] = sign | Math.min(rounded, 0x7c00);
    }
  }
  return out;
}

/** What a thing holds in GPU memory, by name. */
type TensorRecord<Names> = { readonly [Name in keyof Names]: GpuTensor };

/** Bytes of all tensors of a record. */
export function totalBytes<Names extends TensorRecord<Names>>(tensors: Names): number {
  return Object.values<GpuTensor>({ ...tensors }).reduce((sum, tensor) => sum + tensor.byteLength, 0);
}

/** Destroys all tensors of a record. */
export function destroyTensors<Names extends TensorRecord<Names>>(tensors: Names): void {
  for (const tensor of Object.values<GpuTensor>({ ...tensors })) tensor.destroy();
}
