import type { Command } from 'commander';
import { loadVisionTokenizer } from '../../../loader/index.node.js';
import { imagesOf } from '../../../loader/pipeline/pixels.js';
import { readCodes } from '../codes.js';
import { findModel, requireVision } from '../model.js';
import { addRunOptions, numberOption, type RunChoice } from '../options.js';
import { checkOutput, writeOutput } from '../output.js';
import { encodePng } from '../pictures.js';
import { withDevice, type Terminal } from '../terminal.js';

interface DecodeOptions extends RunChoice {
  output?: string;
  scale: number;
}

export function addDecode(program: Command, terminal: Terminal): void {
  const command = program
    .command('decode')
    .description('turn vision tokens back into a picture')
    .argument('<codes>', 'a .json or .safetensors file that `emu3 encode` wrote')
    .option('-o, --output <file>', 'PNG file (default: the codes with .png)')
    .option('--scale <n>', 'write every pixel as n x n pixels', numberOption({ from: 1, to: 64, whole: true }), 1);
  addRunOptions(command).action((codes: string, options: DecodeOptions) => decodeCodes(terminal, codes, options));
}

async function decodeCodes(terminal: Terminal, path: string, options: DecodeOptions): Promise<void> {
  const output = options.output ?? path.replace(/\.[^./\\]*$/, '') + '.png';
  await checkOutput(output);
  const folder = requireVision(await findModel(options.model));
  const { height, width, codes } = await readCodes(path);
  const { signal } = terminal;
  await withDevice(terminal, options, async (device) => {
    const { tokenizer } = await loadVisionTokenizer(device, folder, { signal });
    const clip = await tokenizer.decode({ batch: 1, frames: 1, height, width, codes }, true, signal);
    const [picture] = imagesOf(clip);
    await writeOutput(output, await encodePng(picture, options.scale));
    const size = { height: picture.height * options.scale, width: picture.width * options.scale };
    if (options.json) terminal.out(`${JSON.stringify({ output, ...size })}\n`);
    else terminal.out(`${height}x${width} tokens -> ${size.height}x${size.width} pixels -> ${output}\n`);
  });
}
