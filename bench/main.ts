import { dirname, join, relative } from 'node:path';
import { Argument, Command, Option } from 'commander';
import { numberOption } from '../demos/cli/options.js';
import { requestAdapterNode, type AdapterPreference } from '../engine/adapter/request.node.js';
import { Device } from '../engine/device.js';
import { Emu3Error } from '../kernels/core/index.js';
import { isSection, runBench, sections, type BenchSection } from './bench.js';
import { describeRun } from './header.node.js';
import { adapterName, writeReport } from './report/files.node.js';
import { markdownReport } from './report/markdown.js';
import { plotRoofline } from './report/plot.js';
import type { Results } from './results.js';

interface Options {
  json?: string;
  markdown?: string;
  svg?: string;
  results?: string;
  adapter?: AdapterPreference;
  model: string;
  rounds: number;
  seconds: number;
  only?: string;
}

async function main(): Promise<void> {
  const program = new Command('bench')
    .description('measure kernels and models against the ceilings of this adapter')
    .addArgument(new Argument('[section]', 'what to measure').choices(sections).default('all'))
    .option('--json <file>', 'write all figures')
    .option('--markdown <file>', 'write them as tables, which are printed otherwise')
    .option('--svg <file>', 'write the kernels under the roofline as a picture')
    .option('--results <folder>', 'write <adapter>.json, .md and .svg into a folder')
    .addOption(new Option('--adapter <kind>', 'what computes').choices(['auto', 'gpu', 'lavapipe', 'swiftshader']))
    .option('--model <folder>', 'the nano model; random weights where it is not there', 'demos/nano/model')
    .option('--rounds <n>', 'measurements of everything', numberOption({ from: 1, whole: true }), 7)
    .option('--seconds <s>', 'time of one measurement of a kernel', numberOption({ from: 0, exclusive: true }), 0.02)
    .option('--only <text>', 'only kernels and workloads whose name or sizes contain this');
  await program.parseAsync();
  const [section] = program.processedArgs as [string];
  if (!isSection(section)) throw new Error(`unknown section ${section}`);
  const results = await measure(section, program.opts<Options>());
  await writeResults(results, program.opts<Options>());
}

async function measure(section: BenchSection, options: Options): Promise<Results> {
  const { adapter, model, rounds, seconds, only } = options;
  const device = await Device.create(await requestAdapterNode(adapter === undefined ? {} : { prefer: adapter }));
  try {
    const header = await describeRun(device, rounds);
    const live = process.stderr.isTTY;
    const onProgress = (done: number, total: number, what: string): void => {
      const line = `${done + 1}/${total} ${what}`.slice(0, 110);
      process.stderr.write(live ? `\r\u001b[K${line}` : `${line}\n`);
    };
    const figures = await runBench(device, section, { model, rounds, seconds, onProgress, only });
    if (live) process.stderr.write('\r\u001b[K');
    return { header, ...figures };
  } finally {
    device.destroy();
  }
}

async function writeResults(results: Results, options: Options): Promise<void> {
  const { json, markdown, svg, results: folder } = options;
  const inFolder = (ending: string): string[] =>
    folder === undefined ? [] : [join(folder, `${adapterName(results.header)}.${ending}`)];
  const given = (path: string | undefined): string[] => (path === undefined ? [] : [path]);
  const pictures = [...given(svg), ...inFolder('svg')];
  const tables = [...given(markdown), ...inFolder('md')];
  for (const path of pictures) await writeReport(path, plotRoofline(results));
  for (const path of tables) {
    const plot = pictures.find((picture) => dirname(picture) === dirname(path)) ?? pictures[0];
    await writeReport(path, markdownReport(results, plot && relative(dirname(path), plot)));
  }
  for (const path of [...given(json), ...inFolder('json')]) {
    await writeReport(path, `${JSON.stringify(results, undefined, 2)}\n`);
  }
  if (tables.length === 0) process.stdout.write(markdownReport(results));
}

try {
  await main();
} catch (error) {
  if (!(error instanceof Emu3Error)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
}
