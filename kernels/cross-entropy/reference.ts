/**
 * Softmax cross-entropy in float64: `logSumExp[r] = log(sum_v exp(logits[r, v]))`,
 * `loss[r] = logSumExp[r] - logits[r, targets[r]]`, 0 where the target is negative. A target beyond the vocabulary is
 * taken to have the logit -1e30.
 *
 * @param logits [rows, vocabulary], row-major.
 * @param targets [rows].
 */
export function crossEntropyReference(
  logits: ArrayLike<number>,
  targets: ArrayLike<number>,
  vocabulary: number,
): { loss: Float64Array; logSumExp: Float64Array } {
  const rows = targets.length;
  const loss = new Float64Array(rows);
  const logSumExp = new Float64Array(rows);
  for (let row = 0; row < rows; row++) {
    let maximum = -Infinity;
    for (let id = 0; id < vocabulary; id++) maximum = Math.max(maximum, logits[row * vocabulary + id] ?? NaN);
    let sum = 0;
    for (let id = 0; id < vocabulary; id++) sum += Math.exp((logits[row * vocabulary + id] ?? NaN) - maximum);
    const total = maximum + Math.log(sum);
    const target = targets[row] ?? -1;
    logSumExp[row] = total;
    if (target >= 0) loss[row] = total - (target < vocabulary ? (logits[row * vocabulary + target] ?? NaN) : -1e30);
  }
  return { loss, logSumExp };
}

/** Gradient of {@link crossEntropyReference}'s row losses: `rowGradient[r] * (softmax - onehot)`, [rows, vocabulary]. */
export function crossEntropyBackwardReference(
  logits: ArrayLike<number>,
  targets: ArrayLike<number>,
  rowGradient: ArrayLike<number>,
  vocabulary: number,
): Float64Array {
  const { logSumExp } = crossEntropyReference(logits, targets, vocabulary);
  return Float64Array.from({ length: targets.length * vocabulary }, (_, i) => {
    const row = Math.floor(i / vocabulary);
    const target = targets[row] ?? -1;
    if (target < 0) return 0;
    const probability = Math.exp((logits[i] ?? NaN) - (logSumExp[row] ?? NaN));
    return (rowGradient[row] ?? NaN) * (probability - (i % vocabulary === target ? 1 : 0));
  });
}

/** Loss weight of each target id: 0 where negative, `vision` within the inclusive range, `text` elsewhere. */
export function targetWeightsReference(
  targets: ArrayLike<number>,
  weighting: { visionRange: readonly [number, number]; vision: number; text: number },
): Float64Array {
  return Float64Array.from(targets, (id) => {
    if (id < 0) return 0;
    return id >= weighting.visionRange[0] && id <= weighting.visionRange[1] ? weighting.vision : weighting.text;
  });
}
