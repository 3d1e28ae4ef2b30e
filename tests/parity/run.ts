import type { LimitTier } from '../../engine/device.js';
import { Bench } from './case.js';
import { failure } from './checks.js';
import { discoverCases } from './discover.js';
import { Recording } from './recording.js';
import { table, type CaseResult } from './report.js';

export interface GoldenOptions {
  /** Folder of the recording. */
  readonly dir: string;
  /** Only cases whose name fits this glob. */
  readonly only?: string;
  /** Write one JSON document instead of a table. */
  readonly json?: boolean;
  /** A tiktoken rank file of the released text tokenizer. */
  readonly ranks?: string;
  readonly tier: LimitTier;
  readonly write: (text: string) => void;
}

/**
 * Runs the cases of a recording one after another, as a failure of one says nothing of the others.
 *
 * @returns whether there were cases and all passed.
 * @throws Emu3Error `missing` when there is no recording.
 */
export async function runGolden(options: GoldenOptions): Promise<boolean> {
  const recording = await Recording.open(options.dir);
  const bench = new Bench(recording, options);
  const results: CaseResult[] = [];
  try {
    const cases = await discoverCases(recording);
    const fits = globPattern(options.only ?? '**');
    const chosen = cases.filter(({ name }) => fits.test(name));
    for (const { name, run } of chosen) {
      const started = performance.now();
      const checks = await run(bench).catch((error: unknown) => [failure('error', String(error))]);
      results.push({ name, checks, seconds: (performance.now() - started) / 1000 });
      if (!options.json) options.write(table(results.slice(-1), results.length === 1));
    }
  } finally {
    await bench.close();
  }
  const failed = results.filter(({ checks }) => checks.length === 0 || checks.some((check) => !check.pass));
  const pass = results.length > 0 && failed.length === 0;
  if (options.json) {
    options.write(`${JSON.stringify({ dir: options.dir, pass, cases: results }, null, 2)}\n`);
  } else {
    options.write(`${results.length - failed.length} cases passed, ${failed.length} failed\n`);
  }
  return pass;
}

/** `*` stands for anything, `?` for one character. */
function globPattern(glob: string): RegExp {
  const source = glob
    .replace(/[\\^$+.()|[\]{}]/g, '\\$&')
    .replace(/\*+/g, '.*')
    .replaceAll('?', '.');
  return new RegExp(`^${source}$`);
}
