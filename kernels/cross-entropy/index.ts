import {
  defineKernel,
  divideRoundUp,
  elementCount,
  linearGrid,
  shapeError,
  bytesPerElement,
  type KernelCall,
  type KernelTraits,
  type Operand,
} from '../core/index.js';
import backwardSource from './backward.wgsl';
import forwardSource from './forward.wgsl';
import targetWeightsSource from './target-weights.wgsl';

const forwardKernel = defineKernel('cross-entropy-forward', forwardSource, { aliases: { Scalar: 'f32' } });
const backwardKernel = defineKernel('cross-entropy-backward', backwardSource, { aliases: { Scalar: 'f32' } });
const targetWeightsKernel = defineKernel('target-weights', targetWeightsSource);

function requireRows(kernel: string, name: string, operand: Operand, rows: number): void {
  if (elementCount(operand.shape) !== rows) {
    throw shapeError(
      kernel,
      `${name} must hold one value for each of ${rows} rows, but is [${operand.shape.join(', ')}]`,
    );
  }
}

function logitsShape(kernel: string, logits: Operand): { rows: number; vocabulary: number } {
  const [rows, vocabulary] = logits.shape;
  if (logits.shape.length !== 2 || rows === undefined || vocabulary === undefined || rows < 1 || vocabulary < 1) {
    throw shapeError(
      kernel,
      `logits must be [rows, vocabulary], both at least 1, but are [${logits.shape.join(', ')}]`,
    );
  }
  return { rows, vocabulary };
}

/**
 * Softmax cross-entropy of each row: `loss[r] = logsumexp(logits[r]) - logits[r, targets[r]]`, 0 where the target is
 * negative (ignored). A target id beyond the vocabulary gives a loss of about 1e30, never a neighbour's.
 *
 * @param args.logits [R, V], f32 or f16, above -1e30.
 * @param args.targets [R] i32.
 * @param args.loss [R] f32, written.
 * @param args.logSumExp [R] f32, written; the backward kernel takes it.
 * @throws Emu3Error `shape`.
 */
export function crossEntropyForward<T extends Operand>(
  traits: KernelTraits,
  args: { logits: T; targets: T; loss: T; logSumExp: T },
): KernelCall<T> {
  const { rows, vocabulary } = logitsShape(forwardKernel.name, args.logits);
  requireRows(forwardKernel.name, 'targets', args.targets, rows);
  requireRows(forwardKernel.name, 'loss', args.loss, rows);
  requireRows(forwardKernel.name, 'logSumExp', args.logSumExp, rows);
  return forwardKernel.call({
    aliases: { Scalar: args.logits.dtype },
    overrides: { WORKGROUP_SIZE: traits.software ? 8 : vocabulary > 4096 ? 256 : 64 },
    params: { rows, vocabulary },
    bindings: { logits: args.logits, targets: args.targets, loss: args.loss, logSumExp: args.logSumExp },
    grid: linearGrid(rows),
    bytes: rows * (vocabulary * bytesPerElement[args.logits.dtype] + 12),
    flops: rows * vocabulary * 5,
  });
}

/**
 * `logitsGradient[r, v] = rowGradient[r] * (softmax(logits[r])[v] - (v == targets[r]))`, 0 in ignored rows.
 *
 * @param args.logSumExp [R] f32, as the forward kernel wrote it.
 * @param args.rowGradient [R] f32, gradient of the row losses (weights and denominators are in it).
 * @param args.logitsGradient [R, V] f32, written.
 * @throws Emu3Error `shape`.
 */
export function crossEntropyBackward<T extends Operand>(
  traits: KernelTraits,
  args: { logits: T; targets: T; logSumExp: T; rowGradient: T; logitsGradient: T },
): KernelCall<T> {
  const { rows, vocabulary } = logitsShape(backwardKernel.name, args.logits);
  requireRows(backwardKernel.name, 'targets', args.targets, rows);
  requireRows(backwardKernel.name, 'logSumExp', args.logSumExp, rows);
  requireRows(backwardKernel.name, 'rowGradient', args.rowGradient, rows);
  requireRows(backwardKernel.name, 'logitsGradient', args.logitsGradient, rows * vocabulary);
  const workgroupSize = traits.software ? 32 : 128;
  const chunksPerRow = divideRoundUp(vocabulary, workgroupSize * 4);
  return backwardKernel.call({
    aliases: { Scalar: args.logits.dtype },
    overrides: { WORKGROUP_SIZE: workgroupSize },
    params: { rows, vocabulary, chunksPerRow },
    bindings: {
      logits: args.logits,
      targets: args.targets,
      logSumExp: args.logSumExp,
      rowGradient: args.rowGradient,
      logitsGradient: args.logitsGradient,
    },
    grid: linearGrid(rows * chunksPerRow),
    bytes: rows * (vocabulary * (bytesPerElement[args.logits.dtype] + 4) + 12),
    flops: rows * vocabulary * 4,
  });
}

/** What a target id counts in the loss: `vision` within the inclusive id range, `text` elsewhere; ignored ids count 0. */
export interface TargetWeighting {
  readonly visionRange: readonly [first: number, last: number];
  readonly vision: number;
  readonly text: number;
}

/**
 * Writes each target's loss weight (Emu3, section 3.2: 0.5 on vision tokens, 1 on text).
 *
 * @param args.targets [R] i32.
 * @param args.weights [R] f32, written.
 * @throws Emu3Error `shape`.
 */
export function targetWeights<T extends Operand>(
  traits: KernelTraits,
  args: { targets: T; weights: T },
  weighting: TargetWeighting,
): KernelCall<T> {
  const rows = elementCount(args.targets.shape);
  requireRows(targetWeightsKernel.name, 'weights', args.weights, rows);
  const workgroupSize = traits.software ? 32 : 64;
  return targetWeightsKernel.call({
    overrides: { WORKGROUP_SIZE: workgroupSize },
    params: {
      rows,
      visionFirst: weighting.visionRange[0],
      visionLast: weighting.visionRange[1],
      visionWeight: weighting.vision,
      textWeight: weighting.text,
    },
    bindings: { targets: args.targets, weights: args.weights },
    grid: linearGrid(divideRoundUp(rows, workgroupSize)),
    bytes: rows * 8,
    flops: 0,
  });
}
