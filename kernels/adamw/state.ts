import { Emu3Error } from '../core/index.js';

/**
 * The optimiser's numbers that change from step to step, an f32 tensor on the GPU: the kernels advance them, so a
 * recorded step can be replayed. Saved and restored as a whole, training goes on bit for bit.
 */
export const optimizerStateLength = 16;

/** Where each number lies in the state. */
export const optimizerStateIndex = {
  /** Steps taken, without the skipped ones. */
  step: 0,
  /** Learning rate of the last step. */
  learningRate: 1,
  /** What the last step's gradients were multiplied by: accumulation scale times clip factor. */
  gradientScale: 2,
  /** Global L2 norm of the last gradients, after the accumulation scale and before clipping. */
  gradientNorm: 3,
  /** 1 when the last step was skipped because its gradient norm was not finite. */
  skip: 4,
  skippedSteps: 5,
  /** 1 - beta1^step. */
  firstCorrection: 6,
  /** 1 - beta2^step. */
  secondCorrection: 7,
  peakLearningRate: 8,
  finalLearningRate: 9,
  warmupSteps: 10,
  totalSteps: 11,
  schedule: 12,
  maximumNorm: 13,
  accumulationScale: 14,
  holdSteps: 15,
} as const;

/**
 * Learning rate of step t = 1, 2, ...: `peak * t / warmupSteps` up to t = warmupSteps, `peak` for `holdSteps` more, then
 * `constant`, or down to `final` at t = totalSteps along a half `cosine` or a line (`linear`), and `final` from there on.
 * Emu3's pre-training is `cosine` with `final` 0; its quality fine-tuning goes down to 0 along a line at its end, which is
 * `linear` with `holdSteps` (arXiv 2409.18869).
 */
export interface LearningRateSchedule {
  kind: 'constant' | 'cosine' | 'linear';
  /** Above 0. */
  peak: number;
  /** Default 0; not used by `constant`. */
  final?: number;
  /** Default 0. */
  warmupSteps?: number;
  /** Steps at the peak between warm-up and decay. Default 0; not used by `constant`. */
  holdSteps?: number;
  /** More than warmupSteps and holdSteps together; not used by `constant`. */
  totalSteps?: number;
}

const kinds: Readonly<Record<LearningRateSchedule['kind'], number>> = { constant: 0, cosine: 1, linear: 2 };

function refuse(where: string, message: string, fix: string): Emu3Error {
  return new Emu3Error(message, { code: 'argument', where, fix });
}

function checkSchedule(schedule: LearningRateSchedule): Required<LearningRateSchedule> {
  const { kind, peak, final = 0, warmupSteps = 0, holdSteps = 0, totalSteps = 0 } = schedule;
  if (!(peak > 0 && Number.isFinite(peak))) {
    throw refuse('learning rate', `The peak learning rate is ${peak}.`, 'Give a finite number above 0.');
  }
  if (!(final >= 0 && Number.isFinite(final))) {
    throw refuse('learning rate', `The final learning rate is ${final}.`, 'Give a finite number, 0 or above.');
  }
  if (!(Number.isInteger(warmupSteps) && warmupSteps >= 0)) {
    throw refuse('warm-up', `${warmupSteps} warm-up steps are not a count.`, 'Give a whole number, 0 or above.');
  }
  if (!(Number.isInteger(holdSteps) && holdSteps >= 0)) {
    throw refuse(
      'learning rate',
      `${holdSteps} steps at the peak are not a count.`,
      'Give a whole number, 0 or above.',
    );
  }
  if (kind !== 'constant' && !(Number.isInteger(totalSteps) && totalSteps > warmupSteps + holdSteps)) {
    const hold = holdSteps > 0 ? ` and ${holdSteps} steps at the peak` : '';
    throw refuse(
      'learning rate',
      `A ${kind} schedule of ${totalSteps} steps does not outlast its warm-up of ${warmupSteps}${hold}.`,
      'Give a whole number of total steps above those before the decay.',
    );
  }
  return { kind, peak, final, warmupSteps, holdSteps, totalSteps };
}

/** Learning rate of step `step` (1 is the first), in float64; the formula is at {@link LearningRateSchedule}. */
export function learningRateAt(schedule: LearningRateSchedule, step: number): number {
  const { kind, peak, final, warmupSteps, holdSteps, totalSteps } = checkSchedule(schedule);
  if (step < warmupSteps) return (peak * step) / warmupSteps;
  if (kind === 'constant') return peak;
  const decayFrom = warmupSteps + holdSteps;
  const progress = Math.min(1, Math.max(0, step - decayFrom) / (totalSteps - decayFrom));
  const left = kind === 'cosine' ? 0.5 * (1 + Math.cos(Math.PI * progress)) : 1 - progress;
  return final + (peak - final) * left;
}

/**
 * The state before the first step.
 *
 * @param options.maximumNorm gradients are scaled down to this global L2 norm; default no limit.
 * @param options.accumulationScale factor of the accumulated gradients, 1 / micro-batches for their mean; default 1.
 * @throws Emu3Error `argument` for numbers outside their ranges.
 */
export function initialOptimizerState(options: {
  schedule: LearningRateSchedule;
  maximumNorm?: number | undefined;
  accumulationScale?: number | undefined;
}): Float32Array {
  const { kind, peak, final, warmupSteps, holdSteps, totalSteps } = checkSchedule(options.schedule);
  const { maximumNorm = 3e38, accumulationScale = 1 } = options;
  if (!(maximumNorm > 0))
    throw refuse('gradient clipping', `The largest norm is ${maximumNorm}.`, 'Give a number above 0.');
  if (!(accumulationScale > 0 && Number.isFinite(accumulationScale))) {
    throw refuse('gradient accumulation', `The scale is ${accumulationScale}.`, 'Give a finite number above 0.');
  }
  const state = new Float32Array(optimizerStateLength);
  state[optimizerStateIndex.peakLearningRate] = peak;
  state[optimizerStateIndex.finalLearningRate] = final;
  state[optimizerStateIndex.warmupSteps] = warmupSteps;
  state[optimizerStateIndex.holdSteps] = holdSteps;
  state[optimizerStateIndex.totalSteps] = totalSteps;
  state[optimizerStateIndex.schedule] = kinds[kind];
  state[optimizerStateIndex.maximumNorm] = Math.min(maximumNorm, 3e38);
  state[optimizerStateIndex.accumulationScale] = accumulationScale;
  return state;
}

/** The state as last read from the GPU, by name. */
export interface OptimizerReport {
  step: number;
  learningRate: number;
  /** Global L2 norm before clipping; not finite when the step was skipped. */
  gradientNorm: number;
  /** The last step was skipped because its gradient norm was not finite. */
  skipped: boolean;
  skippedSteps: number;
}

export function readOptimizerState(state: Float32Array): OptimizerReport {
  return {
    step: state[optimizerStateIndex.step],
    learningRate: state[optimizerStateIndex.learningRate],
    gradientNorm: state[optimizerStateIndex.gradientNorm],
    skipped: state[optimizerStateIndex.skip] !== 0,
    skippedSteps: state[optimizerStateIndex.skippedSteps],
  };
}
