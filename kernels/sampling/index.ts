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
import guidanceSliceSource from './guidance-slice.wgsl';
import guidanceSource from './guidance.wgsl';
import logSumExpSource from './log-sum-exp.wgsl';
import sampleSource from './sample.wgsl';
import { samplerStateLength } from './state.js';

export * from './state.js';

const logSumExpKernel = defineKernel('log-sum-exp', logSumExpSource, { aliases: { Scalar: 'f32' } });
const guidanceKernel = defineKernel('guidance', guidanceSource, { aliases: { Scalar: 'f32' } });
const guidanceSliceKernel = defineKernel('guidance-slice', guidanceSliceSource, { aliases: { Scalar: 'f32' } });
const sampleKernel = defineKernel('sample', sampleSource, { aliases: { Scalar: 'f32' } });

function matrix(kernel: string, name: string, operand: Operand): [rows: number, columns: number] {
  const [rows, columns] = operand.shape;
  if (operand.shape.length !== 2 || rows < 1 || columns < 1) {
    throw shapeError(kernel, `${name} must be a matrix with something in it, but is [${operand.shape.join(', ')}]`);
  }
  return [rows, columns];
}

function requireCount(kernel: string, name: string, operand: Operand, count: number): void {
  if (elementCount(operand.shape) !== count) {
    throw shapeError(kernel, `${name} must hold ${count} elements, but is [${operand.shape.join(', ')}]`);
  }
}

/** `logSumExp[r] = log(sum(exp(logits[r])))`. @param args.logits [R, V], f32 or f16. @param args.logSumExp [R] f32. */
export function logSumExpForward<T extends Operand>(
  traits: KernelTraits,
  args: { logits: T; logSumExp: T },
): KernelCall<T> {
  const { name } = logSumExpKernel;
  const [rows, vocabulary] = matrix(name, 'logits', args.logits);
  requireCount(name, 'logSumExp', args.logSumExp, rows);
  return logSumExpKernel.call({
    aliases: { Scalar: args.logits.dtype },
    overrides: { WORKGROUP_SIZE: traits.software ? 16 : 256 },
    params: { rows, vocabulary },
    bindings: { logits: args.logits, logSumExp: args.logSumExp },
    grid: linearGrid(rows),
    bytes: rows * (vocabulary * bytesPerElement[args.logits.dtype] + 4),
    flops: rows * vocabulary * 5,
  });
}

/**
 * Classifier-free guidance on log-probabilities:
 * `guided[r] = u + g * (c - u)`, c and u the log-softmax of logits rows r and R + r, g from the row's state.
 *
 * @param args.logits [2R, V], f32 or f16: R conditional rows, then their R unconditional ones.
 * @param args.logSumExp [2R] f32, of the logits. @param args.state [R, 8] u32. @param args.guided [R, V] f32, written.
 * @throws Emu3Error `shape`.
 */
export function guidanceForward<T extends Operand>(
  traits: KernelTraits,
  args: { logits: T; logSumExp: T; state: T; guided: T },
): KernelCall<T> {
  const { name } = guidanceKernel;
  const [bothRows, vocabulary] = matrix(name, 'logits', args.logits);
  const [rows, guidedIds] = matrix(name, 'guided', args.guided);
  if (bothRows !== rows * 2 || guidedIds !== vocabulary) {
    throw shapeError(
      name,
      `logits [${args.logits.shape.join(', ')}] are not two rows for each of guided [${args.guided.shape.join(', ')}]`,
    );
  }
  requireCount(name, 'logSumExp', args.logSumExp, bothRows);
  requireCount(name, 'state', args.state, rows * samplerStateLength);
  const workgroupSize = traits.software ? 32 : 64;
  return guidanceKernel.call({
    aliases: { Scalar: args.logits.dtype },
    overrides: { WORKGROUP_SIZE: workgroupSize },
    params: { rows, vocabulary },
    bindings: args,
    grid: [divideRoundUp(vocabulary, workgroupSize), rows, 1],
    bytes: rows * vocabulary * (2 * bytesPerElement[args.logits.dtype] + 4),
    flops: rows * vocabulary * 5,
  });
}

