import { defineKernel, shapeError, type Kernel, type KernelCall } from '../core/define.js';
import {
  bytesPerElement,
  divideRoundUp,
  elementCount,
  linearGrid,
  type KernelTraits,
  type Operand,
} from '../core/types.js';
import addSource from './add.wgsl';
import addBiasSource from './add-bias.wgsl';
import addIntoSource from './add-into.wgsl';
import fillSource from './fill.wgsl';
import multiplySource from './multiply.wgsl';
import scaleSource from './scale.wgsl';
import scaleByStateSource from './scale-by-state.wgsl';
import siluSource from './silu.wgsl';
import siluBackwardSource from './silu-backward.wgsl';

const twoOperands = { aliases: { TypeA: 'f32', TypeB: 'f32', TypeOut: 'f32' } } as const;
const oneOperand = { aliases: { TypeX: 'f32', TypeOut: 'f32' } } as const;
const addKernel = defineKernel('add', addSource, twoOperands);
const multiplyKernel = defineKernel('multiply', multiplySource, twoOperands);
const addBiasKernel = defineKernel('add-bias', addBiasSource, {
  aliases: { TypeX: 'f32', TypeBias: 'f32', TypeOut: 'f32' },
});
const addIntoKernel = defineKernel('add-into', addIntoSource, { aliases: { TypeX: 'f32', TypeInto: 'f32' } });
const fillKernel = defineKernel('fill', fillSource, { aliases: { TypeOut: 'f32' } });
const scaleKernel = defineKernel('scale', scaleSource, oneOperand);
const scaleByStateKernel = defineKernel('scale-by-state', scaleByStateSource, oneOperand);
const siluKernel = defineKernel('silu', siluSource, oneOperand);
const siluBackwardKernel = defineKernel('silu-backward', siluBackwardSource, { aliases: { TypeX: 'f32' } });

interface ElementwiseCall<T extends Operand> {
  aliases: Readonly<Record<string, T['dtype']>>;
  params?: Readonly<Record<string, number>>;
  bindings: Readonly<Record<string, T>>;
  /** The operand every element of which is visited. */
  out: T;
  flopsPerElement: number;
  /** Operands that are not as long as out, such as a bias. */
  small?: readonly string[];
}

function elementwise<T extends Operand>(traits: KernelTraits, kernel: Kernel, call: ElementwiseCall<T>): KernelCall<T> {
  const count = elementCount(call.out.shape);
  let bytes = 0;
  for (const [name, operand] of Object.entries(call.bindings)) {
    if (call.small?.includes(name) === true) continue;
    bytes += count * bytesPerElement[operand.dtype];
    if (elementCount(operand.shape) !== count) {
      throw shapeError(kernel.name, `${name} [${operand.shape}] and out [${call.out.shape}] differ in size`);
    }
  }
  const workgroupSize = 64;
  const elements = traits.software ? 8 : 4;
  return kernel.call({
    aliases: call.aliases,
    overrides: { WORKGROUP_SIZE: workgroupSize, ELEMENTS: elements },
    params: { count, ...call.params },
    bindings: call.bindings,
    grid: linearGrid(divideRoundUp(count, workgroupSize * elements)),
    bytes,
    flops: count * call.flopsPerElement,
  });
}

/** out = a + b, element by element; f32 or f16 each. @throws Emu3Error `shape` when the sizes differ. */
export function add<T extends Operand>(traits: KernelTraits, args: { a: T; b: T; out: T }): KernelCall<T> {
  const { a, b, out } = args;
  const aliases = { TypeA: a.dtype, TypeB: b.dtype, TypeOut: out.dtype };
  return elementwise(traits, addKernel, { aliases, bindings: { a, b, out }, out, flopsPerElement: 1 });
}

/** out = a * b, element by element; f32 or f16 each. @throws Emu3Error `shape` when the sizes differ. */
export function multiply<T extends Operand>(traits: KernelTraits, args: { a: T; b: T; out: T }): KernelCall<T> {
  const { a, b, out } = args;
  const aliases = { TypeA: a.dtype, TypeB: b.dtype, TypeOut: out.dtype };
  return elementwise(traits, multiplyKernel, { aliases, bindings: { a, b, out }, out, flopsPerElement: 1 });
}

