import { floatType } from '../core/checks.js';
import {
  bytesPerElement,
  defineKernel,
  divideRoundUp,
  elementCount,
  linearGrid,
  shapeError,
  type KernelCall,
  type KernelTraits,
  type Operand,
} from '../core/index.js';
import {
  checkGeometry,
  clipSize,
  packedWeightShape,
  weightSize,
  type ClipSize,
  type ConvGeometry,
} from './geometry.js';
import packWeightsSource from './pack-weights.wgsl';
import plainSource from './plain.wgsl';
import softwareSource from './software.wgsl';
import tileSource from './tile.wgsl';
import { hasWideSubgroups } from './weight-gradient.js';

export type { ConvGeometry } from './geometry.js';
export { clipSize, convOutputShape, packedWeightShape } from './geometry.js';
export { convWeightGradient, convWeightPartialShape } from './weight-gradient.js';

const aliases = { Scalar: 'f32', Weight: 'f32' } as const;
const software = defineKernel('conv software', softwareSource, { aliases, enable: ['subgroups'] });
const plain = defineKernel('conv plain', plainSource, { aliases });
const tile = defineKernel('conv tile', tileSource, { aliases, constants: { PIXEL_THREADS: 16, CHANNEL_THREADS: 16 } });
const packWeights = defineKernel('conv pack-weights', packWeightsSource, { aliases: { Weight: 'f32' } });

/**
 * Reorders hub weights `[Co, Ci, (kt,) kh, kw]` for {@link convForward}, or with `transposed` for
 * {@link convDataGradient}.
 *
 * @param args.packed Shaped {@link packedWeightShape}; same element type as the weight.
 */
export function convPackWeights<T extends Operand>(
  traits: KernelTraits,
  args: { weight: T; packed: T; transposed: boolean },
): KernelCall<T> {
  const { weight, packed, transposed } = args;
  const { outputChannels, inputChannels, taps } = weightSize(packWeights.name, weight.shape);
  const [, paddedRows, paddedColumns] = packedWeightShape(weight.shape, transposed);
  if (elementCount(packed.shape) !== taps * paddedRows * paddedColumns) {
    throw shapeError(packWeights.name, `packed is [${packed.shape.join(', ')}]`);
  }
  const workgroup = traits.software ? 8 : 32;
  return packWeights.call({
    aliases: { Weight: floatType(packWeights.name, 'weight', weight) },
    overrides: { WORKGROUP_SIZE: workgroup },
    params: {
      taps,
      rows: transposed ? outputChannels : inputChannels,
      columns: transposed ? inputChannels : outputChannels,
      rowStride: transposed ? inputChannels * taps : taps,
      columnStride: transposed ? taps : inputChannels * taps,
      reversed: transposed ? 1 : 0,
    },
    bindings: { weight, packed },
    grid: [divideRoundUp(paddedColumns, workgroup), paddedRows, 1],
    bytes: 2 * elementCount(packed.shape) * bytesPerElement[weight.dtype],
    flops: 0,
  });
}

/** One gather over a clip: what a forward convolution and a data gradient have in common. */
interface Gather {
  readonly source: ClipSize;
  readonly target: ClipSize;
  readonly kernel: ConvGeometry['kernel'];
  readonly step: ConvGeometry['stride'];
  readonly divide: ConvGeometry['stride'];
  readonly padding: ConvGeometry['before'];
  readonly flops: number;
}

