import type { Command } from 'commander';
import { loadVisionTokenizer } from '../../../loader/index.node.js';
import { checkCodeClip, framesOf } from '../../../loader/pipeline/clip.js';
import { imagesOf } from '../../../loader/pipeline/pixels.js';
import type { Size } from '../../../tokenizer/index.node.js';
import { readCodes } from '../codes.js';
import { findModel, requireVision } from '../model.js';
import { addRunOptions, numberOption, type RunChoice } from '../options.js';
import { checkOutput, writeOutput } from '../output.js';
import { encodePng } from '../pictures.js';
import { percentOn, withProgress } from '../progress.js';
import { withDevice, type Terminal } from '../terminal.js';
import { checkVideoOutput, writeVideo } from '../video-output.node.js';

interface DecodeOptions extends RunChoice {
  output?: string;
  scale: number;
}

export function addDecode(program: Command, terminal: Terminal): void {
  const command = program
    .command('decode')
    .description('turn vision tokens back into a picture or a clip')
    .argument('<codes>', 'a .json or .safetensors file that `emu3 encode` wrote')
    .option(
      '-o, --output <file>',
      'PNG file; of a clip .webp, .gif, .png or a folder (default: the codes with .png, of a clip with .webp)',
    )
    .option('--scale <n>', 'write every pixel as n x n pixels', numberOption({ from: 1, to: 64, whole: true }), 1);
  addRunOptions(command).action((codes: string, options: DecodeOptions) => decodeCodes(terminal, codes, options));
}

async function decodeCodes(terminal: Terminal, path: string, options: DecodeOptions): Promise<void> {
  const codes = await readCodes(path);
  const isClip = 'frames' in codes;
  const output = options.output ?? path.replace(/\.[^./\\]*$/, '') + (isClip ? '.webp' : '.png');
  await (isClip ? checkVideoOutput(output) : checkOutput(output));
  const folder = requireVision(await findModel(options.model, terminal));
  const { signal } = terminal;
  await withDevice(terminal, options, async (device) => {
    const { tokenizer } = await loadVisionTokenizer(device, folder, { signal });
    const { scale, json } = options;
    const tell = (what: object, tokens: string, { height, width }: Size): void => {
      const size = { height: height * scale, width: width * scale };
      if (json) terminal.out(`${JSON.stringify({ output, ...size, ...what })}\n`);
      else terminal.out(`${tokens} tokens -> ${size.height}x${size.width} pixels -> ${output}\n`);
    };
    const { height, width } = codes;
    if ('frames' in codes) {
      checkCodeClip(codes, tokenizer.config.codebook_size, path);
      const { framesPerSecond } = codes;
      const frames = framesOf(await tokenizer.decodeClip({ ...codes, batch: 1 }, { signal }));
      await writeVideo(output, { frames, framesPerSecond }, scale);
      tell({ frames: frames.length, framesPerSecond }, `${codes.frames}x${height}x${width}`, frames[0]);
    } else {
      const grid = { batch: 1, frames: 1, height, width, codes: codes.codes };
      const clip = await withProgress(terminal, 'decoding', 100, (bar) =>
        tokenizer.decode(grid, true, signal, percentOn(bar)),
      );
      const [picture] = imagesOf(clip);
      await writeOutput(output, await encodePng(picture, scale));
      tell({}, `${height}x${width}`, picture);
    }
  });
}
