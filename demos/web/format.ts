import type { Task, Timing } from './messages.js';

/** `3.4 MB` */
export function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

/** `1.25 s` or `340 ms` */
export function duration(seconds: number): string {
  return seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(2)} s`;
}

/** `1 token`, `2 tokens` */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

export function timeText({ tokens, tokenSeconds, pixelSeconds }: Timing): string {
  return `${duration(tokenSeconds)} for ${counted(tokens, 'token')}, ${duration(pixelSeconds)} for the pixels`;
}

export function speedText({ tokensPerSecond }: Timing): string {
  return Number.isFinite(tokensPerSecond) ? `${tokensPerSecond.toFixed(1)} tokens/s` : 'too short to tell';
}

export function doneText({ tokenSeconds, pixelSeconds }: Timing): string {
  return `Done in ${duration(tokenSeconds + pixelSeconds)}.`;
}

/** What a task that draws does until its first row of tokens. */
export function doingAtFirst(task: Task): string {
  return 'rewrite' in task && task.rewrite ? 'Writing the prompt out …' : 'Reading the prompt …';
}
