import { requestAdapterNode, type AdapterPreference } from '../../engine/adapter/request.node.js';
import { Device } from '../../engine/device.js';

/** Where a command writes and how it is stopped; tests bring their own. */
export interface Terminal {
  /** Results: what a pipe or `--json` reader wants. */
  out(text: string): void;
  /** Messages for people. */
  err(text: string): void;
  /** What a person types, or a pipe brings. */
  readonly input: NodeJS.ReadableStream & { readonly isTTY?: boolean };
  /** Where progress bars are drawn; undefined draws none. */
  readonly progress: NodeJS.WritableStream | undefined;
  /** Fires on Ctrl-C. */
  readonly signal: AbortSignal;
}

/** Exit code of a command that was stopped, as shells have it for SIGINT. */
export const stoppedExitCode = 130;

/** This process's streams. The first Ctrl-C asks the command to stop cleanly, the second ends the process at once. */
export function processTerminal(): Terminal & { close(): void } {
  const controller = new AbortController();
  const stop = (): void => {
    if (controller.signal.aborted) process.exit(stoppedExitCode);
    process.stderr.write('\nstopping; press Ctrl-C again to stop at once\n');
    controller.abort();
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
  // A reader such as `head` may close the pipe early; that is no failure of the command.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  });
  return {
    out: (text) => process.stdout.write(text),
    err: (text) => process.stderr.write(text),
    // Opened only by commands that read it.
    get input() {
      return process.stdin;
    },
    progress: process.stderr,
    signal: controller.signal,
    close: () => {
      process.off('SIGINT', stop);
      process.off('SIGTERM', stop);
    },
  };
}

/** Options that every command with a device has. */
export interface DeviceChoice {
  adapter?: AdapterPreference | undefined;
}

/** Opens a device for the time of `use` and says on the terminal which adapter it is on. */
export async function withDevice<Result>(
  terminal: Terminal,
  { adapter }: DeviceChoice,
  use: (device: Device) => Promise<Result>,
): Promise<Result> {
  const log = (line: string): void => terminal.err(`${line}\n`);
  const choice = await requestAdapterNode(adapter === undefined ? { log } : { prefer: adapter, log });
  const device = await Device.create(choice);
  try {
    return await use(device);
  } finally {
    device.destroy();
  }
}