/** into += x in place; f32 or f16 each. @throws Emu3Error `shape` when the sizes differ. */
export function addInto<T extends Operand>(traits: KernelTraits, args: { x: T; into: T }): KernelCall<T> {
  const { x, into } = args;
  const aliases = { TypeX: x.dtype, TypeInto: into.dtype };
  const call = elementwise(traits, addIntoKernel, { aliases, bindings: { x, into }, out: into, flopsPerElement: 1 });
  return { ...call, bytes: call.bytes + elementCount(into.shape) * bytesPerElement[into.dtype] };
}

/** out = factor * x with a constant factor; f32 or f16 each. @throws Emu3Error `shape` when the sizes differ. */
export function scale<T extends Operand>(traits: KernelTraits, args: { x: T; out: T; factor: number }): KernelCall<T> {
  const { x, out, factor } = args;
  const aliases = { TypeX: x.dtype, TypeOut: out.dtype };
  return elementwise(traits, scaleKernel, {
    aliases,
    params: { factor },
    bindings: { x, out },
    out,
    flopsPerElement: 1,
  });
}

/** out = x, converting between f32 and f16 where the types differ. @throws Emu3Error `shape` when the sizes differ. */
export function cast<T extends Operand>(traits: KernelTraits, args: { x: T; out: T }): KernelCall<T> {
  return { ...scale(traits, { ...args, factor: 1 }), flops: 0 };
}

/** out = factor[0] * x with a factor that lives on the GPU (f32). @throws Emu3Error `shape` when the sizes differ. */
export function scaleByState<T extends Operand>(
  traits: KernelTraits,
  args: { x: T; factor: T; out: T },
): KernelCall<T> {
  const { x, factor, out } = args;
  return elementwise(traits, scaleByStateKernel, {
    aliases: { TypeX: x.dtype, TypeOut: out.dtype },
    bindings: { x, factor, out },
    out,
    flopsPerElement: 1,
    small: ['factor'],
  });
}

/** out = value everywhere; f32 or f16. */
export function fill<T extends Operand>(traits: KernelTraits, args: { out: T; value: number }): KernelCall<T> {
  const { out, value } = args;
  const aliases = { TypeOut: out.dtype };
  return elementwise(traits, fillKernel, { aliases, params: { value }, bindings: { out }, out, flopsPerElement: 0 });
}

/**
 * out[.., c] = x[.., c] + bias[c]; f32 or f16 each.
 *
 * @throws Emu3Error `shape` unless bias has as many elements as x has columns and out is as large as x.
 */
export function addBias<T extends Operand>(traits: KernelTraits, args: { x: T; bias: T; out: T }): KernelCall<T> {
  const { x, bias, out } = args;
  const columns = elementCount(bias.shape);
  if (x.shape.at(-1) !== columns) throw shapeError('add-bias', `x [${x.shape}] does not end in bias [${bias.shape}]`);
  return elementwise(traits, addBiasKernel, {
    aliases: { TypeX: x.dtype, TypeBias: bias.dtype, TypeOut: out.dtype },
    params: { columns },
    bindings: { x, bias, out },
    out,
    flopsPerElement: 1,
    small: ['bias'],
  });
}

/** out = x * sigmoid(x); f32 or f16 each. @throws Emu3Error `shape` when the sizes differ. */
export function silu<T extends Operand>(traits: KernelTraits, args: { x: T; out: T }): KernelCall<T> {
  const { x, out } = args;
  const aliases = { TypeX: x.dtype, TypeOut: out.dtype };
  return elementwise(traits, siluKernel, { aliases, bindings: { x, out }, out, flopsPerElement: 4 });
}

/** out = gradient * silu'(x), gradient and out f32. @throws Emu3Error `shape` when the sizes differ. */
export function siluBackward<T extends Operand>(
  traits: KernelTraits,
  args: { x: T; gradient: T; out: T },
): KernelCall<T> {
  const { x, gradient, out } = args;
  const aliases = { TypeX: x.dtype };
  return elementwise(traits, siluBackwardKernel, { aliases, bindings: { x, gradient, out }, out, flopsPerElement: 7 });
}
