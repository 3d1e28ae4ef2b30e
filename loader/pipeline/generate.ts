/** What a picture to be drawn asks of the decoder, and how its tokens are told as they come. */
import { Emu3Error } from '../../kernels/core/errors.js';
import type { AllowedRange, DecodedBlock } from '../../engine/decode/index.js';
import {
  allowedClass,
  allowedIds,
  calculateGenerateSize,
  generatedLength,
  generationPrompts,
  isVisual,
  type CodeGrid,
  type RgbImage,
  type Size,
  type SpecialTokens,
  type TextTokenizer,
  type TokenClass,
} from '../../tokenizer/index.js';
import { checkCode } from '../../tokenizer/document/segments.js';
import type { VisualPlan } from './decode-visual.js';
import type { GenerationDefaults } from './generation-config.js';

/** How tokens are drawn; what is left out comes from the model's `generation_config.json`. */
export interface SamplingOptions {
  /** 0 takes the most probable token every time. */
  temperature?: number;
  /** Draw among so many of the most probable tokens; 1 or more. */
  topK?: number;
  /** Draw among the fewest tokens that together have this probability, above 0 and at most 1. */
  topP?: number;
  /** 0 to 2^32 - 1. The same seed gives the same picture on the same adapter. Default: random, told in the result. */
  seed?: number;
}

export interface GenerateRequest extends SamplingOptions {
  /** What to draw. */
  prompt: string;
  /** What guidance steers away from. */
  negativePrompt?: string;
  /** Width to height, e.g. `16:9`; the area is the model's. Default `1:1`. */
  ratio?: string;
  /** Size in tokens, instead of a ratio. */
  size?: Size;
  /** Codes that stand, instead of a size; the model draws the others, seeing those before them in raster order. */
  keep?: KeptCodes;
  /** Weight of the prompt over the negative prompt, from 0; 1 is no guidance and takes half the work. */
  guidance?: number;
}

/** A picture in codes of which some are kept. */
export interface KeptCodes extends CodeGrid {
  /** `[height][width]`; 0 where the model draws. */
  kept: ArrayLike<number>;
}

/** One token of a picture, as it becomes known. */
export interface TokenEvent {
  /** Index of the picture in its batch. */
  picture: number;
  /** From 0. */
  step: number;
  /** Tokens of the picture in all. */
  steps: number;
  id: number;
  /** Place in the grid and codebook entry, for visual tokens. */
  visual?: { row: number; column: number; code: number };
}

/** One finished row of a picture. */
export interface RowEvent {
  picture: number;
  row: number;
  /** Rows in all. */
  rows: number;
  /** Codebook entries of the row, [width]. */
  codes: Uint32Array;
}

/** How far a picture's codes are turned into pixels. */
export interface PixelsEvent {
  picture: number;
  /** Operations done and in all, of this picture. */
  done: number;
  total: number;
}

export interface GenerateEvents {
  signal?: AbortSignal;
  onToken?: (event: TokenEvent) => void;
  onRow?: (event: RowEvent) => void;
  /** Told after each part of a picture's decoding, at least once a picture. */
  onPixels?: (event: PixelsEvent) => void;
}

export interface GeneratedImage {
  prompt: string;
  seed: number;
  /** In tokens. */
  size: Size;
  /** What the model wrote after the prompt: rows and their ends, end of frame, image end, end. */
  ids: Uint32Array;
  /** Codebook entries, [height][width]. */
  codes: Uint32Array;
  image: RgbImage;
}

/** A picture's part in a batch. */
export interface PicturePlan extends VisualPlan {
  request: GenerateRequest;
  seed: number;
}

export interface PlanContext {
  tokenizer: TextTokenizer;
  defaults: GenerationDefaults;
  imageArea: number;
  /** Pixels along one side of a token. */
  factor: number;
  contextLength: number;
}

/**
 * @param steps of the longest picture of the batch: the others are padded to it
 * @throws Emu3Error `prompt` for an empty prompt or one that does not fit the context, `argument` for a bad size or ratio.
 */
export function planPictures(requests: readonly GenerateRequest[], context: PlanContext): PicturePlan[] {
  if (requests.length === 0) {
    throw new Emu3Error('There is nothing to draw.', { code: 'argument', where: 'requests', fix: 'Give a prompt.' });
  }
  const sizes = requests.map((request) => sizeOf(request, context));
  const longest = Math.max(...sizes.map(generatedLength));
  return requests.map((request, index): PicturePlan => {
    const size = sizes[index];
    const { tokenizer, defaults, contextLength } = context;
    const { conditional, unconditional, newTokens } = generationPrompts(tokenizer, {
      prompt: request.prompt,
      negativePrompt: request.negativePrompt ?? defaults.negativePrompt,
      size,
      contextLength,
    });
    const sampling = { ...samplingOf(request, defaults), guidance: request.guidance ?? defaults.guidance };
    return {
      request,
      seed: sampling.seed,
      size,
      steps: newTokens,
      lines: pictureLines(size),
      guidance: sampling.guidance,
      sequence: {
        prompt: conditional,
        negativePrompt: unconditional,
        sampling,
        allowed: pictureGrammar(size, tokenizer.special, longest, request.keep),
      },
    };
  });
}

/** Tokens of a picture's lines: rows with their ends, and what closes it. */
function pictureLines({ height, width }: Size): number[] {
  const rows = Array.from({ length: height }, () => width + 1);
  return [...rows, generatedLength({ height, width }) - height * (width + 1)];
}

