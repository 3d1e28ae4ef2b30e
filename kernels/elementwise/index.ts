import { defineKernel, type KernelCall } from '../core/define.js';
import { divideRoundUp, elementCount, linearGrid, type KernelTraits, type Operand } from '../core/types.js';
import addSource from './add.wgsl';

const addKernel = defineKernel('add', addSource, { aliases: { Scalar: 'f32' } });

/** out = a + b for tensors of one shape and dtype. */
export function addForward<T extends Operand>(_traits: KernelTraits, args: { a: T; b: T; out: T }): KernelCall<T> {
  const count = elementCount(args.out.shape);
  return addKernel.call({
    aliases: { Scalar: args.out.dtype },
    overrides: { WORKGROUP_SIZE: 64 },
    params: { count },
    bindings: { a: args.a, b: args.b, out: args.out },
    grid: linearGrid(divideRoundUp(count, 64)),
    bytes: 12 * count,
    flops: count,
  });
}
