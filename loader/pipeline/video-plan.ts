/** What a video to be drawn asks of the decoder: size, prompts, grammar, and whether it fits the context. */
import { Emu3Error } from '../../kernels/core/errors.js';
import type { AllowedRange } from '../../engine/decode/index.js';
import {
  allowedIds,
  allowedVideoClass,
  documentIds,
  generatedVideoLength,
  latentFrameLength,
  videoPrompt,
  type CodeClip,
  type Size,
  type SpecialTokens,
} from '../../tokenizer/index.js';
import type { VisualPlan } from './decode-visual.js';
import { samplingOf, type PlanContext, type SamplingOptions } from './generate.js';

/** Settings of one sequence of visual tokens. */
export interface VideoSettings extends SamplingOptions {
  /** What guidance steers away from. */
  negativePrompt?: string;
  /**
   * Weight of the prompt over the negative prompt, from 0; 1 is no guidance and takes half the work. Default: 1 where the
   * beginning is given and no negative prompt, as guidance pulls what is seen towards a prompt that says less of it; else what
   * the model says.
   */
  guidance?: number;
}

/** A video that is begun, or yet to begin. */
export interface VideoOutline extends Omit<CodeClip, 'codes'> {
  prompt: string;
  /** Codes of the latent frames that are there, `[frames][height][width]`. */
  begun: Uint32Array;
}

export interface VideoPlan extends VisualPlan {
  outline: VideoOutline;
  /** Latent frames that are there. */
  begunFrames: number;
  seed: number;
}

/** @param temporal frames that become one latent frame. */
export type VideoPlanContext = PlanContext & { temporal: number };

/** @throws Emu3Error `prompt` when the video does not fit the context, `token` for a code beyond the codebook. */
export function planVideo(outline: VideoOutline, settings: VideoSettings, context: VideoPlanContext): VideoPlan {
  const { prompt, begun, ...clip } = outline;
  const { tokenizer, defaults } = context;
  const begunFrames = begun.length / (clip.height * clip.width);
  const idsOf = (text: string): number[] => documentIds(videoPrompt(text, clip, begun), tokenizer);
  const conditional = idsOf(prompt);
  const unconditional = idsOf(settings.negativePrompt ?? defaults.negativePrompt);
  const longest = Math.max(conditional.length, unconditional.length) - begunFrames * latentFrameLength(clip);
  checkVideoContext(longest, clip, begunFrames, context);
  const isUnguided = begunFrames > 0 && settings.negativePrompt === undefined;
  const guidance = settings.guidance ?? (isUnguided ? 1 : defaults.guidance);
  const sampling = { ...samplingOf(settings, defaults), guidance };
  return {
    outline,
    begunFrames,
    size: { height: clip.height, width: clip.width },
    steps: generatedVideoLength(clip, clip.frames - begunFrames),
    lines: videoLines(clip, clip.frames - begunFrames),
    seed: sampling.seed,
    guidance,
    sequence: {
      prompt: conditional,
      negativePrompt: unconditional,
      sampling,
      allowed: videoGrammar(clip, begunFrames, tokenizer.special),
    },
  };
}

/**
 * Most latent frames that may be kept as context of so many new ones, at most `available`; 1 when not even that fits, so
 * that planning tells why.
 */
export function fittingContext(
  outline: Omit<VideoOutline, 'begun' | 'frames'>,
  newFrames: number,
  available: number,
  settings: VideoSettings,
  { tokenizer, defaults, contextLength }: VideoPlanContext,
): number {
  const texts = [outline.prompt, settings.negativePrompt ?? defaults.negativePrompt];
  for (let kept = available; kept > 1; kept--) {
    const frames = kept + newFrames;
    const tokens = generatedVideoLength(outline, frames);
    if (tokens >= contextLength) continue;
    const headers = texts.map((text) => documentIds(videoPrompt(text, { ...outline, frames }), tokenizer).length);
    if (Math.max(...headers) + tokens <= contextLength) return kept;
  }
  return 1;
}

/** Tokens of the lines of so many latent frames: rows with their ends, each frame's end, and what closes the video. */
function videoLines(size: Size, frames: number): number[] {
  const rows = Array.from({ length: size.height }, () => size.width + 1);
  const ofFrames = Array.from({ length: frames }, () => [...rows, 1]).flat();
  return [...ofFrames, generatedVideoLength(size, 0)];
}

/** The ids allowed at each step of what is still to be written, and padding behind it. */
function videoGrammar(
  { height, width, frames }: Omit<CodeClip, 'codes'>,
  begunFrames: number,
  special: SpecialTokens,
): AllowedRange[] {
  const steps = generatedVideoLength({ height, width }, frames - begunFrames);
  const before = begunFrames * latentFrameLength({ height, width });
  return Array.from({ length: steps + 1 }, (_, step): AllowedRange => {
    const kind = allowedVideoClass(before + step + 1, frames, height, width);
    const { first, count } = allowedIds(kind, special);
    return [first, first + count];
  });
}

/** @param promptTokens of the longer prompt, without the latent frames that are there. */
function checkVideoContext(
  promptTokens: number,
  clip: Size & { frames: number },
  begunFrames: number,
  { contextLength, temporal }: VideoPlanContext,
): void {
  const { height, width, frames } = clip;
  const tokens = promptTokens + generatedVideoLength(clip, frames);
  if (tokens <= contextLength) return;
  const fitting = Math.floor((contextLength - promptTokens - generatedVideoLength(clip, 0)) / latentFrameLength(clip));
  throw new Emu3Error(
    `${frames * temporal} frames of ${height} x ${width} tokens take ${tokens} tokens with their prompt, above the ` +
      `context of ${contextLength}.`,
    { code: 'prompt', where: 'frames', fix: remedy(fitting, begunFrames, temporal) },
  );
}

function remedy(fitting: number, begunFrames: number, temporal: number): string {
  if (fitting < 1 || (begunFrames > 0 && fitting < 2)) {
    return 'Choose a smaller size or a shorter prompt: not even the shortest video fits.';
  }
  if (begunFrames === 0) return `At most ${fitting * temporal} frames fit: ask for fewer, or for a smaller size.`;
  if (fitting > begunFrames) {
    const fresh = (fitting - begunFrames) * temporal;
    return `At most ${fresh} new frames fit behind the ${begunFrames * temporal} that are there: ask for fewer.`;
  }
  return `At most ${fitting * temporal} frames fit in all, and ${begunFrames * temporal} are there: keep fewer as context.`;
}
