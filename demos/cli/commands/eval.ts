import { InvalidArgumentError, Option, type Command } from 'commander';
import { Emu3Error } from '../../../kernels/core/errors.js';
import { contactSheet } from '../../nano/check/contact-sheet.js';
import { fullAmounts, quickAmounts, suiteNames, type Amounts, type SuiteName } from '../../nano/eval/suite.js';
import { largeSide, pictureSize } from '../../nano/world/scene.js';
import { evaluatedModel } from '../evaluated-model.js';
import { withModel } from '../open-model.js';
import {
  addModelOptions,
  addSamplingOptions,
  numberOption,
  samplingRequest,
  seedOption,
  type ModelChoice,
  type SamplingChoice,
} from '../options.js';
import { checkOutput, jsonText, writeOutput } from '../output.js';
import { encodePng } from '../pictures.js';
import { startProgress, type ProgressBar } from '../progress.js';
import { formatSeconds } from '../report.js';
import type { Terminal } from '../terminal.js';

interface EvalOptions extends ModelChoice, SamplingChoice, Partial<Amounts> {
  suite?: SuiteName[];
  quick?: boolean;
  batch: number;
  output?: string;
  html?: string;
  markdown?: string;
  grid?: string;
  large?: boolean;
}

const defaultSeed = 1;
const sheetColumns = 8;
const sheetPictures = 64;
const labelWidth = 42;

export function addEval(program: Command, terminal: Terminal): void {
  const command = program
    .command('eval')
    .description('measure what a model of the nano world can do, with controls')
    .addOption(
      new Option('--suite <names>', `only these, with commas: ${suiteNames.join(', ')}`).argParser(suitesOption),
    )
    .option('--quick', 'few of everything, for a first look')
    .option('--prompts <n>', amountText('GenEval prompts of each task and split', 'prompts'), amountOption)
    .option('--samples <n>', amountText('pictures of each GenEval prompt', 'samples'), amountOption)
    .option('--pictures <n>', amountText('pictures of each group in other suites', 'pictures'), amountOption)
    .option('--questions <n>', amountText('questions of each type and group', 'questions'), amountOption)
    .option('--clips <n>', amountText('clips of each motion and split', 'clips'), amountOption)
    .addOption(seedOption('of everything that is drawn by chance').default(defaultSeed))
    .option(
      '--large',
      `pictures of ${largeSide} x ${largeSide} pixels, as quality fine-tuning draws them; GenEval alone`,
    )
    .option('--batch <n>', 'pictures side by side', numberOption({ from: 1, to: 64, whole: true }), 8)
    .option('-o, --output <file>', 'write the figures as JSON')
    .option('--html <file>', 'write figures, pictures and clips as one HTML file')
    .option('--markdown <file>', 'write the tables as Markdown, for a model card')
    .option('--grid <file>', `write up to ${sheetPictures} GenEval pictures as one PNG`);
  addModelOptions(addSamplingOptions(command)).action((options: EvalOptions) => evalModel(terminal, options));
}

const amountOption = numberOption({ from: 1, to: 100_000, whole: true });

function amountText(what: string, name: keyof Amounts): string {
  return `${what} (default: ${fullAmounts[name]}, quick ${quickAmounts[name]})`;
}

function suitesOption(text: string): SuiteName[] {
  return text.split(',').map((word) => {
    const name = suiteNames.find((each) => each === word.trim());
    if (name === undefined) throw new InvalidArgumentError(`Give names out of ${suiteNames.join(', ')}.`);
    return name;
  });
}

async function evalModel(terminal: Terminal, options: EvalOptions): Promise<void> {
  const { output, html, markdown, grid } = options;
  for (const path of [output, html, markdown, grid]) if (path !== undefined) await checkOutput(path);
  if (grid !== undefined && options.suite?.includes('geneval') === false) {
    throw new Emu3Error('There are no pictures to put on the sheet.', {
      code: 'argument',
      where: '--grid',
      fix: 'Add geneval to --suite, or leave --grid out.',
    });
  }
  const amounts = amountsOf(options);
  const { seed = defaultSeed, batch, large = false } = options;
  const sampling = samplingRequest(options);
  // The artwork, the checker and the report are heavy, and no other command needs them.
  const { Artwork } = await import('../../nano/world/draw.node.js');
  const { evaluate } = await import('../../nano/eval/evaluate.js');
  const { reportJson, reportMarkdown, reportText } = await import('../../nano/eval/report.js');
  await withModel(terminal, options, async (emu3, device) => {
    terminal.err('rendering the artwork ...\n');
    const artwork = await Artwork.load();
    const progress = new Progress(terminal);
    const evaluation = await evaluate(
      evaluatedModel(emu3, { batch, sampling, side: large ? largeSide : undefined }),
      artwork,
      {
        suites: options.suite,
        large,
        amounts,
        seed,
        signal: terminal.signal,
        onWork: (suite, label, total) => progress.begin(`${suite}: ${label}`, total),
      },
    ).finally(() => progress.stop());
    const { temperature, topK, topP, guidance, negativePrompt } = { ...emu3.defaults, ...sampling };
    const head = {
      model: options.model ?? 'nano',
      adapter: device.choice.description,
      seed,
      side: large ? largeSide : pictureSize,
      sampling: { temperature, topK, topP, guidance, negativePrompt },
      amounts,
    };
    const report = reportJson(head, evaluation);
    if (output !== undefined) await writeOutput(output, jsonText(report));
    if (html !== undefined) {
      const { reportHtml } = await import('../../nano/eval/report-html.node.js');
      await writeOutput(html, await reportHtml(head, evaluation, terminal));
    }
    if (markdown !== undefined) await writeOutput(markdown, reportMarkdown(evaluation));
    if (grid !== undefined) await writeOutput(grid, await sheetOf(evaluation.results));
    terminal.out(options.json ? jsonText(report) : reportText(evaluation));
  });
}

function amountsOf(options: EvalOptions): Amounts {
  const base = options.quick ? quickAmounts : fullAmounts;
  const names = Object.keys(base) as (keyof Amounts)[];
  const given = names.flatMap((name) => (options[name] === undefined ? [] : [[name, options[name]] as const]));
  return { ...base, ...Object.fromEntries(given) };
}

function sheetOf(
  results: readonly { name: string; examples: readonly { pictures: readonly Picture[] }[] }[],
): Promise<Uint8Array> {
  const examples = results.find(({ name }) => name === 'geneval')?.examples ?? [];
  const pictures = examples.slice(0, sheetPictures).map(({ pictures: [{ frames }] }) => frames[0].rgb);
  return encodePng(contactSheet(pictures, sheetColumns), 1);
}

interface Picture {
  readonly frames: readonly { readonly rgb: Uint8Array<ArrayBuffer> }[];
}

/** One bar after the other, with the time that is left. */
class Progress {
  private readonly terminal: Terminal;
  private bar: ProgressBar | undefined;

  constructor(terminal: Terminal) {
    this.terminal = terminal;
  }

  begin(label: string, total: number): (done: number) => void {
    this.stop();
    const bar = startProgress(this.terminal, label.padEnd(labelWidth), total);
    this.bar = bar;
    const started = performance.now();
    return (done) => {
      const seconds = (performance.now() - started) / 1000;
      bar.update(done, done === total ? '' : `${formatSeconds((seconds / done) * (total - done))} left`);
    };
  }

  stop(): void {
    this.bar?.stop();
    this.bar = undefined;
  }
}
