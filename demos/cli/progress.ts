import { SingleBar } from 'cli-progress';
import type { Terminal } from './terminal.js';

/** A bar on stderr: in a terminal drawn in place, in a log a line every few seconds. */
export interface ProgressBar {
  /**
   * @param note what stands behind the bar from now on.
   * @param total where the bar ends, when that was not known at its start.
   */
  update(value: number, note?: string, total?: number): void;
  stop(): void;
}

/** Milliseconds between the lines of a log. */
const logInterval = 10_000;
/** Work done within this many milliseconds gets no bar. */
const patience = 300;
const silent: ProgressBar = { update: () => undefined, stop: () => undefined };

export function startProgress(terminal: Terminal, label: string, total: number): ProgressBar {
  if (terminal.progress === undefined) return silent;
  const bar = new SingleBar({
    format: `${label} {bar} {value}/{total}  {note}`,
    stream: terminal.progress,
    barsize: 24,
    barCompleteChar: '█',
    barIncompleteChar: '░',
    hideCursor: true,
    // Ctrl-C belongs to the command, which stops the bar itself.
    gracefulExit: false,
    noTTYOutput: true,
    notTTYSchedule: logInterval,
  });
  const shown = { value: 0, total, note: '' };
  let state: 'waiting' | 'drawn' | 'stopped' = 'waiting';
  const timer = setTimeout(() => {
    state = 'drawn';
    bar.start(shown.total, shown.value, { note: shown.note });
  }, patience);
  return {
    update: (value, note = shown.note, newTotal = shown.total) => {
      if (state === 'drawn' && newTotal !== shown.total) bar.setTotal(newTotal);
      Object.assign(shown, { value, note, total: newTotal });
      if (state === 'drawn') bar.update(value, { note });
    },
    stop: () => {
      clearTimeout(timer);
      if (state === 'drawn') bar.stop();
      state = 'stopped';
    },
  };
}

/** Runs `work` with a bar that is gone from the screen's way whatever happens. */
export async function withProgress<Result>(
  terminal: Terminal,
  label: string,
  total: number,
  work: (bar: ProgressBar) => Promise<Result>,
): Promise<Result> {
  const bar = startProgress(terminal, label, total);
  try {
    return await work(bar);
  } finally {
    bar.stop();
  }
}

/** Shows what is done of any amount as percent, on a bar of 100. */
export function percentOn(bar: ProgressBar): (done: number, total: number) => void {
  return (done, total) => bar.update(Math.round((100 * done) / total), '%');
}
