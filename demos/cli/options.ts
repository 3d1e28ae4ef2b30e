import { InvalidArgumentError, Option, type Command } from 'commander';
import type { AdapterPreference } from '../../engine/adapter/request.node.js';
import { cacheTypes, type CacheType } from '../../engine/decode/index.js';
import { exactWindows } from '../../loader/pipeline/load-options.js';
import type { SamplingOptions } from '../../loader/pipeline/generate.js';
import { weightFormats, type WeightFormat } from '../../loader/pipeline/weights.js';

export interface NumberRange {
  /** Smallest value allowed. */
  from?: number;
  /** Largest value allowed. */
  to?: number;
  /** The smallest value itself is not allowed. */
  exclusive?: boolean;
  whole?: boolean;
}

/** A parser of numbers for options: refuses NaN, infinities and what lies outside the range. */
export function numberOption(range: NumberRange): (text: string) => number {
  const { from = -Infinity, to = Infinity, exclusive = false, whole = false } = range;
  const kind = whole ? 'a whole number' : 'a number';
  const bounds =
    from === -Infinity
      ? ''
      : to === Infinity
        ? ` ${exclusive ? 'above' : 'from'} ${from}${exclusive ? '' : ' up'}`
        : ` ${exclusive ? 'above' : 'from'} ${from} ${exclusive ? 'and up to' : 'to'} ${to}`;
  return (text) => {
    const value = text.trim() === '' ? NaN : Number(text);
    const outside = value < from || value > to || (exclusive && value === from);
    if (!Number.isFinite(value) || outside || (whole && !Number.isSafeInteger(value))) {
      throw new InvalidArgumentError(`Give ${kind}${bounds}.`);
    }
    return value;
  };
}

/** `HxW` in tokens, for example `8x8`. */
export function sizeOption(text: string): { height: number; width: number } {
  const match = /^(\d{1,4})[x*](\d{1,4})$/.exec(text.trim());
  const [height, width] = [Number(match?.[1]), Number(match?.[2])];
  if (!(height >= 1 && width >= 1)) throw new InvalidArgumentError('Give rows x columns in tokens, such as 8x8.');
  return { height, width };
}

/** `W:H`, for example `16:9`. */
export function ratioOption(text: string): string {
  if (!/^\s*[1-9]\d*\s*:\s*[1-9]\d*\s*$/.test(text)) {
    throw new InvalidArgumentError('Give width and height as whole numbers with a colon, such as 1:1 or 16:9.');
  }
  return text.trim();
}

/** How files of clips are named in help texts. */
export const clipKinds = 'animated WebP, GIF or PNG, or a folder of frames';

export const rateOption = (description: string): Option =>
  new Option('--fps <rate>', description).argParser(numberOption({ from: 0, to: 1000, exclusive: true }));

export const adapterOption = (): Option =>
  new Option('--adapter <kind>', 'what computes (default: $EMU3_ADAPTER, else auto)').choices([
    'auto',
    'gpu',
    'lavapipe',
    'swiftshader',
  ]);

export const jsonOption = (): Option => new Option('--json', 'print the result as JSON; messages stay on stderr');

const modelOption = (): Option =>
  new Option(
    '--model <folder>',
    'model folder, or owner/name on the hub (default: the nano model that comes with the package)',
  );

/** What {@link addTokenOptions} adds. */
export interface TokenChoice {
  temperature?: number;
  topK?: number;
  topP?: number;
}

/** What {@link addSamplingOptions} adds. */
export interface SamplingChoice extends SamplingOptions, TokenChoice {
  guidance?: number;
  negative?: string;
}

const asModel = 'default: as the model says';

