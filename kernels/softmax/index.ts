import { floatType, rowsAndFeatures } from '../core/checks.js';
import {
  bytesPerElement,
  defineKernel,
  elementCount,
  linearGrid,
  shapeError,
  type KernelCall,
  type KernelTraits,
  type Operand,
} from '../core/index.js';
import backwardSource from './backward.wgsl';
import forwardSource from './forward.wgsl';

const forward = defineKernel('softmax forward', forwardSource, { aliases: { Scalar: 'f32' } });
const backward = defineKernel('softmax backward', backwardSource, { aliases: { Scalar: 'f32' } });

/** A power of two: the workgroup's sums are a tree. */
function workgroupSize(traits: KernelTraits): number {
  return traits.software ? 8 : 128;
}

function expectLike(name: string, x: Operand, others: Readonly<Record<string, Operand>>): void {
  for (const [other, { shape }] of Object.entries(others)) {
    if (elementCount(shape) !== elementCount(x.shape)) {
      throw shapeError(name, `${other} is [${shape.join(', ')}] for rows of [${x.shape.join(', ')}]`);
    }
  }
}

/**
 * Softmax over the last axis: `out[r, c] = exp(scale * x[r, c]) / sum over c' of exp(scale * x[r, c'])`.
 *
 * @param args.x `[.., columns]`, f32 or f16; finite, |scale * x| < 1e30.
 * @param args.out Like x; f32 sums whatever the element type.
 * @throws Emu3Error `shape` when x has no axes or out differs.
 */
export function softmaxForward<T extends Operand>(
  traits: KernelTraits,
  args: { x: T; out: T; scale: number },
): KernelCall<T> {
  const { x, out, scale } = args;
  const { rows, features } = rowsAndFeatures(forward.name, 'x', x);
  expectLike(forward.name, x, { out });
  return forward.call({
    aliases: { Scalar: floatType(forward.name, 'x', x) },
    overrides: { WORKGROUP_SIZE: workgroupSize(traits) },
    params: { rows, columns: features, scale },
    bindings: { x, out },
    grid: linearGrid(rows),
    bytes: 2 * rows * features * bytesPerElement[x.dtype],
    flops: 6 * rows * features,
  });
}

/** Gradient of {@link softmaxForward} from its output; outGradient and xGradient are f32, like it. */
export function softmaxBackward<T extends Operand>(
  traits: KernelTraits,
  args: { out: T; outGradient: T; xGradient: T; scale: number },
): KernelCall<T> {
  const { out, outGradient, xGradient, scale } = args;
  const { rows, features } = rowsAndFeatures(backward.name, 'out', out);
  expectLike(backward.name, out, { outGradient, xGradient });
  return backward.call({
    aliases: { Scalar: floatType(backward.name, 'out', out) },
    overrides: { WORKGROUP_SIZE: workgroupSize(traits) },
    params: { rows, columns: features, scale },
    bindings: { out, outGradient, xGradient },
    grid: linearGrid(rows),
    bytes: rows * features * (8 + bytesPerElement[out.dtype]),
    flops: 5 * rows * features,
  });
}
