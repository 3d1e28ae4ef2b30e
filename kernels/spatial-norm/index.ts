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
import { clipSize } from '../conv/geometry.js';
import backwardConditionsSource from './backward-conditions.wgsl';
import backwardNormalSource from './backward-normal.wgsl';
import forwardSource from './forward.wgsl';

const aliases = { Scalar: 'f32' } as const;
const forward = defineKernel('spatial-norm forward', forwardSource, { aliases });
const backwardNormal = defineKernel('spatial-norm backward-normal', backwardNormalSource, { aliases });
const backwardConditions = defineKernel('spatial-norm backward-conditions', backwardConditionsSource, { aliases });

interface Conditioned<T extends Operand> {
  /** `[B, T, H, W, C]`, f32 or f16. */
  normal: T;
  /** `[B, T, h, w, C]`, same element type, like shift. */
  scale: T;
  shift: T;
  silu: boolean;
}

interface Sizes {
  readonly rows: number;
  readonly smallPixels: number;
  readonly channels: number;
  readonly params: Readonly<Record<'height' | 'width' | 'smallHeight' | 'smallWidth' | 'channels' | 'silu', number>>;
}

function sizesOf<T extends Operand>(name: string, args: Conditioned<T>): Sizes {
  const { normal, scale, shift, silu } = args;
  const large = clipSize(name, 'normal', normal);
  const small = clipSize(name, 'scale', scale);
  const differs = large.batch !== small.batch || large.time !== small.time || large.channels !== small.channels;
  if (differs || scale.shape.join() !== shift.shape.join()) {
    throw shapeError(
      name,
      `scale [${scale.shape.join(', ')}] and shift [${shift.shape.join(', ')}] do not condition [${normal.shape.join(', ')}]`,
    );
  }
  return {
    rows: large.batch * large.time * large.height,
    smallPixels: small.batch * small.time * small.height * small.width,
    channels: large.channels,
    params: {
      height: large.height,
      width: large.width,
      smallHeight: small.height,
      smallWidth: small.width,
      channels: large.channels,
      silu: silu ? 1 : 0,
    },
  };
}

function launch(
  traits: KernelTraits,
  channels: number,
  items: number,
): { lanes: number; grid: [number, number, number] } {
  const lanes = traits.software ? 8 : 32;
  const [y, z] = linearGrid(items);
  return { lanes, grid: [divideRoundUp(channels, lanes), y, z] };
}

/**
 * Spatially conditioned norm after its normalisation (MoVQ, arXiv 2209.09002, section 3.2): `out = normal * scale +
 * shift`, scale and shift resized to nearest, and SiLU of that when `silu` is set. Scale and shift are made of the
 * codebook vectors by 1x1 convolutions before the resize, with which those commute.
 *
 * @param args.out Like normal.
 * @throws Emu3Error `shape` when batch, time or channels differ.
 */
export function spatialNormForward<T extends Operand>(
  traits: KernelTraits,
  args: Conditioned<T> & { out: T },
): KernelCall<T> {
  const { normal, scale, shift, out } = args;
  const { rows, channels, params } = sizesOf(forward.name, args);
  if (out.shape.join() !== normal.shape.join()) throw shapeError(forward.name, `out is [${out.shape.join(', ')}]`);
  const { lanes, grid } = launch(traits, channels, rows);
  const elements = elementCount(normal.shape);
  return forward.call({
    aliases: { Scalar: floatType(forward.name, 'normal', normal) },
    overrides: { LANES: lanes },
    params: { ...params, rows },
    bindings: { normal, scale, shift, out },
    grid,
    bytes: 2 * elements * bytesPerElement[normal.dtype],
    flops: (args.silu ? 7 : 2) * elements,
  });
}

/** Gradient of {@link spatialNormForward} with respect to `normal`; outGradient and normalGradient are f32, like it. */
export function spatialNormBackwardNormal<T extends Operand>(
  traits: KernelTraits,
  args: Conditioned<T> & { outGradient: T; normalGradient: T },
): KernelCall<T> {
  const { normal, scale, shift, outGradient, normalGradient, silu } = args;
  const { rows, channels, params } = sizesOf(backwardNormal.name, args);
  const { lanes, grid } = launch(traits, channels, rows);
  const elements = elementCount(normal.shape);
  return backwardNormal.call({
    aliases: { Scalar: floatType(backwardNormal.name, 'normal', normal) },
    overrides: { LANES: lanes },
    params: { ...params, rows },
    bindings: { normal, scale, shift, outGradient, normalGradient },
    grid,
    bytes: elements * (8 + (silu ? bytesPerElement[normal.dtype] : 0)),
    flops: (silu ? 12 : 1) * elements,
  });
}

/** Gradients of {@link spatialNormForward} with respect to scale and shift; f32, in their shape. */
export function spatialNormBackwardConditions<T extends Operand>(
  traits: KernelTraits,
  args: Conditioned<T> & { outGradient: T; scaleGradient: T; shiftGradient: T },
): KernelCall<T> {
  const { normal, scale, shift, outGradient, scaleGradient, shiftGradient, silu } = args;
  const { smallPixels, channels, params } = sizesOf(backwardConditions.name, args);
  const { lanes, grid } = launch(traits, channels, smallPixels);
  const elements = elementCount(normal.shape);
  return backwardConditions.call({
    aliases: { Scalar: floatType(backwardConditions.name, 'normal', normal) },
    overrides: { LANES: lanes },
    params: { ...params, pixels: smallPixels },
    bindings: { normal, scale, shift, outGradient, scaleGradient, shiftGradient },
    grid,
    bytes: elements * (4 + bytesPerElement[normal.dtype]) + 16 * smallPixels * channels,
    flops: (silu ? 14 : 3) * elements,
  });
}
