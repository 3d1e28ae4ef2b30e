import { learningRateAt, type LearningRateSchedule } from './state.js';

/** One block of parameters in float64 with its moments; `decay` holds one factor for each 64 elements. */
export interface AdamwReferenceBlock {
  parameters: Float64Array;
  gradients: Float64Array;
  firstMoment: Float64Array;
  secondMoment: Float64Array;
  decay: ArrayLike<number>;
}

/**
 * One AdamW step in float64, in place; t is the step's number, 1 first:
 *
 *     norm = sqrt(sum g^2) over all blocks; g *= maximumNorm / (norm + 1e-6) if norm > maximumNorm
 *     p *= 1 - lr * weightDecay * decay; m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2
 *     p -= lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + epsilon); g = 0
 *
 * @returns the norm before clipping.
 */
export function adamwReference(
  blocks: readonly AdamwReferenceBlock[],
  step: number,
  hyper: {
    schedule: LearningRateSchedule;
    maximumNorm: number;
    beta1: number;
    beta2: number;
    epsilon: number;
    weightDecay: number;
  },
): number {
  const { beta1, beta2, epsilon, weightDecay, maximumNorm } = hyper;
  const learningRate = learningRateAt(hyper.schedule, step);
  let squares = 0;
  for (const { gradients } of blocks) for (const gradient of gradients) squares += gradient * gradient;
  const norm = Math.sqrt(squares);
  const scale = norm > maximumNorm ? maximumNorm / (norm + 1e-6) : 1;
  for (const { parameters: p, gradients: g, firstMoment: m, secondMoment: v, decay } of blocks) {
    for (let i = 0; i < p.length; i++) {
      const gradient = g[i] * scale;
      p[i] *= 1 - learningRate * weightDecay * decay[Math.floor(i / 64)];
      m[i] = beta1 * m[i] + (1 - beta1) * gradient;
      v[i] = beta2 * v[i] + (1 - beta2) * gradient * gradient;
      const denominator = Math.sqrt(v[i]) / Math.sqrt(1 - beta2 ** step) + epsilon;
      p[i] -= ((learningRate / (1 - beta1 ** step)) * m[i]) / denominator;
      g[i] = 0;
    }
  }
  return norm;
}
