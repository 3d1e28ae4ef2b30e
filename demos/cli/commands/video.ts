import { Option, type Command } from 'commander';
import { lastFrames, type VideoCodes } from '../../../loader/pipeline/clip.js';
import type { Emu3 } from '../../../loader/pipeline/emu3.js';
import type { PromptToRewrite } from '../../../loader/pipeline/rewrite.js';
import type { VideoEvents } from '../../../loader/pipeline/video-collector.js';
import {
  argument,
  type DrawnVideo,
  type ExtendRequest,
  type VideoRequest,
} from '../../../loader/pipeline/video-request.js';
import type { CodeClip } from '../../../tokenizer/index.js';
import { codesJson, isCodesFile, readClipCodes } from '../codes.js';
import { addDrawingOptions, comfortableScale, seedsFrom, type DrawingChoice } from '../drawn.js';
import { withModel } from '../open-model.js';
import {
  clipKinds,
  numberOption,
  rateOption,
  ratioOption,
  rewriteOption,
  samplingRequest,
  sizeOption,
} from '../options.js';
import { jsonText } from '../output.js';
import { withProgress } from '../progress.js';
import { formatSeconds } from '../report.js';
import type { Terminal } from '../terminal.js';
import { readClip, readVisual } from '../video-input.node.js';
import { checkVideoOutput, checkVideoRate, writeVideo } from '../video-output.node.js';

interface VideoOptions extends DrawingChoice {
  output: string;
  frames?: number;
  seconds?: number;
  fps?: number;
  ratio?: string;
  size?: { height: number; width: number };
  first?: string;
  rewrite?: boolean;
}

interface ExtendOptions extends DrawingChoice {
  output: string;
  frames: number;
  times: number;
  context?: number;
  prompt?: string;
  rewrite?: boolean;
  fps?: number;
}

const defaultFrames = 12;
const defaultRate = 8;

const outputText = 'animated .webp, .gif or .png, or a folder for the frames, whose name has no ending';

export function addVideo(program: Command, terminal: Terminal): void {
  const command = program
    .command('video')
    .description('draw a video from a text, and from a picture or a clip that it begins with')
    .argument('<prompt>', 'what to show')
    .requiredOption('-o, --output <file>', outputText)
    .addOption(
      new Option('--frames <n>', `frames in all, a multiple of 4 (default: ${defaultFrames})`)
        .argParser(numberOption({ from: 1, whole: true }))
        .conflicts('seconds'),
    )
    .option('--seconds <s>', 'length, instead of frames', numberOption({ from: 0, exclusive: true }))
    .addOption(rateOption(`frames a second (default: ${defaultRate}, or as the clip it begins with)`))
    .addOption(
      new Option('--ratio <w:h>', 'width to height (default: 1:1)').argParser(ratioOption).conflicts(['size', 'first']),
    )
    .addOption(
      new Option('--size <rows x columns>', 'size in tokens, such as 8x8').argParser(sizeOption).conflicts('first'),
    )
    .option(
      '--first <file>',
      `what it begins with: PNG, JPEG or WebP, ${clipKinds}, or codes of a clip; then without guidance unless told`,
    )
    .addOption(rewriteOption());
  addDrawingOptions(command).action((prompt: string, options: VideoOptions) => video(terminal, prompt, options));
}

export function addExtend(program: Command, terminal: Terminal): void {
  const command = program
    .command('extend')
    .description('continue a clip, any number of times, without guidance unless told')
    .argument('<clip>', `${clipKinds}, or codes that \`emu3 encode\` wrote, which are kept exactly`)
    .requiredOption('-o, --output <file>', outputText)
    .option(
      '--frames <n>',
      'frames that each repetition adds, a multiple of 4',
      numberOption({ from: 1, whole: true }),
      8,
    )
    .option('--times <n>', 'repetitions', numberOption({ from: 1, whole: true }), 1)
    .option(
      '--context <n>',
      'latent frames (of 4 frames each) that the model sees of the clip, at most (default: as many as fit)',
      numberOption({ from: 1, whole: true }),
    )
    .option('--prompt <text>', 'what to show (default: nothing said)')
    .addOption(rewriteOption())
    .addOption(rateOption('frames a second of the clip (default: as the file says)'));
  addDrawingOptions(command).action((clip: string, options: ExtendOptions) => extend(terminal, clip, options));
}

async function video(terminal: Terminal, prompt: string, options: VideoOptions): Promise<void> {
  const { output, frames, seconds, ratio, size, fps } = options;
  await checkVideoOutput(output);
  const begun = options.first === undefined ? undefined : await readBeginning(options.first, fps);
  const framesPerSecond = fps ?? begun?.framesPerSecond ?? defaultRate;
  checkVideoRate(output, framesPerSecond);
  const [seed] = seedsFrom(options.seed, 1);
  const request: VideoRequest = {
    prompt,
    framesPerSecond,
    seed,
    ...samplingRequest(options),
    ...(seconds === undefined ? { frames: frames ?? defaultFrames } : { seconds }),
    ...(ratio && { ratio }),
    ...(size && { size }),
    ...(begun && { first: begun.first }),
  };
  await draw(terminal, options, async (emu3, events) => {
    if (!options.rewrite) return emu3.generateVideo({ ...request, ...events });
    const first = begun && (await beginningOf(emu3, begun.first, framesPerSecond, terminal));
    const told = await toldInFull(emu3, { prompt, seed, ...(first && { beginning: first }) }, options, terminal);
    return emu3.generateVideo({ ...request, prompt: told, ...(first && { first }), ...events });
  });
}

