/** What is asked of videos and what comes back. */
import { Emu3Error } from '../../kernels/core/errors.js';
import type { ClipEvents } from '../../engine/models/vision/index.js';
import type { CodeClip, PixelLimits, RgbImage, Size } from '../../tokenizer/index.js';
import { checkCodeClip, checkFrameCount, checkFrameRate, type VideoCodes, type VideoFrames } from './clip.js';
import { checkNotEmpty } from '../../tokenizer/document/prompts.js';
import type { VideoSettings } from './video-plan.js';

export interface EncodeClipOptions extends ClipEvents {
  framesPerSecond: number;
  limits?: Partial<PixelLimits>;
}

export interface VideoRequest extends VideoSettings {
  /** What to show. */
  prompt: string;
  /** Width to height, e.g. `16:9`; the area is the model's. Default `1:1`. */
  ratio?: string;
  /** Size in tokens, instead of a ratio. */
  size?: Size;
  /** Frames in all, a multiple of the frames that become one latent frame (4 in the released models). */
  frames?: number;
  /** Length instead of `frames`; rounded to whole latent frames, one at least. */
  seconds?: number;
  /** Frames a second, above 0 and at most 1000. */
  framesPerSecond: number;
  /**
   * What the video begins with, kept exactly: a picture (a latent frame of equal frames), frames, or codes. Instead of a
   * size: pixels are brought to the area the model works at.
   */
  first?: RgbImage | readonly RgbImage[] | CodeClip;
}

export interface ExtendRequest extends VideoSettings {
  /** The clip in codes, which are kept exactly, or in frames, which are encoded first. */
  clip: CodeClip | VideoFrames;
  /** What to show; empty unless told. */
  prompt?: string;
  /** Frames that each repetition adds, a multiple of the frames that become one latent frame. */
  newFrames: number;
  /** Repetitions, 1 or more. Default 1. */
  times?: number;
  /** Latent frames the model sees of what is there, at most. Default: as many as fit the context. */
  contextFrames?: number;
}

export interface DrawnVideo extends VideoFrames {
  prompt: string;
  seed: number;
  /** The whole video in codes. */
  clip: VideoCodes;
  /** Latent frames at the beginning that were given and not drawn. */
  kept: number;
}

export interface GeneratedVideo extends DrawnVideo {
  /** What the model wrote after the prompt: latent frames with their ends, image end, end. */
  ids: Uint32Array;
}

/**
 * Refuses what needs no computing to be refused.
 * @param temporal frames that become one latent frame.
 * @returns latent frames in all.
 * @throws Emu3Error `prompt` for an empty prompt, `argument`, and what {@link checkCodeClip} throws.
 */
export function checkVideoRequest(request: VideoRequest, temporal: number, codebookSize: number): number {
  const { prompt, frames, seconds, framesPerSecond, first, size, ratio } = request;
  checkNotEmpty(prompt, 'prompt');
  checkFrameRate(framesPerSecond);
  if ((frames === undefined) === (seconds === undefined)) {
    throw argument(
      'frames',
      `${frames === undefined ? 'Neither' : 'Both'} frames ${frames === undefined ? 'nor' : 'and'} seconds were given.`,
      'Give one.',
    );
  }
  if (first !== undefined && (size !== undefined || ratio !== undefined)) {
    throw argument('first', 'Both a size and what the video begins with were given.', 'Leave out size and ratio.');
  }
  if (first !== undefined && 'codes' in first) {
    checkCodeClip(first, codebookSize, 'first');
    if (first.framesPerSecond !== framesPerSecond) {
      throw argument(
        'framesPerSecond',
        `A clip of ${first.framesPerSecond} frames a second cannot go on with ${framesPerSecond}.`,
        'Give the frame rate of the clip.',
      );
    }
  }
  if (frames !== undefined) {
    checkFrameCount(frames, temporal, 'frames');
    return frames / temporal;
  }
  if (seconds === undefined || !(seconds > 0 && Number.isFinite(seconds))) {
    throw argument('seconds', `The length is ${seconds} seconds.`, 'Give a number above 0.');
  }
  return Math.max(1, Math.round((seconds * framesPerSecond) / temporal));
}

/** @throws Emu3Error `argument` unless it is a whole number from 1. */
export function checkCount(where: string, value: number): void {
  if (Number.isInteger(value) && value >= 1) return;
  throw argument(where, `${where} is ${value}.`, 'Give a whole number from 1.');
}

export function argument(where: string, message: string, fix: string): Emu3Error {
  return new Emu3Error(message, { code: 'argument', where, fix });
}
