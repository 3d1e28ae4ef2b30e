import { Emu3Error, throwIfAborted } from '../../kernels/core/errors.js';

/** What a trainer reports of a step. */
export interface StepMetrics {
  readonly step: number;
  /** Sum of all loss terms. */
  readonly loss: number;
  /** Global gradient norm before clipping. */
  readonly gradientNorm: number;
  readonly learningRate: number;
  /** Named parts of the loss and other figures. */
  readonly [name: string]: number;
}

/** A model in training, whatever it is. `Batch` is what one optimiser step consumes. */
export interface Trainer<Batch> {
  /** Optimiser steps done. */
  readonly step: number;
  /** Sends one optimiser step to the GPU without waiting for it. */
  train(batch: Batch): void;
  /** Waits for the steps sent so far and reads the figures of the last one. */
  metrics(): Promise<StepMetrics>;
}

export interface LoopOptions<Batch> {
  /** Stop when this many optimiser steps are done, those before a resume included. */
  steps: number;
  next: () => Batch;
  /** Read metrics every so many steps; the GPU runs ahead in between. */
  metricsEvery: number;
  onMetrics: (metrics: StepMetrics, secondsPerStep: number) => void;
  checkpointEvery: number;
  /** Called after every `checkpointEvery` steps, after the last one, and when cancelled. */
  checkpoint: () => Promise<void>;
  signal?: AbortSignal | undefined;
}

/**
 * Runs optimiser steps until `steps` are done. When the signal fires the current step is finished, a checkpoint is
 * written, and the call fails with `aborted`.
 *
 * @throws Emu3Error `not-finite` when the loss or gradient is no number; the last checkpoint stays.
 */
export async function runTraining<Batch>(trainer: Trainer<Batch>, options: LoopOptions<Batch>): Promise<void> {
  let since = performance.now();
  let sinceStep = trainer.step;
  let saved = trainer.step;
  const save = async (): Promise<void> => {
    if (saved === trainer.step) return;
    await options.checkpoint();
    saved = trainer.step;
  };
  while (trainer.step < options.steps) {
    if (options.signal?.aborted) {
      await save();
      throwIfAborted(options.signal, `training step ${trainer.step}`);
    }
    trainer.train(options.next());
    const last = trainer.step === options.steps;
    if (last || trainer.step % options.metricsEvery === 0) {
      const metrics = await trainer.metrics();
      const now = performance.now();
      options.onMetrics(metrics, (now - since) / 1000 / Math.max(1, trainer.step - sinceStep));
      since = now;
      sinceStep = trainer.step;
      if (!Number.isFinite(metrics.loss) || !Number.isFinite(metrics.gradientNorm)) {
        throw new Emu3Error(`The loss is ${metrics.loss} and the gradient norm ${metrics.gradientNorm}.`, {
          code: 'not-finite',
          where: `training step ${trainer.step}`,
          fix: 'Resume from the last checkpoint with a lower learning rate or tighter clipping.',
        });
      }
    }
    if (last || trainer.step % options.checkpointEvery === 0) {
      await save();
      since = performance.now();
      sinceStep = trainer.step;
    }
  }
}
