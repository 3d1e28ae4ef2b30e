import { CommanderError } from 'commander';
import { Emu3Error } from '../../kernels/core/errors.js';
import { stoppedExitCode, type Terminal } from './terminal.js';

/** 1536 -> `1.5 KiB`. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  const power = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log2(Math.max(1, bytes)) / 10)));
  const value = bytes / 1024 ** power;
  return `${power === 0 ? value : value.toFixed(value < 10 ? 2 : 1)} ${units[power]}`;
}

/** 5234567 -> `5,234,567`. */
export function formatCount(count: number): string {
  return count.toLocaleString('en-US');
}

export function formatSeconds(seconds: number): string {
  if (!Number.isFinite(seconds)) return '?';
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export function formatPercent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

/** Rows of cells as aligned columns; columns whose cells below the heading are all numeric go to the right. */
export function formatTable(heading: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [heading, ...rows];
  const widths = heading.map((_, column) => Math.max(...all.map((row) => row[column].length)));
  const numeric = heading.map((_, column) =>
    rows.every((row) => /^[-\d.,\s%]*( ([KMGT]i)?B| dB| s)?$/.test(row[column])),
  );
  const line = (row: readonly string[]): string =>
    row
      .map((cell, column) => (numeric[column] ? cell.padStart(widths[column]) : cell.padEnd(widths[column])))
      .join('  ')
      .trimEnd();
  return `${all.map(line).join('\n')}\n`;
}

/** The sentence of an error, without the `where` and `fix` that its message repeats. */
function sentence(error: Emu3Error): string {
  const tail = ` [${error.where}] ${error.fix}`;
  return error.message.endsWith(tail) ? error.message.slice(0, -tail.length) : error.message;
}

/**
 * Prints a failure and gives the exit code: 2 for a command line that makes no sense, 130 for a stop, else 1. Stack
 * traces come with EMU3_DEBUG set; with `json` the error goes to stdout as an object too.
 */
export function reportError(error: unknown, terminal: Terminal, json: boolean): number {
  // Commander has printed its own message by now.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  const known = error instanceof Emu3Error;
  const message = known ? sentence(error) : error instanceof Error ? error.message : String(error);
  const where = known ? error.where : 'emu3';
  const fix = known ? error.fix : 'This is a fault of the program: set EMU3_DEBUG=1, run it again and report it.';
  terminal.err(`error: ${message}\n  where: ${where}\n  fix: ${fix}\n`);
  if (json)
    terminal.out(`${JSON.stringify({ error: { code: known ? error.code : 'unknown', message, where, fix } })}\n`);
  if (process.env['EMU3_DEBUG'] && error instanceof Error) {
    terminal.err(`${error.stack ?? error.message}\n`);
    if (error.cause instanceof Error) terminal.err(`caused by ${error.cause.stack ?? error.cause.message}\n`);
  }
  return known && error.code === 'aborted' ? stoppedExitCode : 1;
}
