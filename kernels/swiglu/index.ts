import { expectShape, floatType, rowsAndFeatures } from '../core/checks.js';
import {
  defineKernel,
  divideRoundUp,
  elementCount,
  linearGrid,
  type KernelCall,
  type KernelTraits,
  type Operand,
} from '../core/index.js';
import backwardSource from './backward.wgsl';
import forwardSource from './forward.wgsl';

const aliases = { Scalar: 'f32' } as const;
const forward = defineKernel('swiglu forward', forwardSource, { aliases });
const backward = defineKernel('swiglu backward', backwardSource, { aliases });
const workgroupSize = 64;
const elementsPerLane = 4;

/** `out = silu(gate) * up`; the three have one shape and one type, f32 or f16. */
export function swigluForward<T extends Operand>(
  _traits: KernelTraits,
  args: { gate: T; up: T; out: T },
): KernelCall<T> {
  const { gate, up, out } = args;
  expectShape(forward.name, 'up', up, gate.shape);
  expectShape(forward.name, 'out', out, gate.shape);
  const count = elementCount(gate.shape);
  return forwardCall({ gate, up, out }, { features: count, row_stride: count, up_start: 0 });
}

/** `out = silu(gate) * up` of `[rows, gate and up]`, each half `features` wide; out `[rows, features]` of the same type. */
export function swigluJoined<T extends Operand>(_traits: KernelTraits, args: { halves: T; out: T }): KernelCall<T> {
  const { halves, out } = args;
  const { features } = rowsAndFeatures(forward.name, 'out', out);
  expectShape(forward.name, 'halves', halves, [...out.shape.slice(0, -1), 2 * features]);
  return forwardCall({ gate: halves, up: halves, out }, { features, row_stride: 2 * features, up_start: features });
}

function forwardCall<T extends Operand>(
  bindings: { gate: T; up: T; out: T },
  layout: { features: number; row_stride: number; up_start: number },
): KernelCall<T> {
  const count = elementCount(bindings.out.shape);
  return forward.call({
    aliases: { Scalar: floatType(forward.name, 'gate', bindings.gate) },
    overrides: { WORKGROUP_SIZE: workgroupSize },
    params: { count, ...layout },
    bindings,
    grid: linearGrid(divideRoundUp(count, workgroupSize * elementsPerLane)),
    bytes: 12 * count,
    flops: 5 * count,
  });
}

/** Gradients of gate and up (f32) from the gradient of the output (f32), all shaped like gate. */
export function swigluBackward<T extends Operand>(
  _traits: KernelTraits,
  args: { gate: T; up: T; outGradient: T; gateGradient: T; upGradient: T },
): KernelCall<T> {
  const { gate, up, outGradient, gateGradient, upGradient } = args;
  for (const [name, operand] of Object.entries({ up, outGradient, gateGradient, upGradient })) {
    expectShape(backward.name, name, operand, gate.shape);
  }
  const count = elementCount(gate.shape);
  return backward.call({
    aliases: { Scalar: floatType(backward.name, 'gate', gate) },
    overrides: { WORKGROUP_SIZE: workgroupSize },
    params: { count },
    bindings: { gate, up, out_gradient: outGradient, gate_gradient: gateGradient, up_gradient: upGradient },
    grid: linearGrid(divideRoundUp(count, workgroupSize * elementsPerLane)),
    bytes: 20 * count,
    flops: 10 * count,
  });
}
