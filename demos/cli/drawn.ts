import { Option, type Command } from 'commander';
import { randomSeed, type GeneratedImage } from '../../loader/pipeline/generate.js';
import type { Size } from '../../tokenizer/index.node.js';
import {
  addModelOptions,
  addSamplingOptions,
  numberOption,
  seedOption,
  type ModelChoice,
  type SamplingChoice,
} from './options.js';
import { writeOutput } from './output.js';
import { encodePng } from './pictures.js';
import type { Terminal } from './terminal.js';

/** Shorter side that written pictures have at least, unless a scale is given: small ones are hard to look at. */
const comfortableSide = 256;

const scaleOption = (): Option =>
  new Option(
    '--scale <n>',
    `write every pixel as n x n pixels (default: until the shorter side has ${comfortableSide})`,
  ).argParser(numberOption({ from: 1, to: 64, whole: true }));

/** What {@link addDrawingOptions} adds. */
export interface DrawingChoice extends ModelChoice, SamplingChoice {
  output?: string;
  scale?: number;
}

/** Options of every command that draws: seed, scale, sampling, model and adapter. */
export function addDrawingOptions(command: Command): Command {
  command
    .addOption(seedOption('the same seed gives the same picture on the same adapter (default: random, printed)'))
    .addOption(scaleOption());
  return addModelOptions(addSamplingOptions(command));
}

/** Seeds of `count` pictures, one after the other from the given one or a random one. */
export function seedsFrom(seed: number | undefined, count: number): number[] {
  const first = seed ?? randomSeed();
  return Array.from({ length: count }, (_, index) => (first + index) % 2 ** 32);
}

/** How many times a picture is enlarged unless told. */
export function comfortableScale({ height, width }: Size): number {
  return Math.max(1, Math.ceil(comfortableSide / Math.min(height, width)));
}

/** Writes drawn pictures as PNG, numbered when there are several, and tells of each unless JSON is asked for. */
export async function writePictures(
  terminal: Terminal,
  output: string,
  pictures: readonly GeneratedImage[],
  options: DrawingChoice,
): Promise<object[]> {
  const written: object[] = [];
  for (const [index, { seed, size, image, codes }] of pictures.entries()) {
    const file = pictures.length === 1 ? output : numbered(output, index + 1);
    const scale = options.scale ?? comfortableScale(image);
    await writeOutput(file, await encodePng(image, scale));
    const pixels = { height: image.height * scale, width: image.width * scale };
    written.push({ output: file, seed, tokens: size, pixels, scale, codes: [...codes] });
    if (options.json) continue;
    const enlarged = scale === 1 ? '' : `, each pixel of the model's ${image.height}x${image.width} ${scale} times`;
    terminal.out(`${file}: ${pixels.height}x${pixels.width} pixels${enlarged}; seed ${seed}\n`);
  }
  return written;
}

function numbered(path: string, number: number): string {
  const dot = path.lastIndexOf('.');
  const hasEnding = dot > Math.max(path.lastIndexOf('/'), path.lastIndexOf('\\')) + 1;
  return hasEnding ? `${path.slice(0, dot)}-${number}${path.slice(dot)}` : `${path}-${number}`;
}
