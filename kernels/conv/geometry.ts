import { divideRoundUp, shapeError, type Operand } from '../core/index.js';

type Triple = readonly [time: number, height: number, width: number];

/**
 * How a convolution walks over its input. A 2-D convolution is one with kernel 1 and stride 1 in time. The input is
 * padded with zeros by `before` in front, on top and on the left, and by `after` behind, below and on the right.
 */
export interface ConvGeometry {
  readonly kernel: Triple;
  readonly stride: Triple;
  readonly before: Triple;
  readonly after: Triple;
}

/** Sizes of a clip `[batch, time, height, width, channels]`. */
export interface ClipSize {
  readonly batch: number;
  readonly time: number;
  readonly height: number;
  readonly width: number;
  readonly channels: number;
}

/**
 * Reads a clip's sizes off its shape.
 *
 * @throws Emu3Error `shape` unless it is `[batch, time, height, width, channels]` with no empty axis.
 */
export function clipSize(kernel: string, name: string, operand: Operand): ClipSize {
  const [batch, time, height, width, channels] = operand.shape;
  const bad = operand.shape.length !== 5 || operand.shape.some((size) => size < 1);
  if (bad || !batch || !time || !height || !width || !channels) {
    throw shapeError(
      kernel,
      `${name} is [${operand.shape.join(', ')}] where [batch, time, height, width, channels] is needed`,
    );
  }
  return { batch, time, height, width, channels };
}

/** Shape of the packed weights that a convolution (or, `transposed`, its data gradient) reads: `[taps, rows, columns]`. */
export function packedWeightShape(weightShape: readonly number[], transposed: boolean): [number, number, number] {
  const { outputChannels, inputChannels, taps } = weightSize('conv pack-weights', weightShape);
  const rows = transposed ? outputChannels : inputChannels;
  const columns = transposed ? inputChannels : outputChannels;
  return [taps, divideRoundUp(rows, 4) * 4, divideRoundUp(columns, 4) * 4];
}

/**
 * Reads a weight's sizes off its hub shape, `[Co, Ci, kt, kh, kw]` or `[Co, Ci, kh, kw]`.
 *
 * @throws Emu3Error `shape` for any other number of axes, or an empty one.
 */
export function weightSize(
  kernel: string,
  shape: readonly number[],
): { outputChannels: number; inputChannels: number; kernel: Triple; taps: number } {
  const [outputChannels, inputChannels, ...sizes] = shape;
  const [time, height, width] = sizes.length === 2 ? [1, ...sizes] : sizes;
  if (!outputChannels || !inputChannels || !time || !height || !width || sizes.length > 3) {
    throw shapeError(
      kernel,
      `weight is [${shape.join(', ')}] where [Co, Ci, kh, kw] or [Co, Ci, kt, kh, kw] is needed`,
    );
  }
  return { outputChannels, inputChannels, kernel: [time, height, width], taps: time * height * width };
}

/**
 * Shape `[B, T', H', W', channels]` of what a convolution makes of a clip: `(size + before + after - kernel) / stride`,
 * rounded down, plus 1 along each axis.
 *
 * @throws Emu3Error `shape` for kernels or strides below 1, padding that is negative or as large as the kernel, or a
 *   padded input smaller than the kernel.
 */
export function convOutputShape(
  kernel: string,
  input: ClipSize,
  channels: number,
  geometry: ConvGeometry,
): [number, number, number, number, number] {
  const sizes = (['time', 'height', 'width'] as const).map((name, axis) => {
    const [size, stride] = [geometry.kernel[axis], geometry.stride[axis]];
    const [before, after] = [geometry.before[axis], geometry.after[axis]];
    const whole = [size, stride, before, after].every(Number.isInteger);
    if (!whole || size < 1 || stride < 1 || before < 0 || after < 0 || before >= size || after >= size) {
      throw shapeError(
        kernel,
        `kernel ${size}, stride ${stride} and padding ${before} and ${after} in ${name} do not fit together`,
      );
    }
    const padded = input[name] + before + after;
    if (padded < size) throw shapeError(kernel, `the kernel of ${size} is larger than the padded ${name} of ${padded}`);
    return Math.floor((padded - size) / stride) + 1;
  });
  return [input.batch, sizes[0], sizes[1], sizes[2], channels];
}

/**
 * Checks that the geometry makes a clip of the output's size from the input.
 *
 * @throws Emu3Error `shape` when it does not; see {@link convOutputShape}.
 */
export function checkGeometry(kernel: string, input: ClipSize, output: ClipSize, geometry: ConvGeometry): void {
  const wanted = convOutputShape(kernel, input, output.channels, geometry);
  const given = [output.batch, output.time, output.height, output.width, output.channels];
  if (wanted.some((size, axis) => size !== given[axis])) {
    throw shapeError(kernel, `the output is [${given.join(', ')}] where the geometry makes [${wanted.join(', ')}]`);
  }
}
