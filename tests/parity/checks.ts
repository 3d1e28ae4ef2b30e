/** One compared quantity of a case. */
export interface Check {
  /** What was compared. */
  readonly what: string;
  /** What is allowed, in words: `abs 1e-3`, `exact`, `rel L2 2e-3`. */
  readonly tolerance: string;
  /** The largest error found, or what was found wrong. */
  readonly worst: string;
  readonly pass: boolean;
}

type Numbers = ArrayLike<number>;

function formatError(error: number): string {
  return Number.isFinite(error) ? error.toExponential(1) : String(error);
}

function sameLength(what: string, tolerance: string, actual: Numbers, expected: Numbers): Check | undefined {
  if (actual.length === expected.length && expected.length > 0) return undefined;
  return { what, tolerance, worst: `${actual.length} values instead of ${expected.length}`, pass: false };
}

/** Largest |actual - expected|; elements for which `counts` is false are left out. NaN never passes. */
export function within(
  what: string,
  actual: Numbers,
  expected: Numbers,
  absolute: number,
  counts: (index: number) => boolean = () => true,
): Check {
  const tolerance = `abs ${absolute}`;
  const mismatch = sameLength(what, tolerance, actual, expected);
  if (mismatch) return mismatch;
  let worst = 0;
  let counted = 0;
  for (let index = 0; index < expected.length; index++) {
    if (!counts(index)) continue;
    counted += 1;
    const error = Math.abs(actual[index] - expected[index]);
    worst = Number.isFinite(error) ? Math.max(worst, error) : Infinity;
  }
  return { what, tolerance, worst: formatError(worst), pass: counted > 0 && worst <= absolute };
}

/** One number against another, by relative error. */
export function withinRelative(what: string, actual: number, expected: number, relative: number, floor = 0): Check {
  const error = Math.abs(actual - expected);
  const pass = Number.isFinite(error) && error <= relative * Math.abs(expected) + floor;
  const tolerance = floor > 0 ? `rel ${relative} + ${floor}` : `rel ${relative}`;
  return { what, tolerance, worst: formatError(error / Math.max(Math.abs(expected), floor / relative, 1e-30)), pass };
}

/** ||actual - expected|| / ||expected||, the measure of gradients. */
export function withinNorm(what: string, actual: Numbers, expected: Numbers, relative: number): Check {
  const tolerance = `rel L2 ${relative}`;
  const mismatch = sameLength(what, tolerance, actual, expected);
  if (mismatch) return mismatch;
  const norm = l2Norm(expected);
  const error = Math.hypot(l2Norm(Float64Array.from(expected, (value, index) => actual[index] - value)));
  const ratio = error === 0 ? 0 : error / norm;
  return { what, tolerance, worst: formatError(ratio), pass: ratio <= relative };
}

export function l2Norm(values: Numbers): number {
  let sum = 0;
  for (let index = 0; index < values.length; index++) sum += values[index] ** 2;
  return Math.sqrt(sum);
}

/** Mean |actual - expected|. */
export function withinMean(what: string, actual: Numbers, expected: Numbers, mean: number): Check {
  const tolerance = `mean abs ${mean}`;
  const mismatch = sameLength(what, tolerance, actual, expected);
  if (mismatch) return mismatch;
  let sum = 0;
  for (let index = 0; index < expected.length; index++) sum += Math.abs(actual[index] - expected[index]);
  const error = sum / expected.length;
  return { what, tolerance, worst: formatError(error), pass: error <= mean };
}

/** Equal lists of numbers. */
export function exact(what: string, actual: Numbers, expected: Numbers): Check {
  const mismatch = sameLength(what, 'exact', actual, expected);
  if (mismatch) return mismatch;
  let wrong = 0;
  let first = '';
  for (let index = 0; index < expected.length; index++) {
    if (actual[index] === expected[index]) continue;
    if (wrong === 0) first = `[${index}] ${actual[index]} instead of ${expected[index]}`;
    wrong += 1;
  }
  const worst = wrong === 0 ? '0' : `${wrong} of ${expected.length} differ, ${first}`;
  return { what, tolerance: 'exact', worst, pass: wrong === 0 };
}

/** Equal values of any kind, compared as JSON. */
export function same(what: string, actual: unknown, expected: unknown): Check {
  const [found, wanted] = [JSON.stringify(actual), JSON.stringify(expected)];
  const pass = found === wanted;
  const shorten = (text: string): string => (text.length > 120 ? `${text.slice(0, 120)}…` : text);
  return { what, tolerance: 'exact', worst: pass ? '0' : `${shorten(found)} instead of ${shorten(wanted)}`, pass };
}

/** Several checks of one kind as one row: the first failure, else the last. */
export function summary(what: string, checks: readonly Check[]): Check {
  const failed = checks.filter((check) => !check.pass);
  const [first] = failed;
  if (first) {
    const count = `${failed.length} of ${checks.length} failed, ${first.what}: ${first.worst}`;
    return { what, tolerance: first.tolerance, worst: count, pass: false };
  }
  const numbers = checks.map((check) => Number(check.worst));
  const worst = numbers.reduce((largest, value) => Math.max(largest, value), 0);
  const tolerance = checks[0]?.tolerance ?? '';
  return {
    what: `${what} (${checks.length})`,
    tolerance,
    worst: worst === 0 ? '0' : formatError(worst),
    pass: checks.length > 0,
  };
}

/** A failure that is no comparison. */
export function failure(what: string, message: string): Check {
  return { what, tolerance: '', worst: message, pass: false };
}
