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
import { clipSize, type ClipSize } from '../conv/geometry.js';
import backwardSource from './backward.wgsl';
import forwardSource from './forward.wgsl';

const forward = defineKernel('upsample forward', forwardSource, { aliases: { Scalar: 'f32' } });
const backward = defineKernel('upsample backward', backwardSource);

function sizesOf(name: string, x: Operand, out: Operand): { input: ClipSize; output: ClipSize } {
  const input = clipSize(name, 'x', x);
  const output = clipSize(name, 'out', out);
  if (input.batch !== output.batch || input.channels !== output.channels) {
    throw shapeError(name, `[${x.shape.join(', ')}] cannot be resized to [${out.shape.join(', ')}]`);
  }
  return { input, output };
}

function paramsOf(input: ClipSize, output: ClipSize, walked: ClipSize): Record<string, number> {
  return {
    rows: walked.batch * walked.time * walked.height,
    inputTime: input.time,
    inputHeight: input.height,
    inputWidth: input.width,
    outputTime: output.time,
    outputHeight: output.height,
    outputWidth: output.width,
    channels: input.channels,
  };
}

function gridOf(walked: ClipSize, lanes: number): readonly [number, number, number] {
  const [y, z] = linearGrid(walked.batch * walked.time * walked.height);
  return [divideRoundUp(walked.channels, lanes), y, z];
}

function lanesOf(traits: KernelTraits): number {
  return traits.software ? 8 : 32;
}

/**
 * Nearest resize in time and space: `out[b,t,y,x,c] = x[b, t*T/T', y*H/H', x*W/W', c]`, coordinates rounded down (which
 * is PyTorch's `nearest` wherever one size divides the other).
 *
 * @param args.x `[B, T, H, W, C]`, f32 or f16.
 * @param args.out `[B, T', H', W', C]`, same element type; each size larger, smaller or equal.
 * @throws Emu3Error `shape` when batch or channels differ.
 */
export function upsampleForward<T extends Operand>(traits: KernelTraits, args: { x: T; out: T }): KernelCall<T> {
  const { x, out } = args;
  const { input, output } = sizesOf(forward.name, x, out);
  const lanes = lanesOf(traits);
  return forward.call({
    aliases: { Scalar: floatType(forward.name, 'x', x) },
    overrides: { LANES: lanes },
    params: paramsOf(input, output, output),
    bindings: { x, out },
    grid: gridOf(output, lanes),
    bytes: 2 * elementCount(out.shape) * bytesPerElement[out.dtype],
    flops: 0,
  });
}

/**
 * Gradient of {@link upsampleForward}: each element sums the gradients of its copies (none, where the resize made the
 * clip smaller and skipped it).
 *
 * @param args.outGradient `[B, T', H', W', C]`, f32.
 * @param args.xGradient `[B, T, H, W, C]`, f32.
 */
export function upsampleBackward<T extends Operand>(
  traits: KernelTraits,
  args: { outGradient: T; xGradient: T },
): KernelCall<T> {
  const { outGradient, xGradient } = args;
  const { input, output } = sizesOf(backward.name, xGradient, outGradient);
  const lanes = lanesOf(traits);
  return backward.call({
    overrides: { LANES: lanes },
    params: paramsOf(input, output, input),
    bindings: { outGradient, xGradient },
    grid: gridOf(input, lanes),
    bytes: 4 * (elementCount(outGradient.shape) + elementCount(xGradient.shape)),
    flops: elementCount(outGradient.shape),
  });
}
