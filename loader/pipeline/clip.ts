/** Clips as frames and as codes: what is checked, and how frames become the vision tokenizer's numbers. */
import { Emu3Error } from '../../kernels/core/errors.js';
import type { PixelClip } from '../../engine/models/vision/index.js';
import { prepareImage, type CodeClip, type PixelLimits, type RgbImage } from '../../tokenizer/index.js';
import { checkCode } from '../../tokenizer/document/segments.js';
import { clipOf, imagesOf } from './pixels.js';

const highestFrameRate = 1000;

/** A clip in tokens, as the model's own functions give it. */
export interface VideoCodes extends CodeClip {
  codes: Uint32Array;
}

export interface EncodedVideo extends VideoCodes {
  /** The frames at the size they were encoded at. */
  resized: RgbImage[];
}

/** A clip in pixels. */
export interface VideoFrames {
  /** All of one size. */
  frames: readonly RgbImage[];
  framesPerSecond: number;
}

/** @throws Emu3Error `argument` unless it is above 0 and at most 1000. */
export function checkFrameRate(framesPerSecond: number): void {
  // Smaller ones would be written with an exponent, which no header has.
  if (framesPerSecond >= 1e-6 && framesPerSecond <= highestFrameRate) return;
  throw new Emu3Error(`The frame rate is ${framesPerSecond}.`, {
    code: 'argument',
    where: 'framesPerSecond',
    fix: `Give frames a second, above 0 and at most ${highestFrameRate}.`,
  });
}

/**
 * Refuses a number of frames that are no whole latent frames.
 * @param temporal frames that become one latent frame.
 * @throws Emu3Error `argument` naming the nearest numbers that work.
 */
export function checkFrameCount(frames: number, temporal: number, where: string): void {
  if (Number.isInteger(frames) && frames >= temporal && frames % temporal === 0) return;
  const below = Math.floor(frames / temporal) * temporal;
  const fix =
    Number.isInteger(frames) && below >= temporal ? `${below} or ${below + temporal}` : `${temporal} at least`;
  const message =
    frames < temporal ? `below the ${temporal} of one latent frame` : `not a whole number times ${temporal}`;
  throw new Emu3Error(`The number of frames is ${frames}, ${message}.`, {
    code: 'argument',
    where,
    fix: `${temporal} frames become one latent frame: give ${fix}.`,
  });
}

/** @throws Emu3Error `shape` naming the first frame that differs in size from frame 0. */
function checkFrameSizes(frames: readonly RgbImage[]): void {
  const [{ height, width }] = frames;
  const odd = frames.findIndex((frame) => frame.height !== height || frame.width !== width);
  if (odd < 0) return;
  throw new Emu3Error(
    `Frame ${odd} has ${frames[odd].height} x ${frames[odd].width} pixels (height x width), frame 0 has ${height} x ${width}.`,
    { code: 'shape', where: `frame ${odd}`, fix: 'Give frames of one size.' },
  );
}

/**
 * Refuses codes that are no clip of the model.
 * @throws Emu3Error `argument` for sizes or a frame rate that make no sense, `shape` for another count of codes, `token` for
 *   one beyond the codebook.
 */
export function checkCodeClip(clip: CodeClip, codebookSize: number, where: string): void {
  const { frames, height, width, codes } = clip;
  if (![frames, height, width].every((side) => Number.isInteger(side) && side >= 1)) {
    throw new Emu3Error(`A clip of ${frames} latent frames of ${height} x ${width} tokens was given.`, {
      code: 'argument',
      where,
      fix: 'Give whole numbers from 1.',
    });
  }
  checkFrameRate(clip.framesPerSecond);
  if (codes.length !== frames * height * width) {
    throw new Emu3Error(`${codes.length} codes are not ${frames} latent frames of ${height} x ${width} tokens.`, {
      code: 'shape',
      where,
      fix: `Give ${frames * height * width} codes.`,
    });
  }
  for (let place = 0; place < codes.length; place++) checkCode(codes[place], codebookSize, `${where}, code ${place}`);
}

/**
 * Frames as one clip of numbers, resized to the limits first.
 * @throws Emu3Error `argument`, `shape` for frames that are no clip, `image` for a size the limits refuse.
 */
export function pixelsOfFrames(
  frames: readonly RgbImage[],
  temporal: number,
  limits: PixelLimits,
): { pixels: PixelClip; resized: RgbImage[] } {
  checkFrameCount(frames.length, temporal, 'frames');
  checkFrameSizes(frames);
  const resized: RgbImage[] = [];
  let data = new Float32Array();
  for (const [index, frame] of frames.entries()) {
    const prepared = prepareImage(frame, limits);
    const values = clipOf(prepared).data;
    if (index === 0) data = new Float32Array(frames.length * values.length);
    data.set(values, index * values.length);
    resized.push(prepared.resized);
  }
  const [{ height, width }] = resized;
  return { pixels: { batch: 1, frames: frames.length, height, width, data }, resized };
}

/** Bytes of all frames of one decoded clip. */
export function framesOf(clip: PixelClip): RgbImage[] {
  return imagesOf({ ...clip, batch: clip.frames, frames: 1 });
}

/** The last latent frames of a clip, at most so many. */
export function lastFrames(clip: CodeClip, count: number): CodeClip {
  const frames = Math.min(count, clip.frames);
  const codes = Uint32Array.from(clip.codes).slice((clip.frames - frames) * clip.height * clip.width);
  return { ...clip, frames, codes };
}
