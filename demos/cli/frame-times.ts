/** How long frames show: animations have a time for every frame, in whole ticks, and videos a frame rate. */
import { Emu3Error } from '../../kernels/core/errors.js';

/** What a format can say about the time a frame shows, in milliseconds. */
export interface FrameTimes {
  name: string;
  tick: number;
  /** Shorter ones are shown longer, or not at all. */
  least: number;
  most: number;
}

export const webpTimes: FrameTimes = { name: 'WebP', tick: 1, least: 1, most: 2 ** 24 - 1 };
export const pngTimes: FrameTimes = { name: 'animated PNG', tick: 1, least: 1, most: 2 ** 16 - 1 };
export const gifTimes: FrameTimes = { name: 'GIF', tick: 10, least: 20, most: 10 * (2 ** 16 - 1) };

/** Browsers show frames that say no more than this for {@link unsaidTime}. */
const unsaidUpTo = 10;
const unsaidTime = 100;

/** @throws Emu3Error `argument` when frames of this rate show too long or too short for the format. */
export function checkRate(framesPerSecond: number, { name, least, most }: FrameTimes): void {
  const time = 1000 / framesPerSecond;
  if (time >= least && time <= most) return;
  throw new Emu3Error(`${name} cannot show ${framesPerSecond} frames a second.`, {
    code: 'argument',
    where: 'frame rate',
    fix: `Give a rate from ${Number((1000 / most).toPrecision(2))} to ${1000 / least}, or write another format.`,
  });
}

/**
 * Milliseconds of each frame: rounded so that the end of every frame is within half a tick of where it should be, whatever
 * the rate.
 * @throws Emu3Error as {@link checkRate}.
 */
export function frameDelays(frames: number, framesPerSecond: number, times: FrameTimes): number[] {
  checkRate(framesPerSecond, times);
  const end = (frame: number): number => Math.round((frame * 1000) / framesPerSecond / times.tick) * times.tick;
  return Array.from({ length: frames }, (_, frame) => end(frame + 1) - end(frame));
}

/**
 * The frame rate of an animation and how often each of its frames shows. Frames of about equal times show once; where times
 * differ, the shortest is one frame.
 *
 * @param delays milliseconds of each frame.
 * @param said the rate, where the file says it: writers join equal frames, and this tells them apart again.
 */
export function ratesOf(
  delays: readonly number[],
  tick: number,
  said?: number,
): { framesPerSecond: number; repeats: number[] } {
  const times = delays.map((delay) => (delay <= unsaidUpTo ? unsaidTime : delay));
  if (said !== undefined) {
    let end = 0;
    const ends = times.map((time) => Math.round(((end += time) * said) / 1000));
    return { framesPerSecond: said, repeats: ends.map((frame, index) => Math.max(1, frame - (ends[index - 1] ?? 0))) };
  }
  const shortest = Math.min(...times);
  if (Math.max(...times) - shortest > tick) {
    const repeats = times.map((time) => Math.max(1, Math.round(time / shortest)));
    return { framesPerSecond: Number((1000 / shortest).toFixed(3)), repeats };
  }
  const total = times.reduce((sum, time) => sum + time);
  const measured = (1000 * times.length) / total;
  const whole = Math.round(measured);
  const isWhole = whole > 0 && Math.abs((1000 * times.length) / whole - total) <= tick / 2 + 1e-6;
  return { framesPerSecond: isWhole ? whole : Number(measured.toFixed(3)), repeats: times.map(() => 1) };
}