/** 0 to 2^32 - 1. */
export function randomSeed(): number {
  return crypto.getRandomValues(new Uint32Array(1))[0];
}

/** Settings of a request over the model's own; a seed is drawn where none is given. */
export function samplingOf(
  options: SamplingOptions,
  defaults: Pick<GenerationDefaults, 'temperature' | 'topK' | 'topP'>,
): { seed: number; temperature: number; topK?: number; topP: number } {
  const topK = options.topK ?? defaults.topK;
  return {
    seed: options.seed ?? randomSeed(),
    temperature: options.temperature ?? defaults.temperature,
    topP: options.topP ?? defaults.topP,
    ...(topK === undefined ? {} : { topK }),
  };
}

/**
 * Size of the picture in tokens.
 * @throws Emu3Error as {@link planPictures}.
 */
export function sizeOf(
  { size, ratio, keep }: GenerateRequest,
  { imageArea, factor, tokenizer }: Pick<PlanContext, 'imageArea' | 'factor' | 'tokenizer'>,
): Size {
  if (keep !== undefined) {
    if (size === undefined && ratio === undefined) return checkKept(keep, tokenizer.special.visualCount);
    throw new Emu3Error('Both a size and codes to keep were given.', {
      code: 'argument',
      where: 'keep',
      fix: 'Leave out size and ratio: the codes have a size.',
    });
  }
  if (size === undefined) return calculateGenerateSize(ratio ?? '1:1', imageArea, factor);
  if (ratio === undefined) return size;
  throw new Emu3Error('Both a size and a ratio were given.', { code: 'argument', where: 'size', fix: 'Give one.' });
}

/** @throws Emu3Error `shape` for grids of other lengths than they say, `token` for codes beyond the codebook. */
function checkKept({ height, width, codes, kept }: KeptCodes, codebookSize: number): Size {
  const count = height * width;
  if (codes.length !== count || kept.length !== count) {
    throw new Emu3Error(`${codes.length} codes and ${kept.length} marks were given for ${height} x ${width} tokens.`, {
      code: 'shape',
      where: 'keep',
      fix: 'Give one code and one mark for every token.',
    });
  }
  for (let place = 0; place < count; place++) {
    if (kept[place] !== 0) checkCode(codes[place], codebookSize, `keep, code ${place}`);
  }
  return { height, width };
}

/**
 * The ids allowed at each step of a picture, of which the sampler's table is made: the grammar is a function of the
 * distance from the image token alone, so the host knows it all beforehand. A picture that has ended is padded. Where a
 * code is kept it is the only one allowed.
 */
export function pictureGrammar(
  size: Size,
  special: SpecialTokens,
  steps: number,
  keep?: Pick<KeptCodes, 'codes' | 'kept'>,
): AllowedRange[] {
  const ranges: AllowedRange[] = [];
  let ended = false;
  for (let offset = 1; offset <= steps; offset++) {
    const kind: TokenClass = ended ? 'pad' : allowedClass(offset, size.height, size.width);
    const { first, count } = allowedIds(kind, special);
    const place = Math.floor((offset - 1) / (size.width + 1)) * size.width + ((offset - 1) % (size.width + 1));
    if (keep !== undefined && kind === 'visual' && keep.kept[place] !== 0) {
      ranges.push([first + keep.codes[place], first + keep.codes[place] + 1]);
    } else {
      ranges.push([first, first + count]);
    }
    ended ||= kind === 'eos';
  }
  return ranges;
}

/** Collects the ids of a batch of pictures and tells them. */
export class PictureCollector {
  /** Ids of each picture, padding left out. */
  readonly ids: readonly Uint32Array[];
  /** Codebook entries of each picture. */
  readonly codes: readonly Uint32Array[];
  private readonly plans: readonly PicturePlan[];
  private readonly special: SpecialTokens;
  private readonly events: GenerateEvents;

  constructor(plans: readonly PicturePlan[], special: SpecialTokens, events: GenerateEvents) {
    this.plans = plans;
    this.special = special;
    this.events = events;
    this.ids = plans.map(({ steps }) => new Uint32Array(steps));
    this.codes = plans.map(({ size }) => new Uint32Array(size.height * size.width));
  }

  add(block: DecodedBlock): void {
    const length = block.ids[0].length;
    for (let index = 0; index < length; index++) {
      for (let picture = 0; picture < this.plans.length; picture++) {
        this.addToken(picture, block.firstStep + index, block.ids[picture][index]);
      }
    }
  }

  private addToken(picture: number, step: number, id: number): void {
    const { size, steps } = this.plans[picture];
    if (step >= steps) return;
    this.ids[picture][step] = id;
    const row = Math.floor(step / (size.width + 1));
    const column = step % (size.width + 1);
    const event: TokenEvent = { picture, step, steps, id };
    if (row < size.height && isVisual(id, this.special)) {
      const code = id - this.special.visualStart;
      this.codes[picture][row * size.width + column] = code;
      event.visual = { row, column, code };
    }
    this.events.onToken?.(event);
    if (row < size.height && column === size.width) {
      const codes = this.codes[picture].slice(row * size.width, (row + 1) * size.width);
      this.events.onRow?.({ picture, row, rows: size.height, codes });
    }
  }
}
