import {
  defineKernel,
  divideRoundUp,
  elementCount,
  linearGrid,
  type KernelCall,
  type KernelTraits,
  type Operand,
} from '../core/index.js';
import advanceSource from './advance.wgsl';

const advance = defineKernel('advance', advanceSource);

/** Adds 1 to every counter, in place, wrapping at 2^32. @param args.counters u32, any shape. */
export function advanceCounters<T extends Operand>(traits: KernelTraits, args: { counters: T }): KernelCall<T> {
  const count = elementCount(args.counters.shape);
  const workgroup = traits.software ? 8 : 64;
  return advance.call({
    overrides: { WORKGROUP_SIZE: workgroup },
    params: { count },
    bindings: { counters: args.counters },
    grid: linearGrid(divideRoundUp(count, workgroup)),
    bytes: 8 * count,
    flops: 0,
  });
}