function gatherCall<T extends Operand>(
  traits: KernelTraits,
  gather: Gather,
  args: { x: T; weight: T; bias: T | undefined; out: T },
): KernelCall<T> {
  const { source, target } = gather;
  const { x, weight, bias, out } = args;
  const pixels = target.batch * target.time * target.height * target.width;
  const taps = gather.kernel[0] * gather.kernel[1] * gather.kernel[2];
  const packed = taps * divideRoundUp(source.channels, 4) * 4 * divideRoundUp(target.channels, 4) * 4;
  if (elementCount(weight.shape) !== packed) {
    throw shapeError(
      'conv',
      `weight has ${elementCount(weight.shape)} elements where ${packed} packed ones are needed`,
    );
  }
  if (bias && elementCount(bias.shape) !== target.channels) {
    throw shapeError('conv', `bias has ${elementCount(bias.shape)} elements for ${target.channels} channels`);
  }
  if (x.dtype !== out.dtype || (bias && bias.dtype !== weight.dtype)) {
    throw shapeError('conv', 'input and output, and weight and bias, must have the same element type');
  }
  // Pixels of one phase are numbered together, where every phase has equally many.
  const phases = (divide: number, size: number): number => (size % divide === 0 ? divide : 1);
  const call = {
    aliases: { Scalar: floatType('conv', 'x', x), Weight: floatType('conv', 'weight', weight) },
    params: {
      pixels,
      inputTime: source.time,
      inputHeight: source.height,
      inputWidth: source.width,
      inputChannels: source.channels,
      outputTime: target.time,
      outputHeight: target.height,
      outputWidth: target.width,
      outputChannels: target.channels,
      kernelTime: gather.kernel[0],
      kernelHeight: gather.kernel[1],
      kernelWidth: gather.kernel[2],
      stepTime: gather.step[0],
      stepHeight: gather.step[1],
      stepWidth: gather.step[2],
      divideTime: gather.divide[0],
      divideHeight: gather.divide[1],
      divideWidth: gather.divide[2],
      padTime: gather.padding[0],
      padHeight: gather.padding[1],
      padWidth: gather.padding[2],
      phasesTime: phases(gather.divide[0], target.time),
      phasesHeight: phases(gather.divide[1], target.height),
      phasesWidth: phases(gather.divide[2], target.width),
      hasBias: bias ? 1 : 0,
    },
    // A binding cannot be left empty; without a bias, nothing is read through it.
    bindings: { x, weight, bias: bias ?? weight, out },
    bytes:
      (elementCount(x.shape) + elementCount(out.shape)) * bytesPerElement[x.dtype] +
      packed * bytesPerElement[weight.dtype],
    flops: gather.flops,
  };
  const grid = (channelTile: number, pixelTile: number): readonly [number, number, number] => {
    const [y, z] = linearGrid(divideRoundUp(pixels, pixelTile));
    return [divideRoundUp(target.channels, channelTile), y, z];
  };
  if (!traits.software) {
    const channelThreads = target.channels <= 32 ? 8 : 16;
    const pixelThreads = 256 / channelThreads;
    return tile.call({
      ...call,
      constants: { PIXEL_THREADS: pixelThreads, CHANNEL_THREADS: channelThreads },
      grid: grid(4 * channelThreads, 4 * pixelThreads),
    });
  }
  const lanes = 8;
  // Of few channels the other kernel puts its lanes along pixels, where there are enough of them.
  const narrow = target.channels <= 8 && pixels >= 1024;
  if (hasWideSubgroups(traits) && !narrow) {
    return software.call({ ...call, overrides: { LANES: lanes }, grid: grid(4 * lanes, 16) });
  }
  const channelLanes = [1, 2, 4].find((count) => target.channels <= 8 * count) ?? lanes;
  return plain.call({
    ...call,
    overrides: { LANES: lanes, CHANNEL_LANES: channelLanes },
    grid: grid(8 * channelLanes, (16 * lanes) / channelLanes),
  });
}

function pixelsOf(clip: ClipSize): number {
  return clip.batch * clip.time * clip.height * clip.width;
}

/**
 * Convolution of clips, channels last:
 * `out[b,t,y,x,co] = bias[co] + sum x[b, t*st+dt-pt, y*sh+dy-ph, x*sw+dx-pw, ci] * weight[dt,dy,dx,ci,co]`, pixels
 * outside x counting as zeros (`pt`, `ph`, `pw` is the geometry's `before`).
 *
 * @param args.x `[B, T, H, W, Ci]`, f32 or f16.
 * @param args.weight Packed by {@link convPackWeights}.
 * @param args.bias `[Co]`, or undefined for none.
 * @param args.out `[B, T', H', W', Co]`, same element type as x.
 * @throws Emu3Error `shape` or `dtype` when the operands do not fit together.
 */
export function convForward<T extends Operand>(
  traits: KernelTraits,
  args: { x: T; weight: T; bias?: T | undefined; out: T; geometry: ConvGeometry },
): KernelCall<T> {
  const { geometry } = args;
  const source = clipSize('conv', 'x', args.x);
  const target = clipSize('conv', 'out', args.out);
  checkGeometry('conv', source, target, geometry);
  const taps = geometry.kernel[0] * geometry.kernel[1] * geometry.kernel[2];
  return gatherCall(
    traits,
    {
      source,
      target,
      kernel: geometry.kernel,
      step: geometry.stride,
      divide: [1, 1, 1],
      padding: geometry.before,
      flops: 2 * pixelsOf(target) * taps * source.channels * target.channels,
    },
    { x: args.x, weight: args.weight, bias: args.bias, out: args.out },
  );
}

/**
 * Gradient of {@link convForward} with respect to x: the output gradient, dilated by the stride, convolved with the
 * reversed taps.
 *
 * @param args.outGradient `[B, T', H', W', Co]`.
 * @param args.weight Packed by {@link convPackWeights} with `transposed`.
 * @param args.xGradient `[B, T, H, W, Ci]`, same element type as outGradient.
 * @param args.geometry The forward convolution's.
 * @throws Emu3Error `shape` or `dtype` when the operands do not fit together.
 */
export function convDataGradient<T extends Operand>(
  traits: KernelTraits,
  args: { outGradient: T; weight: T; xGradient: T; geometry: ConvGeometry },
): KernelCall<T> {
  const { geometry } = args;
  const source = clipSize('conv data gradient', 'outGradient', args.outGradient);
  const target = clipSize('conv data gradient', 'xGradient', args.xGradient);
  checkGeometry('conv data gradient', target, source, geometry);
  const { kernel, before } = geometry;
  const taps = kernel[0] * kernel[1] * kernel[2];
  return gatherCall(
    traits,
    {
      source,
      target,
      kernel,
      step: [1, 1, 1],
      divide: geometry.stride,
      padding: [kernel[0] - 1 - before[0], kernel[1] - 1 - before[1], kernel[2] - 1 - before[2]],
      flops: 2 * pixelsOf(source) * taps * source.channels * target.channels,
    },
    { x: args.outGradient, weight: args.weight, bias: undefined, out: args.xGradient },
  );
}
