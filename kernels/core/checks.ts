import { Emu3Error } from './errors.js';
import { elementCount, type DType, type Operand } from './types.js';
import { shapeError } from './define.js';

/**
 * Refuses an operand whose shape is not the wanted one.
 *
 * @throws Emu3Error `shape` naming the kernel, the operand and both shapes.
 */
export function expectShape(kernel: string, name: string, operand: Operand, shape: readonly number[]): void {
  if (operand.shape.length === shape.length && operand.shape.every((size, axis) => size === shape[axis])) return;
  throw shapeError(kernel, `${name} is [${operand.shape.join(', ')}] where [${shape.join(', ')}] is needed`);
}

/**
 * Splits a shape into its last axis and everything before it: `[.., features]` to rows and features.
 *
 * @throws Emu3Error `shape` for a scalar or an empty tensor.
 */
export function rowsAndFeatures(kernel: string, name: string, operand: Operand): { rows: number; features: number } {
  const features = operand.shape.at(-1) ?? 0;
  const count = elementCount(operand.shape);
  if (features === 0 || count === 0) throw shapeError(kernel, `${name} is empty or has no axes`);
  return { rows: count / features, features };
}

/**
 * Checks that an operand holds floating-point elements and returns its type, for a kernel's alias.
 *
 * @throws Emu3Error `dtype` otherwise.
 */
export function floatType(kernel: string, name: string, operand: Operand): DType {
  if (operand.dtype === 'f32' || operand.dtype === 'f16') return operand.dtype;
  throw new Emu3Error(`Kernel ${kernel}: ${name} is ${operand.dtype}, but floating point is needed.`, {
    code: 'dtype',
    where: `kernel ${kernel}`,
    fix: 'Give an f32 or f16 tensor.',
  });
}
