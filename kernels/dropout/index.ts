import { expectShape, floatType } from '../core/checks.js';
import {
  defineKernel,
  divideRoundUp,
  elementCount,
  Emu3Error,
  linearGrid,
  type KernelCall,
  type KernelTraits,
  type Operand,
} from '../core/index.js';
import source from './dropout.wgsl';
import { dropoutThreshold } from './reference.js';

export { dropoutThreshold } from './reference.js';

const kernel = defineKernel('dropout', source, { aliases: { Scalar: 'f32' } });
const workgroupSize = 64;
const elementsPerLane = 4;

/** @throws Emu3Error `argument` unless the rate lies in [0, 1). */
export function checkDropoutRate(name: string, rate: number): void {
  if (rate >= 0 && rate < 1) return;
  throw new Emu3Error(`Kernel ${name}: the dropout rate ${rate} is outside [0, 1).`, {
    code: 'argument',
    where: `kernel ${name}`,
    fix: 'Give a rate from 0 up to, but not including, 1.',
  });
}

/**
 * `out = x * mask`, the mask 0 or `1 / (1 - rate)` by a hash of (seed, step, site, index). The backward pass is the same
 * call with the output's gradient as x.
 *
 * @param args.x f32 or f16, any shape.
 * @param args.state u32 `[2]`: seed, step.
 * @param args.site u32 that tells this dropout from the model's others.
 * @param args.rate Probability of dropping, in [0, 1).
 */
export function dropoutApply<T extends Operand>(
  _traits: KernelTraits,
  args: { x: T; state: T; out: T; rate: number; site: number },
): KernelCall<T> {
  const { x, state, out, rate, site } = args;
  checkDropoutRate(kernel.name, rate);
  expectShape(kernel.name, 'state', state, [2]);
  expectShape(kernel.name, 'out', out, x.shape);
  const count = elementCount(x.shape);
  return kernel.call({
    aliases: { Scalar: floatType(kernel.name, 'x', x) },
    overrides: { WORKGROUP_SIZE: workgroupSize },
    params: { count, site, threshold: dropoutThreshold(rate), scale: 1 / (1 - rate) },
    bindings: { x, state, out },
    grid: linearGrid(divideRoundUp(count, workgroupSize * elementsPerLane)),
    bytes: 8 * count,
    flops: count,
  });
}
