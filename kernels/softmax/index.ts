import { expectShape, floatType, rowsAndFeatures } from '../core/checks.js';
import { defineKernel, type KernelCall } from '../core/define.js';
import { bytesPerElement, elementCount, linearGrid, type KernelTraits, type Operand } from '../core/types.js';
import backwardSource from './backward.wgsl';
import forwardSource from './forward.wgsl';

const forward = defineKernel('softmax', forwardSource, { aliases: { Scalar: 'f32' } });
const backward = defineKernel('softmax-backward', backwardSource, { aliases: { Scalar: 'f32' } });

const workgroupSize = (traits: KernelTraits): number => (traits.software ? 8 : 64);

/**
 * out = softmax(scale * x) over the last axis.
 *
 * @param args.x `[.., columns]` f32 or f16. @param args.out Like x.
 * @throws Emu3Error `shape`, `dtype`.
 */
export function softmaxForward<T extends Operand>(
  traits: KernelTraits,
  args: { x: T; out: T; scale: number },
): KernelCall<T> {
  const { x, out, scale } = args;
  const { rows, features } = rowsAndFeatures(forward.name, 'x', x);
  expectShape(forward.name, 'out', out, x.shape);
  const type = floatType(forward.name, 'x', x);
  const elements = elementCount(x.shape);
  return forward.call({
    aliases: { Scalar: type },
    overrides: { WORKGROUP_SIZE: workgroupSize(traits) },
    params: { rows, columns: features, scale },
    bindings: { x, out },
    grid: linearGrid(rows),
    bytes: 2 * elements * bytesPerElement[type],
    flops: 6 * elements,
  });
}

/**
 * Gradient by x of {@link softmaxForward}: scale * y * (dy - sum(dy * y)).
 *
 * @param args.y The forward result. @param args.outGradient f32 like y. @param args.xGradient f32 like y, written.
 * @throws Emu3Error `shape`, `dtype`.
 */
export function softmaxBackward<T extends Operand>(
  traits: KernelTraits,
  args: { y: T; outGradient: T; xGradient: T; scale: number },
): KernelCall<T> {
  const { y, outGradient, xGradient, scale } = args;
  const { rows, features } = rowsAndFeatures(backward.name, 'y', y);
  expectShape(backward.name, 'outGradient', outGradient, y.shape);
  expectShape(backward.name, 'xGradient', xGradient, y.shape);
  const type = floatType(backward.name, 'y', y);
  const elements = elementCount(y.shape);
  return backward.call({
    aliases: { Scalar: type },
    overrides: { WORKGROUP_SIZE: workgroupSize(traits) },
    params: { rows, columns: features, scale },
    bindings: { y, out_gradient: outGradient, x_gradient: xGradient },
    grid: linearGrid(rows),
    bytes: elements * (8 + bytesPerElement[type]),
    flops: 5 * elements,
  });
}
