import { Command } from 'commander';
import { Bench } from './case.js';
import { failure } from './checks.js';
import { discoverCases } from './discover.js';
import { Recording } from './recording.js';
import { printTable, type CaseResult } from './report.js';

interface Options {
  dir: string;
  only?: string;
  json?: boolean;
  ranks?: string;
  limits: string;
}

const program = new Command('golden')
  .description('Checks this engine against recorded outputs of the original code.')
  .option('--dir <folder>', 'recordings, laid out like tests/golden', 'tests/golden')
  .option('--only <glob>', 'only cases whose name fits, as "vq/*" or "*greedy*"')
  .option('--json', 'print JSON instead of a table')
  .option('--ranks <file>', 'tiktoken rank file of the released text tokenizer')
  .option(
    '--limits <tier>',
    '"default" for WebGPU\'s guaranteed limits and no optional feature, or "adapter"',
    'adapter',
  )
  .action(async (options: Options, command: Command) => {
    if (options.limits !== 'default' && options.limits !== 'adapter') {
      command.error('error: --limits is "default" or "adapter"');
    }
    process.exitCode = (await runGolden(options)) ? 0 : 1;
  });

/** Runs the cases one after another, as a failure of one says nothing of the others. */
async function runGolden(options: Options): Promise<boolean> {
  const recording = await Recording.open(options.dir);
  const bench = new Bench(recording, {
    tier: options.limits === 'default' ? 'default' : 'adapter',
    ranks: options.ranks,
  });
  const results: CaseResult[] = [];
  try {
    const cases = await discoverCases(recording);
    const fits = globPattern(options.only ?? '**');
    const chosen = cases.filter(({ name }) => fits.test(name));
    for (const { name, run } of chosen) {
      const started = performance.now();
      const checks = await run(bench).catch((error: unknown) => [failure('error', String(error))]);
      results.push({ name, checks, seconds: (performance.now() - started) / 1000 });
      if (!options.json) printTable(results.slice(-1), results.length === 1);
    }
  } finally {
    await bench.close();
  }
  const failed = results.filter(({ checks }) => checks.length === 0 || checks.some((check) => !check.pass));
  const pass = results.length > 0 && failed.length === 0;
  if (options.json) {
    process.stdout.write(`${JSON.stringify({ dir: options.dir, pass, cases: results }, null, 2)}\n`);
  } else {
    process.stdout.write(`${results.length - failed.length} cases passed, ${failed.length} failed\n`);
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

await program.parseAsync();
