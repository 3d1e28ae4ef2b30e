import type { Command } from 'commander';
import { spatialFactor } from '../../../engine/models/vision/index.js';
import { Emu3Error } from '../../../kernels/core/errors.js';
import { loadVisionTokenizer, parseTransformerConfig } from '../../../loader/index.node.js';
import { readPixelLimits } from '../../../loader/pipeline/parts.js';
import { clipOf } from '../../../loader/pipeline/pixels.js';
import { defaultPixelLimits, prepareImage, type PixelLimits } from '../../../tokenizer/index.node.js';
import { codesFormat, codesJson, writeCodes } from '../codes.js';
import { findModel, requireVision, type ModelParts } from '../model.js';
import { addRunOptions, numberOption, type RunChoice } from '../options.js';
import { checkOutput } from '../output.js';
import { readPicture } from '../pictures.js';
import { withDevice, type Terminal } from '../terminal.js';

interface EncodeOptions extends RunChoice {
  output?: string;
  minPixels?: number;
  maxPixels?: number;
}

export function addEncode(program: Command, terminal: Terminal): void {
  const area = numberOption({ from: 1, whole: true });
  const command = program
    .command('encode')
    .description('turn a picture into vision tokens')
    .argument('<image>', 'PNG, JPEG or WebP; resized to the area the model works at')
    .option('-o, --output <file>', 'codes as .json or .safetensors (default: the image with .json)')
    .option('--min-pixels <n>', 'smallest area (default: as the model was trained)', area)
    .option('--max-pixels <n>', 'largest area (default: as the model was trained)', area);
  addRunOptions(command).action((image: string, options: EncodeOptions) => encodePicture(terminal, image, options));
}

async function encodePicture(terminal: Terminal, image: string, options: EncodeOptions): Promise<void> {
  const output = options.output ?? image.replace(/\.[^./\\]*$/, '') + '.json';
  codesFormat(output);
  await checkOutput(output);
  const parts = await findModel(options.model);
  const folder = requireVision(parts);
  const picture = await readPicture(image);
  const { signal } = terminal;
  await withDevice(terminal, options, async (device) => {
    const { config, tokenizer } = await loadVisionTokenizer(device, folder, { signal });
    const limits = await readPixelLimits(folder, spatialFactor(config), await imageArea(parts), signal);
    const prepared = prepareImage(picture, withAreas(limits, options));
    const { height, width, codes } = await tokenizer.encode(clipOf(prepared), signal);
    await writeCodes(output, { height, width, codes });
    const distinct = new Set(codes).size;
    if (options.json) {
      const pixels = { height: prepared.height, width: prepared.width };
      terminal.out(`${JSON.stringify({ output, pixels, distinct, ...codesJson({ height, width, codes }) })}\n`);
    } else {
      const from = `${picture.height}x${picture.width}`;
      terminal.out(`${from} pixels, resized to ${prepared.height}x${prepared.width}: `);
      terminal.out(`${height}x${width} tokens, ${distinct} distinct -> ${output}\n`);
    }
  });
}

/** @throws Emu3Error `argument` when the smallest area is above the largest. */
function withAreas(limits: PixelLimits, { minPixels, maxPixels }: EncodeOptions): PixelLimits {
  if (minPixels !== undefined && maxPixels !== undefined && minPixels > maxPixels) {
    throw new Emu3Error(`At least ${minPixels} and at most ${maxPixels} pixels cannot both hold.`, {
      code: 'argument',
      where: '--min-pixels, --max-pixels',
      fix: 'Let the smallest area be at most the largest.',
    });
  }
  // One given bound moves the model's other one where they would cross.
  return {
    ...limits,
    minPixels: minPixels ?? Math.min(limits.minPixels, maxPixels ?? Infinity),
    maxPixels: maxPixels ?? Math.max(limits.maxPixels, minPixels ?? 0),
  };
}

/** Pixels of the pictures the model was trained on; of a vision tokenizer alone, what the released ones take. */
async function imageArea({ transformer }: ModelParts): Promise<number> {
  if (transformer === undefined) return defaultPixelLimits.minPixels;
  const config = parseTransformerConfig(await transformer.readText('config.json'), `${transformer.name}/config.json`);
  return config.image_area;
}
