import { timing, type Timing } from '../measure.js';
import type { Contender, Job } from './contender.js';
import { describeProblem, tokensOf, type Problem } from './problems.js';

/** What one engine did with a problem. */
export type PeerOutcome =
  /** `error`: relative root mean square to the first engine's result. */
  | { readonly kind: 'measured'; readonly time: Timing; readonly error: number }
  | { readonly kind: 'not offered' }
  | { readonly kind: 'failed'; readonly reason: string };

export interface PeerFigure {
  readonly problem: string;
  /** Learned from or written each time. */
  readonly tokens?: number | undefined;
  readonly outcomes: Readonly<Record<string, PeerOutcome>>;
}

export interface CompareOptions {
  readonly rounds: number;
  /** Of one measurement. */
  readonly seconds: number;
  readonly only?: string | undefined;
  readonly onProgress?: (what: string) => void;
}

/**
 * Results further apart than this are of different computations. Some engines round to f16 inside; losses that fall
 * alike and tokens that are the same say that nothing is left out.
 */
function mostError(problem: Problem): number {
  if (problem.kind === 'decode') return 0;
  return problem.kind === 'training step' ? 1e-3 : 5e-2;
}

/** Measures the engines in turn, round by round, on one problem after the other. The first engine's results are the measure. */
export async function comparePeers(
  contenders: readonly Contender[],
  problems: readonly Problem[],
  options: CompareOptions,
): Promise<PeerFigure[]> {
  const figures: PeerFigure[] = [];
  for (const problem of problems) {
    const name = describeProblem(problem);
    if (options.only !== undefined && !name.includes(options.only)) continue;
    options.onProgress?.(name);
    figures.push({ problem: name, tokens: tokensOf(problem), outcomes: await compareOn(contenders, problem, options) });
  }
  return figures;
}

interface Prepared {
  readonly name: string;
  readonly job: Job;
  readonly error: number;
  readonly times: number;
  readonly seconds: number[];
}

async function compareOn(
  contenders: readonly Contender[],
  problem: Problem,
  { rounds, seconds }: CompareOptions,
): Promise<Record<string, PeerOutcome>> {
  const outcomes = new Map<string, PeerOutcome>(contenders.map(({ name }) => [name, { kind: 'not offered' }]));
  const prepared: Prepared[] = [];
  let expected: Float32Array | undefined;
  for (const { name, prepare } of contenders) {
    try {
      const job = await prepare(problem);
      if (job === undefined) continue;
      const result = await job.result();
      expected ??= result;
      const error = relativeError(result, expected);
      if (!(error <= mostError(problem))) throw new Error(`its result is ${error.toPrecision(2)} off`);
      const once = await secondsOf(job, 1);
      prepared.push({ name, job, error, times: Math.max(1, Math.min(200, Math.round(seconds / once))), seconds: [] });
    } catch (error) {
      outcomes.set(name, {
        kind: 'failed',
        reason: String(error instanceof Error ? error.message : error).slice(0, 300),
      });
    }
  }
  for (let round = 0; round < rounds; round++) {
    for (const { job, times, seconds: measured } of prepared) measured.push(await secondsOf(job, times));
  }
  for (const { name, job, error, seconds: measured } of prepared) {
    outcomes.set(name, { kind: 'measured', time: timing(measured), error });
    job.destroy();
  }
  return Object.fromEntries(outcomes);
}

/** Of one computation, of so many in a row. */
async function secondsOf(job: Job, times: number): Promise<number> {
  const start = performance.now();
  await job.run(times);
  return (performance.now() - start) / 1000 / times;
}

function relativeError(values: Float32Array, expected: Float32Array): number {
  if (values.length !== expected.length) return Infinity;
  let [difference, size] = [0, 0];
  for (const [index, value] of values.entries()) {
    difference += (value - expected[index]) ** 2;
    size += expected[index] ** 2;
  }
  return Math.sqrt(difference / size);
}
