/** `sum(weights * values) / denominator`, 0 where the denominator is 0; `count` counts the weights other than 0. */
export function weightedMeanReference(
  values: ArrayLike<number>,
  weights: ArrayLike<number>,
  divideBy: 'weight-sum' | 'count' | number,
): number {
  let product = 0;
  let weightSum = 0;
  let count = 0;
  for (let row = 0; row < values.length; row++) {
    product += weights[row] * values[row];
    weightSum += weights[row];
    count += weights[row] === 0 ? 0 : 1;
  }
  const denominator = divideBy === 'weight-sum' ? weightSum : divideBy === 'count' ? count : divideBy;
  return denominator === 0 ? 0 : product / denominator;
}

/** `scale * sum` over each run of `rowsPerSegment` consecutive values. */
export function segmentSumReference(values: ArrayLike<number>, rowsPerSegment: number, scale: number): Float64Array {
  const sums = new Float64Array(values.length / rowsPerSegment);
  for (let row = 0; row < values.length; row++) sums[Math.floor(row / rowsPerSegment)] += scale * values[row];
  return sums;
}

/** DPO on n pairs: `margins = beta * ((chosen - refChosen) - (rejected - refRejected))`, `loss = mean(-log sigmoid(margins))`. */
export function preferenceReference(
  chosen: ArrayLike<number>,
  rejected: ArrayLike<number>,
  referenceChosen: ArrayLike<number>,
  referenceRejected: ArrayLike<number>,
  beta: number,
): { loss: number; margins: Float64Array } {
  const margins = Float64Array.from(
    { length: chosen.length },
    (_, i) => beta * (chosen[i] - referenceChosen[i] - (rejected[i] - referenceRejected[i])),
  );
  const loss = margins.reduce((sum, margin) => sum + Math.log1p(Math.exp(-margin)), 0) / margins.length;
  return { loss, margins };
}

/** Sums over pairs: of margins, of pairs with a margin above 0, of chosen and of rejected log-probabilities. */
export function preferenceFiguresReference(
  margins: ArrayLike<number>,
  chosen: ArrayLike<number>,
  rejected: ArrayLike<number>,
): Float64Array {
  const figures = new Float64Array(4);
  for (let pair = 0; pair < margins.length; pair++) {
    figures[0] += margins[pair];
    figures[1] += margins[pair] > 0 ? 1 : 0;
    figures[2] += chosen[pair];
    figures[3] += rejected[pair];
  }
  return figures;
}

/** `scale * mean((a - b)^2)`. */
export function squaredErrorReference(a: ArrayLike<number>, b: ArrayLike<number>, scale: number): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] - b[i]) ** 2;
  return (scale * sum) / a.length;
}