/**
 * Guidance on the ids `first .. first + n` only, on raw logits: `guided[r] = u + g * (c - u)`. It differs from
 * {@link guidanceForward} by one number a row, which cancels in ranks, maxima and a softmax over the slice.
 *
 * @param args.logits [2R, V], f32 or f16. @param args.state [R, 8] u32. @param args.guided [R, n] f32, written.
 * @param args.first column of the logits the slice starts at; default 0.
 * @throws Emu3Error `shape`.
 */
export function guidanceSliceForward<T extends Operand>(
  traits: KernelTraits,
  args: { logits: T; state: T; guided: T; first?: number },
): KernelCall<T> {
  const { name } = guidanceSliceKernel;
  const { logits, state, guided, first = 0 } = args;
  const [bothRows, vocabulary] = matrix(name, 'logits', logits);
  const [rows, count] = matrix(name, 'guided', guided);
  if (bothRows !== rows * 2 || !(first >= 0 && first + count <= vocabulary)) {
    throw shapeError(
      name,
      `ids ${first}..${first + count} of ${rows} guided rows are not in logits [${logits.shape.join(', ')}]`,
    );
  }
  requireCount(name, 'state', state, rows * samplerStateLength);
  const workgroupSize = traits.software ? 32 : 64;
  return guidanceSliceKernel.call({
    aliases: { Scalar: logits.dtype },
    overrides: { WORKGROUP_SIZE: workgroupSize },
    params: { rows, vocabulary, first, count },
    bindings: { logits, state, guided },
    grid: [divideRoundUp(count, workgroupSize), rows, 1],
    bytes: rows * count * (2 * bytesPerElement[logits.dtype] + 4),
    flops: rows * count * 3,
  });
}

/**
 * Samples one token a row; see {@link packSamplerState} for the settings and {@link packAllowedRanges} for the grammar.
 * Writes the id to `ids[r, step]` (while the step is below S) and to `nextInputs[c, r]` for every copy c, and advances
 * the row's position and step in the state.
 *
 * @param args.logits [R, n], f32 or f16, above -1e30: guided or plain logits of the ids `firstId .. firstId + n`. Allowed ids
 *   outside are never drawn, unless forced.
 * @param args.ranges u32 [R, steps, 2], or [R / n, steps, 2] where n rows after one another are places of one sequence.
 * @param args.state u32 [R, 8], changed in place.
 * @param args.ids u32 [R, S], or [R / n, S] as the ranges. @param args.nextInputs u32 [copies * R], 2 copies where guidance runs two rows.
 * @throws Emu3Error `shape`.
 */
export function sampleForward<T extends Operand>(
  traits: KernelTraits,
  args: { logits: T; ranges: T; state: T; ids: T; nextInputs: T; firstId?: number },
): KernelCall<T> {
  const { name } = sampleKernel;
  const { logits, ranges, state, ids, nextInputs, firstId = 0 } = args;
  const [rows, count] = matrix(name, 'logits', logits);
  const [rangeRows, rangesPerRow, two] = ranges.shape;
  if (ranges.shape.length !== 3 || rows % rangeRows !== 0 || rangesPerRow < 1 || two !== 2) {
    throw shapeError(name, `ranges must be [${rows}, steps, 2], but are [${ranges.shape.join(', ')}]`);
  }
  const [idRows, idsPerRow] = matrix(name, 'ids', ids);
  if (rows % idRows !== 0) throw shapeError(name, `ids must have ${rows} rows, but are [${ids.shape.join(', ')}]`);
  const inputs = elementCount(nextInputs.shape);
  if (inputs < rows || inputs % rows !== 0) {
    throw shapeError(name, `nextInputs must hold a multiple of ${rows} ids, but are [${nextInputs.shape.join(', ')}]`);
  }
  requireCount(name, 'state', state, rows * samplerStateLength);
  return sampleKernel.call({
    aliases: { Scalar: logits.dtype },
    overrides: { WORKGROUP_SIZE: traits.software ? 32 : 256 },
    params: {
      rows,
      count,
      firstId,
      rangesPerRow,
      rowsPerRanges: rows / rangeRows,
      idsPerRow,
      rowsPerIds: rows / idRows,
      inputsPerRow: inputs / rows,
    },
    bindings: { logits, ranges, state, ids, nextInputs },
    grid: [rows, 1, 1],
    bytes: rows * count * bytesPerElement[logits.dtype],
    flops: rows * count * 30,
  });
}
