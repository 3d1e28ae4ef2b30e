import { InvalidArgumentError, Option, type Command } from 'commander';
import { Emu3Error } from '../../../kernels/core/errors.js';
import type { PixelMask } from '../../../loader/pipeline/edit.js';
import type { RgbImage, Size } from '../../../tokenizer/index.node.js';
import { addDrawingOptions, seedsFrom, writePictures, type DrawingChoice } from '../drawn.js';
import { withModel } from '../open-model.js';
import { numberOption, samplingRequest } from '../options.js';
import { checkOutput, jsonText } from '../output.js';
import { readPicture } from '../pictures.js';
import { withProgress } from '../progress.js';
import type { Terminal } from '../terminal.js';

interface Region extends Size {
  left: number;
  top: number;
}

interface EditOptions extends DrawingChoice {
  region?: Region[];
  mask?: string;
}

interface VaryOptions extends DrawingChoice {
  count: number;
  share: number;
}

export function addEdit(program: Command, terminal: Terminal): void {
  const command = program
    .command('edit')
    .description('draw a part of a picture anew, the rest kept exactly')
    .argument('<image>', 'PNG, JPEG or WebP; resized to the area the model works at')
    .argument('<prompt>', 'what the whole picture shows')
    .addOption(
      new Option('--region <left,top,width,height>', 'what to draw anew, in pixels of the image; may be given again')
        .argParser(regionOption)
        .conflicts('mask'),
    )
    .option('--mask <file>', 'a picture of the same size, black where the image is kept')
    .option('-o, --output <file>', 'PNG file (default: the image with -edited)');
  addDrawingOptions(command).action((image: string, prompt: string, options: EditOptions) =>
    edit(terminal, image, prompt, options),
  );
}

export function addVary(program: Command, terminal: Terminal): void {
  const command = program
    .command('vary')
    .description('draw pictures like another one')
    .argument('<image>', 'PNG, JPEG or WebP; resized to the area the model works at')
    .argument('<prompt>', 'what the picture shows')
    .option('--share <s>', 'share of the tokens drawn anew', numberOption({ from: 0, to: 1, exclusive: true }), 0.5)
    .option('--count <n>', 'pictures, with seeds one after the other', numberOption({ from: 1, to: 8, whole: true }), 4)
    .option('-o, --output <file>', 'PNG file (default: the image with -varied)');
  addDrawingOptions(command).action((image: string, prompt: string, options: VaryOptions) =>
    vary(terminal, image, prompt, options),
  );
}

async function edit(terminal: Terminal, file: string, prompt: string, options: EditOptions): Promise<void> {
  const output = options.output ?? withSuffix(file, '-edited');
  await checkOutput(output);
  const image = await readPicture(file);
  const mask = await maskOf(image, options);
  await withModel(terminal, options, async (emu3) => {
    const edited = await withProgress(terminal, 'drawing', 1, (bar) =>
      emu3.edit({
        image,
        mask,
        prompt,
        seed: seedsFrom(options.seed, 1)[0],
        ...samplingRequest(options),
        signal: terminal.signal,
        onToken: ({ step, steps }) => bar.update(step + 1, 'tokens', steps),
      }),
    );
    const pictures = await writePictures(terminal, output, [edited], options);
    const redrawn = edited.redrawn.reduce((sum, marked) => sum + marked, 0);
    if (options.json) terminal.out(jsonText({ prompt, redrawn: [...edited.redrawn], pictures }));
    else terminal.out(`${redrawn} of ${edited.redrawn.length} tokens drawn anew\n`);
  });
}

async function vary(terminal: Terminal, file: string, prompt: string, options: VaryOptions): Promise<void> {
  const output = options.output ?? withSuffix(file, '-varied');
  await checkOutput(output);
  const image = await readPicture(file);
  const { share, count } = options;
  await withModel(terminal, options, async (emu3) => {
    const requests = seedsFrom(options.seed, count).map((seed) => ({
      image,
      share,
      prompt,
      seed,
      ...samplingRequest(options),
    }));
    let tokens = 0;
    const drawn = await withProgress(terminal, 'drawing', count, (bar) =>
      emu3.vary(requests, {
        signal: terminal.signal,
        onToken: ({ steps }) => bar.update(++tokens, 'tokens', steps * count),
      }),
    );
    const pictures = await writePictures(terminal, output, drawn, options);
    if (options.json) terminal.out(jsonText({ prompt, share, pictures }));
  });
}

function regionOption(text: string, before: Region[] = []): Region[] {
  const numbers = text.split(',').map((part) => (/^\s*\d+\s*$/.test(part) ? Number(part) : NaN));
  const [left, top, width, height] = numbers;
  if (numbers.length !== 4 || numbers.some(Number.isNaN) || width === 0 || height === 0) {
    throw new InvalidArgumentError('Give four whole numbers, such as 16,16,32,32: left, top, width and height.');
  }
  return [...before, { left, top, width, height }];
}

async function maskOf(image: RgbImage, { region, mask }: EditOptions): Promise<PixelMask> {
  const { height, width } = image;
  if (mask !== undefined) {
    const picture = await readPicture(mask);
    const data = Uint8Array.from({ length: picture.height * picture.width }, (_, pixel) =>
      Math.max(...picture.rgb.subarray(3 * pixel, 3 * pixel + 3)),
    );
    return { height: picture.height, width: picture.width, data };
  }
  if (region === undefined) {
    throw new Emu3Error('Nothing says what to draw anew.', {
      code: 'argument',
      where: '--region, --mask',
      fix: 'Give a region or a mask.',
    });
  }
  const data = new Uint8Array(height * width);
  for (const { left, top, width: across, height: down } of region) {
    if (left + across > width || top + down > height) {
      throw new Emu3Error(
        `The region ${[left, top, across, down].join()} leaves the picture of ${width} x ${height}.`,
        {
          code: 'argument',
          where: '--region',
          fix: 'Give left, top, width and height in pixels of the image.',
        },
      );
    }
    for (let row = top; row < top + down; row++) {
      data.fill(1, row * width + left, row * width + left + across);
    }
  }
  return { height, width, data };
}

/** `a/b.jpg`, `-edited` -> `a/b-edited.png`. */
function withSuffix(path: string, suffix: string): string {
  return `${path.replace(/\.[^./\\]*$/, '')}${suffix}.png`;
}