/** How tokens are drawn; whatever is left out comes from the model's generation_config.json. */
export function addTokenOptions(command: Command, temperature = asModel): Command {
  return command
    .option('--temperature <t>', `0 takes the most probable token (${temperature})`, numberOption({ from: 0 }))
    .option('--top-k <n>', `draw among so many tokens (${asModel})`, numberOption({ from: 1, whole: true }))
    .option(
      '--top-p <p>',
      `draw among tokens of this probability in all (${asModel})`,
      numberOption({ from: 0, to: 1, exclusive: true }),
    );
}

/** How the tokens of pictures are drawn: guidance, and {@link addTokenOptions}. */
export function addSamplingOptions(command: Command): Command {
  command
    .option('--guidance <w>', `weight of the prompt, 1 for none (${asModel})`, numberOption({ from: 0 }))
    .option('--negative <text>', `what guidance steers away from (${asModel})`);
  return addTokenOptions(command);
}

/** The sampling options as the pipeline takes them. */
export function samplingRequest(choice: SamplingChoice): SamplingOptions & {
  guidance?: number;
  negativePrompt?: string;
} {
  const { guidance, negative, temperature, topK, topP } = choice;
  return {
    ...(guidance !== undefined && { guidance }),
    ...(negative !== undefined && { negativePrompt: negative }),
    ...(temperature !== undefined && { temperature }),
    ...(topK !== undefined && { topK }),
    ...(topP !== undefined && { topP }),
  };
}

export const seedOption = (description: string): Option =>
  new Option('--seed <n>', description).argParser(numberOption({ from: 0, to: 2 ** 32 - 1, whole: true }));

/** Options that every command with a model and a device has. */
export interface RunChoice {
  model?: string;
  adapter?: AdapterPreference;
  json?: boolean;
}

export function addRunOptions(command: Command): Command {
  return command.addOption(modelOption()).addOption(adapterOption()).addOption(jsonOption());
}

export const weightsOption = (description: string): Option =>
  new Option('--weights <format>', description).choices([...weightFormats]);

/** `auto`, or sizes with commas, for example `4,8`. */
function windowsOption(text: string): readonly number[] {
  if (text.trim() === 'auto') return exactWindows;
  return text.split(',').map(numberOption({ from: 1, to: 64, whole: true }));
}

/** Options that every command with a transformer has. */
export interface ModelChoice extends RunChoice {
  weights?: WeightFormat;
  cacheType?: CacheType;
  loraFolder?: string;
  windows?: readonly number[];
  stagger?: number;
  cache?: boolean;
  vision?: string;
  memory?: number;
}

/** {@link addRunOptions}, and in what form the transformer is loaded. */
export function addModelOptions(command: Command): Command {
  command
    .addOption(weightsOption('how matrices are kept on the GPU; q8 and q4 pack them while loading (default: f32)'))
    .addOption(
      new Option(
        '--cache-type <type>',
        'how cached keys and values are kept; f16 and q8 take less memory (default: f32)',
      ).choices([...cacheTypes]),
    )
    .option('--lora-folder <folder>', 'folder of low-rank adapters for the model, as PEFT saves them')
    .option(
      '--vision <folder>',
      'vision tokenizer, where the model has none inside: a folder, or owner/name on the hub',
    )
    .option(
      '--memory <GiB>',
      'refuse a model that takes more (default: what is free, where the adapter computes in main memory)',
      numberOption({ from: 0, exclusive: true }),
    )
    .option('--cache', 'keep packed weights on disk for the next time (default: those of 1 GiB and more)')
    .option('--no-cache', 'pack anew')
    .option(
      '--stagger <tokens>',
      'write several lines of a picture at once, each so far behind the one above: faster, other pictures',
      numberOption({ from: 1, whole: true }),
    )
    .option(
      '--windows <sizes>',
      'read several tokens of a picture a step, with the same ids: auto, or sizes',
      windowsOption,
    );
  return addRunOptions(command);
}

export function rewriteOption(): Option {
  return new Option(
    '--rewrite',
    'let the model write the prompt out in full first, with what it sees of what is given, for models that learned to',
  );
}