async function extend(terminal: Terminal, path: string, options: ExtendOptions): Promise<void> {
  const { output, frames, times, context, prompt, fps, rewrite } = options;
  if (rewrite && prompt === undefined) {
    throw argument('--rewrite', 'There is no prompt to rewrite.', 'Give one with --prompt.');
  }
  await checkVideoOutput(output);
  const clip = isCodesFile(path) ? withRate(await readClipCodes(path), fps) : await readClip(path, fps);
  checkVideoRate(output, clip.framesPerSecond);
  const [seed] = seedsFrom(options.seed, 1);
  const request: ExtendRequest = {
    clip,
    newFrames: frames,
    times,
    seed,
    ...samplingRequest(options),
    ...(context !== undefined && { contextFrames: context }),
    ...(prompt !== undefined && { prompt }),
  };
  await draw(terminal, options, async (emu3, events) => {
    if (!rewrite || prompt === undefined) return emu3.extendVideo({ ...request, ...events });
    const codes = await beginningOf(emu3, 'codes' in clip ? clip : clip.frames, clip.framesPerSecond, terminal);
    const beginning = lastFrames(codes, context ?? codes.frames);
    const told = await toldInFull(emu3, { prompt, seed, beginning }, options, terminal);
    return emu3.extendVideo({ ...request, clip: codes, prompt: told, ...events });
  });
}

/** The prompt as the model writes it out in full, which is told unless JSON is asked for. */
async function toldInFull(
  emu3: Emu3,
  asked: PromptToRewrite,
  { json }: { json?: boolean },
  terminal: Terminal,
): Promise<string> {
  const [told] = await emu3.rewritePrompts([asked], { signal: terminal.signal });
  if (!json) terminal.out(`drawing "${told}"\n`);
  return told;
}

/** What a video begins with in codes, so that it is seen as it will be kept; a picture is a latent frame of equal frames. */
function beginningOf(
  emu3: Emu3,
  first: NonNullable<VideoRequest['first']>,
  framesPerSecond: number,
  { signal }: Terminal,
): CodeClip | Promise<CodeClip> {
  if ('codes' in first) return first;
  const frames =
    'rgb' in first ? Array.from({ length: emu3.vision.config.temporal_downsample_factor }, () => first) : first;
  return emu3.encodeClip(frames, { framesPerSecond, signal });
}

/** What a video begins with, and its frame rate if it has one. */
async function readBeginning(
  path: string,
  fps: number | undefined,
): Promise<{ first: NonNullable<VideoRequest['first']>; framesPerSecond?: number }> {
  if (isCodesFile(path)) {
    const first = withRate(await readClipCodes(path), fps);
    return { first, framesPerSecond: first.framesPerSecond };
  }
  const visual = await readVisual(path, fps);
  if ('rgb' in visual) return { first: visual };
  return { first: visual.frames, framesPerSecond: visual.framesPerSecond };
}

function withRate(codes: VideoCodes, fps: number | undefined): VideoCodes {
  return fps === undefined ? codes : { ...codes, framesPerSecond: fps };
}

/** Draws before anything is written, so that a stop leaves no file. */
async function draw(
  terminal: Terminal,
  options: DrawingChoice & { output: string },
  run: (emu3: Emu3, events: VideoEvents) => Promise<DrawnVideo>,
): Promise<void> {
  const { signal } = terminal;
  const { output } = options;
  await withModel(terminal, options, async (emu3, device) => {
    const started = performance.now();
    let tokens = 0;
    const drawn = await withProgress(terminal, 'drawing', 1, (bar) =>
      run(emu3, {
        signal,
        onToken: ({ steps }) => bar.update(++tokens, 'tokens', steps),
        onPixels: ({ done, total }) => bar.update(done, 'frames', total),
      }),
    );
    const seconds = (performance.now() - started) / 1000;
    const { frames, framesPerSecond, seed, clip, kept } = drawn;
    const [image] = frames;
    const scale = options.scale ?? comfortableScale(image);
    await writeVideo(output, drawn, scale);
    const pixels = { height: image.height * scale, width: image.width * scale };
    if (options.json) {
      const adapter = device.choice.description;
      const written = { output, prompt: drawn.prompt, seed, frames: frames.length, framesPerSecond, pixels, scale };
      terminal.out(jsonText({ ...written, adapter, tokens, seconds, kept, clip: codesJson(clip) }));
      return;
    }
    const length = `${frames.length} frames at ${framesPerSecond} a second`;
    terminal.out(`${output}: ${length}, ${pixels.height}x${pixels.width} pixels; seed ${seed}\n`);
    terminal.out(`${tokens} tokens in ${formatSeconds(seconds)}\n`);
  });
}
