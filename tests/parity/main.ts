import { Command } from 'commander';
import { runGolden, type GoldenOptions } from './run.js';

interface Options extends Omit<GoldenOptions, 'tier' | 'write'> {
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
    const write = (text: string): boolean => process.stdout.write(text);
    process.exitCode = (await runGolden({ ...options, tier: options.limits, write })) ? 0 : 1;
  });

await program.parseAsync();
