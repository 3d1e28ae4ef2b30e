import type { Command } from 'commander';
import { Option } from 'commander';
import type { Emu3 } from '../../../loader/pipeline/emu3.js';
import type { GeneratedImage, GenerateRequest } from '../../../loader/pipeline/generate.js';
import { numberOption, ratioOption, rewriteOption, samplingRequest, sizeOption } from '../options.js';
import { withModel } from '../open-model.js';
import { checkOutput, jsonText } from '../output.js';
import { addDrawingOptions, seedsFrom, writePictures, type DrawingChoice } from '../drawn.js';
import { withProgress } from '../progress.js';
import { formatSeconds } from '../report.js';
import type { Terminal } from '../terminal.js';

interface GenerateOptions extends DrawingChoice {
  ratio?: string;
  size?: { height: number; width: number };
  count: number;
  rewrite?: boolean;
}

/** Pictures drawn side by side. */
const batchSize = 8;

export function addGenerate(program: Command, terminal: Terminal): void {
  const command = program
    .command('generate')
    .description('draw a picture from a text')
    .argument('<prompt>', 'what to draw, for example "a cat and a tree"')
    .option('-o, --output <file>', 'PNG file (default: named after the prompt)')
    .addOption(new Option('--ratio <w:h>', 'width to height (default: 1:1)').argParser(ratioOption).conflicts('size'))
    .addOption(new Option('--size <rows x columns>', 'size in tokens, such as 8x8').argParser(sizeOption))
    .option('--count <n>', 'pictures, with seeds one after the other', numberOption({ from: 1, whole: true }), 1)
    .addOption(rewriteOption());
  addDrawingOptions(command).action((prompt: string, options: GenerateOptions) => generate(terminal, prompt, options));
}

async function generate(terminal: Terminal, prompt: string, options: GenerateOptions): Promise<void> {
  const output = options.output ?? fileName(prompt);
  await checkOutput(output);
  await withModel(terminal, options, async (emu3, device) => {
    const { ratio, size } = options;
    const asked = seedsFrom(options.seed, options.count).map((seed) => ({ prompt, seed }));
    const told = options.rewrite
      ? await emu3.rewritePrompts(asked, { signal: terminal.signal })
      : asked.map(() => prompt);
    const requests = asked.map(({ seed }, index): GenerateRequest => {
      const shape = { ...(ratio && { ratio }), ...(size && { size }) };
      return { prompt: told[index], seed, ...samplingRequest(options), ...shape };
    });
    if (options.rewrite && !options.json) for (const each of new Set(told)) terminal.out(`drawing "${each}"\n`);
    const { pictures, tokens, seconds, tokensPerSecond } = await draw(terminal, emu3, requests);
    const written = await writePictures(terminal, output, pictures, options);
    if (options.json) {
      const adapter = device.choice.description;
      const rewritten = options.rewrite && { rewritten: told };
      terminal.out(jsonText({ prompt, ...rewritten, adapter, tokens, seconds, tokensPerSecond, pictures: written }));
    } else {
      terminal.out(`${tokens} tokens in ${formatSeconds(seconds)}; decoding ${tokensPerSecond.toFixed(1)} tokens/s\n`);
    }
  });
}

interface Drawing {
  pictures: GeneratedImage[];
  tokens: number;
  /** From the request to the last picture, preparation included. */
  seconds: number;
  /** While decoding, without preparation. */
  tokensPerSecond: number;
}

/** Draws all pictures before any is written, so that a stop leaves no file. */
async function draw(terminal: Terminal, emu3: Emu3, requests: readonly GenerateRequest[]): Promise<Drawing> {
  const { signal } = terminal;
  const pictures: GeneratedImage[] = [];
  const started = performance.now();
  const timed = { tokens: 0, milliseconds: 0 };
  let tokens = 0;
  for (let from = 0; from < requests.length; from += batchSize) {
    const batch = requests.slice(from, from + batchSize);
    const label = requests.length === 1 ? 'drawing' : `drawing ${from + 1} to ${from + batch.length}`;
    const before = tokens;
    let firstToken = 0;
    let lastToken = 0;
    const drawn = await withProgress(terminal, label, batch.length, (bar) =>
      emu3.generateBatch(batch, {
        signal,
        onToken: ({ steps }) => {
          lastToken = performance.now();
          firstToken ||= lastToken;
          tokens += 1;
          bar.update(tokens - before, 'tokens', steps * batch.length);
        },
        onPixels: ({ picture, done, total }) =>
          bar.update(picture * 100 + Math.round((100 * done) / total), '% of the pixels', batch.length * 100),
      }),
    );
    pictures.push(...drawn);
    // Tokens come in rows; the first row's time is hidden in the preparation.
    timed.tokens += tokens - before - batch.length * (drawn[0].size.width + 1);
    timed.milliseconds += lastToken - firstToken;
  }
  const seconds = (performance.now() - started) / 1000;
  const overall = tokens / seconds;
  const tokensPerSecond = timed.milliseconds > 0 ? (1000 * timed.tokens) / timed.milliseconds : overall;
  return { pictures, tokens, seconds, tokensPerSecond };
}

/** `a tiger, noto style` -> `a-tiger-noto-style.png`. */
function fileName(prompt: string): string {
  const words = prompt.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? ['picture'];
  return `${words.join('-').slice(0, 60)}.png`;
}
