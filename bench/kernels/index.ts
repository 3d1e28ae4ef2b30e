import { defineKernel, elementCount, shapeError, type KernelCall, type Operand } from '../../kernels/core/index.js';
import copySource from './copy.wgsl';
import emptySource from './empty.wgsl';
import multiplyAddSource from './multiply-add.wgsl';
import readSource from './read.wgsl';

const copyKernel = defineKernel('ceiling copy', copySource);
const readKernel = defineKernel('ceiling read', readSource);
const multiplyAddKernel = defineKernel('ceiling multiply-add', multiplyAddSource, { aliases: { Scalar: 'f32' } });
const emptyKernel = defineKernel('empty', emptySource);

/** Elements of a streamed buffer are a multiple of this. */
export const streamUnit = 256 * 64 * 4;

/** How a streaming kernel is cut up: what is fastest differs from adapter to adapter. Their product divides 16384. */
export interface StreamForm {
  readonly workgroupSize: number;
  /** Vectors of four that one invocation moves. */
  readonly vectors: number;
}

function streamGrid(name: string, source: Operand, { workgroupSize, vectors }: StreamForm): [number, number, number] {
  const elements = elementCount(source.shape);
  if (elements % streamUnit !== 0) throw shapeError(name, `${elements} elements are no multiple of ${streamUnit}`);
  return [elements / (4 * workgroupSize * vectors), 1, 1];
}

/** Copies f32 to f32 of the same size, a multiple of {@link streamUnit} elements. @throws Emu3Error `shape`. */
export function copyStream<T extends Operand>(form: StreamForm, args: { source: T; destination: T }): KernelCall<T> {
  return copyKernel.call({
    overrides: { WORKGROUP_SIZE: form.workgroupSize, VECTORS: form.vectors },
    bindings: { ...args },
    grid: streamGrid(copyKernel.name, args.source, form),
    bytes: 8 * elementCount(args.source.shape),
    flops: 0,
  });
}

/** Adds up f32, a multiple of {@link streamUnit} elements, into {@link readSums} sums. @throws Emu3Error `shape`. */
export function readStream<T extends Operand>(form: StreamForm, args: { source: T; sums: T }): KernelCall<T> {
  const elements = elementCount(args.source.shape);
  const sums = readSums(form, elements);
  if (form.vectors % 2 !== 0 || elementCount(args.sums.shape) !== sums) {
    throw shapeError(readKernel.name, `${elements} elements have ${sums} sums of an even number of vectors`);
  }
  return readKernel.call({
    overrides: { WORKGROUP_SIZE: form.workgroupSize, VECTORS: form.vectors },
    bindings: { ...args },
    grid: streamGrid(readKernel.name, args.source, form),
    bytes: 4 * elements + 4 * sums,
    flops: elements,
  });
}

/** Sums that {@link readStream} writes for so many elements: one for each invocation. */
export function readSums(form: StreamForm, elements: number): number {
  return elements / (4 * form.vectors);
}

/** Runs `iterations` (a multiple of 4) of eight multiply-add chains for every value, in f32 or f16. */
export function multiplyAdd<T extends Operand>(
  workgroupSize: number,
  args: { values: T; iterations: number; dtype: 'f32' | 'f16' },
): KernelCall<T> {
  const { values, iterations, dtype } = args;
  const count = elementCount(values.shape);
  if (count % workgroupSize !== 0) throw shapeError(multiplyAddKernel.name, `${count} values do not fill workgroups`);
  return multiplyAddKernel.call({
    aliases: { Scalar: dtype },
    overrides: { WORKGROUP_SIZE: workgroupSize },
    // The chains settle at 1, so nothing grows, underflows or is known when the kernel is compiled.
    params: { iterations, factor: 0.75, summand: 0.25 },
    bindings: { values },
    grid: [count / workgroupSize, 1, 1],
    bytes: 8 * count,
    flops: 16 * iterations * count,
  });
}

/** A dispatch that does nothing. */
export function emptyDispatch<T extends Operand>(args: { untouched: T }): KernelCall<T> {
  return emptyKernel.call({ bindings: { ...args }, grid: [1, 1, 1], bytes: 0, flops: 0 });
}
