import { Command } from 'commander';
import { addAsk, addCaption } from './commands/ask.js';
import { addAverage } from './commands/average.js';
import { addCache } from './commands/cache.js';
import { addChat } from './commands/chat.js';
import { addDecode } from './commands/decode.js';
import { addDevices } from './commands/devices.js';
import { addEdit, addVary } from './commands/edit.js';
import { addEncode } from './commands/encode.js';
import { addEval } from './commands/eval.js';
import { addGenerate } from './commands/generate.js';
import { addInspect } from './commands/inspect.js';
import { addTrain } from './commands/train.js';
import { addExtend, addVideo } from './commands/video.js';
import { packageVersion } from './model.js';
import { reportError } from './report.js';
import type { Terminal } from './terminal.js';

const commands = [
  addGenerate,
  addEdit,
  addVary,
  addAsk,
  addCaption,
  addChat,
  addVideo,
  addExtend,
  addEncode,
  addDecode,
  addTrain,
  addAverage,
  addEval,
  addInspect,
  addCache,
  addDevices,
];

/** Runs a command line and gives the exit code: 0 done, 1 failed, 2 not understood, 130 stopped by Ctrl-C. */
export async function runCli(args: readonly string[], terminal: Terminal): Promise<number> {
  const program = new Command('emu3')
    .description(
      'Emu3 on WebGPU: pictures and videos from text, answers about them, vision tokens, training, inspection',
    )
    .version(packageVersion())
    .exitOverride()
    .showHelpAfterError('(emu3 help shows how commands are written)')
    .configureOutput({ writeOut: (text) => terminal.out(text), writeErr: (text) => terminal.err(text) });
  for (const add of commands) add(program, terminal);
  try {
    await program.parseAsync(args, { from: 'user' });
    return 0;
  } catch (error) {
    return reportError(error, terminal, args.includes('--json'));
  }
}
