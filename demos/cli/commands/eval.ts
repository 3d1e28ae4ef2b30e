import type { Command } from 'commander';
import { contactSheet } from '../../nano/check/contact-sheet.js';
import { encodeSheet } from '../../nano/check/check.node.js';
import type { Evaluation, EvaluationOptions } from '../evaluation.js';
import { withModel } from '../open-model.js';
import {
  addRunOptions,
  addSamplingOptions,
  numberOption,
  samplingRequest,
  seedOption,
  type RunChoice,
  type SamplingChoice,
} from '../options.js';
import { checkOutput, jsonText, writeOutput } from '../output.js';
import { formatPercent, formatTable } from '../report.js';
import type { Terminal } from '../terminal.js';

interface EvalOptions extends RunChoice, SamplingChoice {
  prompts: number;
  heldOut?: number;
  batch: number;
  output?: string;
  grid?: string;
}

/** Pictures of the contact sheet: three quarters of trained pairs, the rest held out. */
const sheetColumns = 8;
const sheetTrained = 48;
const sheetHeldOut = 16;
const defaultSeed = 1;

export function addEval(program: Command, terminal: Terminal): void {
  const command = program
    .command('eval')
    .description('score the nano model: what its pictures show, controls, reconstruction')
    .option('--prompts <n>', 'trained (concept, style) pairs to draw', numberOption({ from: 1, whole: true }), 200)
    .option('--held-out <n>', 'held-out pairs to draw (default: all)', numberOption({ from: 1, whole: true }))
    .addOption(seedOption('of the choice of prompts and the pictures').default(defaultSeed))
    .option('--batch <n>', 'pictures side by side', numberOption({ from: 1, to: 64, whole: true }), 8)
    .option('-o, --output <file>', 'write the report as JSON')
    .option('--grid <file>', `write ${sheetTrained} trained and ${sheetHeldOut} held-out pictures as one PNG`);
  addRunOptions(addSamplingOptions(command)).action((options: EvalOptions) => evalModel(terminal, options));
}

async function evalModel(terminal: Terminal, options: EvalOptions): Promise<void> {
  for (const path of [options.output, options.grid]) if (path !== undefined) await checkOutput(path);
  const request: EvaluationOptions = {
    prompts: options.prompts,
    heldOut: options.heldOut,
    seed: options.seed ?? defaultSeed,
    batch: options.batch,
    sampling: samplingRequest(options),
  };
  // The artwork and the checker are heavy, and no other command needs them.
  const { evaluate } = await import('../evaluation.js');
  await withModel(terminal, options, async (emu3, device) => {
    const { evaluation, pictures } = await evaluate(terminal, emu3, request);
    const { temperature, topK, topP, guidance, negativePrompt } = { ...emu3.defaults, ...request.sampling };
    const sampling = { temperature, topK, topP, guidance, negativePrompt };
    const report = { model: options.model ?? 'nano', adapter: device.choice.description, sampling, ...evaluation };
    if (options.output !== undefined) await writeOutput(options.output, jsonText(report));
    if (options.grid !== undefined) {
      const shown = [...pictures.trained.slice(0, sheetTrained), ...pictures.heldOut.slice(0, sheetHeldOut)];
      await writeOutput(options.grid, await encodeSheet(contactSheet(shown, sheetColumns)));
    }
    terminal.out(options.json ? jsonText(report) : describe(evaluation));
  });
}

const groups: Readonly<Record<keyof Evaluation['scores'], string>> = {
  drawn: 'drawn by the model',
  artwork: 'control: the artwork itself',
  reconstructed: 'control: artwork through the tokenizer',
  shuffledPrompts: 'control: drawn, prompts shuffled',
};

function describe({ scores, reconstruction, codebook, drawing, prompts }: Evaluation): string {
  const rows = (Object.keys(groups) as (keyof typeof groups)[]).flatMap((group) =>
    (['trained', 'heldOut'] as const).map((split) => {
      const { count, conceptAccuracy, styleAccuracy, exactAccuracy, meanDistance } = scores[group][split];
      return [
        groups[group],
        split === 'trained' ? 'trained' : 'held out',
        String(count),
        formatPercent(conceptAccuracy),
        formatPercent(styleAccuracy),
        formatPercent(exactAccuracy),
        meanDistance.toFixed(3),
      ];
    }),
  );
  const heading = ['pictures', 'pairs', 'count', 'right concept', 'right style', 'both', 'mean distance'];
  return [
    formatTable(heading, rows),
    `\nreconstruction of ${reconstruction.pictures} pictures never trained on: PSNR ${reconstruction.psnr.toFixed(2)} dB`,
    ` (lowest ${reconstruction.lowestPsnr.toFixed(2)} dB), SSIM ${reconstruction.ssim.toFixed(4)}\n`,
    `codebook: ${codebook.used} of ${codebook.size} codes in use over ${codebook.pictures} pictures, perplexity ${codebook.perplexity.toFixed(0)}\n`,
    `drawing: ${prompts.trained + prompts.heldOut} pictures, ${drawing.tokensPerSecond.toFixed(1)} tokens/s\n`,
  ].join('');
}
