import { Emu3Error } from '../../kernels/core/errors.js';
import type { ErrorCode } from '../../kernels/core/errors.js';
import { shorten } from '../json.js';
import { isFloatDtype } from '../safetensors/dtype.js';
import type { TensorInfo } from '../safetensors/header.js';

/** What a checkpoint has against what its config asks for, by original names, in the order found. */
export interface ShapeReport {
  missing: string[];
  unexpected: string[];
  misshaped: { name: string; expected: readonly number[]; found: readonly number[] }[];
  /** Weights in a type that does not widen to float32. */
  mistyped: { name: string; dtype: string }[];
}

/** Counters of BatchNorm and tables of rotary frequencies: some savers write them, no computation reads them. */
const OPTIONAL = /\.num_batches_tracked$|\.rotary_emb\.inv_freq$/;

/** Compares headers only; no payload is read. `lm_head.weight` is tolerated where the config ties it. */
export function compareShapes(
  tensors: ReadonlyMap<string, TensorInfo>,
  expected: ReadonlyMap<string, readonly number[]>,
): ShapeReport {
  const report: ShapeReport = { missing: [], unexpected: [], misshaped: [], mistyped: [] };
  for (const [name, shape] of expected) {
    const found = tensors.get(name);
    if (!found) {
      if (!OPTIONAL.test(name)) report.missing.push(name);
    } else if (found.shape.length !== shape.length || found.shape.some((size, axis) => size !== shape[axis])) {
      report.misshaped.push({ name, expected: shape, found: found.shape });
    } else if (!OPTIONAL.test(name) && !isFloatDtype(found.dtype)) {
      report.mistyped.push({ name, dtype: found.dtype });
    }
  }
  const tied = expected.has('model.embed_tokens.weight');
  for (const name of tensors.keys()) {
    const tolerated = OPTIONAL.test(name) || (tied && name === 'lm_head.weight');
    if (!expected.has(name) && !tolerated) report.unexpected.push(name);
  }
  return report;
}

/**
 * Refuses a checkpoint that does not fit its config, before any payload is read. The message counts every missing,
 * unexpected, mis-shaped and mistyped tensor and names the first of each.
 * @param config name of the file that says what is expected
 * @throws Emu3Error `shape`, `missing`, `dtype` or `format`: the gravest kind found.
 */
export function validateShapes(
  checkpoint: { readonly name: string; readonly tensors: ReadonlyMap<string, TensorInfo> },
  expected: ReadonlyMap<string, readonly number[]>,
  config = 'config.json',
): void {
  const { missing, unexpected, misshaped, mistyped } = compareShapes(checkpoint.tensors, expected);
  const problems: string[] = [];
  const [shape, absent, type, extra] = [misshaped.at(0), missing.at(0), mistyped.at(0), unexpected.at(0)];
  if (shape) {
    const sizes = `[${shape.found.join(', ')}] instead of [${shape.expected.join(', ')}]`;
    problems.push(`${count(misshaped, 'of another shape')} (first "${shape.name}": ${shorten(sizes)})`);
  }
  if (absent !== undefined) problems.push(`${count(missing, 'missing')} (first "${absent}")`);
  if (type) problems.push(`${count(mistyped, 'of no float type')} (first "${type.name}": ${type.dtype})`);
  if (extra !== undefined) {
    problems.push(`${count(unexpected, 'unexpected')} (first "${shorten(extra)}")`);
  }
  if (problems.length === 0) return;
  const code: ErrorCode = shape ? 'shape' : absent !== undefined ? 'missing' : type ? 'dtype' : 'format';
  throw new Emu3Error(`The weights do not fit the config: ${problems.join('; ')}.`, {
    code,
    where: checkpoint.name,
    fix: `Use the ${config} that belongs to these weights.`,
  });
}

function count(list: readonly unknown[], what: string): string {
  return `${list.length} ${list.length === 1 ? 'tensor' : 'tensors'} ${what}`;
}
