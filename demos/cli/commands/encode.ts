import type { Command } from 'commander';
import { spatialFactor } from '../../../engine/models/vision/index.js';
import { Emu3Error } from '../../../kernels/core/errors.js';
import { loadVisionTokenizer, parseTransformerConfig } from '../../../loader/index.node.js';
import { checkFrameRate, pixelsOfFrames, type VideoCodes } from '../../../loader/pipeline/clip.js';
import { readPixelLimits } from '../../../loader/pipeline/parts.js';
import { clipOf } from '../../../loader/pipeline/pixels.js';
import { defaultPixelLimits, prepareImage, type PixelLimits, type Size } from '../../../tokenizer/index.node.js';
import { codesFormat, codesJson, writeCodes, type PictureCodes } from '../codes.js';
import { findModel, requireVision, type ModelParts } from '../model.js';
import { addRunOptions, clipKinds, numberOption, rateOption, type RunChoice } from '../options.js';
import { checkOutput } from '../output.js';
import { percentOn, withProgress } from '../progress.js';
import { withDevice, type Terminal } from '../terminal.js';
import { readVisual } from '../video-input.node.js';

interface EncodeOptions extends RunChoice {
  output?: string;
  minPixels?: number;
  maxPixels?: number;
  fps?: number;
}

export function addEncode(program: Command, terminal: Terminal): void {
  const area = numberOption({ from: 1, whole: true });
  const command = program
    .command('encode')
    .description('turn a picture or a clip into vision tokens')
    .argument('<image>', `PNG, JPEG or WebP, ${clipKinds}; resized to the area the model works at`)
    .option('-o, --output <file>', 'codes as .json or .safetensors (default: the image with .json)')
    .addOption(rateOption('frames a second of a clip (default: as the file says)'))
    .option('--min-pixels <n>', 'smallest area (default: as the model was trained)', area)
    .option('--max-pixels <n>', 'largest area (default: as the model was trained)', area);
  addRunOptions(command).action((image: string, options: EncodeOptions) => encodePicture(terminal, image, options));
}

async function encodePicture(terminal: Terminal, image: string, options: EncodeOptions): Promise<void> {
  const output = options.output ?? image.replace(/\.[^./\\]*$/, '') + '.json';
  codesFormat(output);
  await checkOutput(output);
  const parts = await findModel(options.model, terminal);
  const folder = requireVision(parts);
  const visual = await readVisual(image, options.fps);
  const { signal } = terminal;
  await withDevice(terminal, options, async (device) => {
    const { config, tokenizer } = await loadVisionTokenizer(device, folder, { signal });
    const modelLimits = await readPixelLimits(folder, spatialFactor(config), await imageArea(parts), signal);
    const limits = withAreas(modelLimits, options);
    const done = async (from: Size, pixels: Size, codes: PictureCodes | VideoCodes): Promise<void> => {
      await writeCodes(output, codes);
      const distinct = new Set(codes.codes).size;
      const { height, width } = pixels;
      if (options.json) {
        terminal.out(`${JSON.stringify({ output, pixels: { height, width }, distinct, ...codesJson(codes) })}\n`);
        return;
      }
      const frames = 'frames' in codes ? `${codes.frames}x` : '';
      terminal.out(`${from.height}x${from.width} pixels, resized to ${height}x${width}: `);
      terminal.out(`${frames}${codes.height}x${codes.width} tokens, ${distinct} distinct -> ${output}\n`);
    };
    if ('frames' in visual) {
      const { framesPerSecond } = visual;
      checkFrameRate(framesPerSecond);
      const { pixels, resized } = pixelsOfFrames(visual.frames, config.temporal_downsample_factor, limits);
      const encoded = await withProgress(terminal, 'encoding', visual.frames.length, (bar) =>
        tokenizer.encodeClip(pixels, { signal, onFrames: (count) => bar.update(count, 'frames') }),
      );
      const { frames, height, width, codes } = encoded;
      await done(visual.frames[0], resized[0], { frames, height, width, framesPerSecond, codes });
    } else {
      const prepared = prepareImage(visual, limits);
      const { height, width, codes } = await withProgress(terminal, 'encoding', 100, (bar) =>
        tokenizer.encode(clipOf(prepared), signal, percentOn(bar)),
      );
      await done(visual, prepared, { height, width, codes });
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
