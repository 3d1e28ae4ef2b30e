import { createInterface } from 'node:readline';
import type { Command } from 'commander';
import { Emu3Error, throwIfAborted } from '../../../kernels/core/errors.js';
import { Chat } from '../../../loader/pipeline/session.js';
import {
  addAnswerOptions,
  answerJson,
  answerPrinter,
  answerRequest,
  endAnswer,
  pictureHelp,
  readPictures,
  type AnswerChoice,
} from '../answers.js';
import { withModel } from '../open-model.js';
import { reportError } from '../report.js';
import type { Terminal } from '../terminal.js';

const usage = '/image FILE shows another picture with the next question, /new starts over, /exit ends';

export function addChat(program: Command, terminal: Terminal): void {
  const command = program
    .command('chat')
    .description('talk about pictures: every line on stdin is a question, its answer goes to stdout')
    .argument('[pictures...]', `what the first question is about: ${pictureHelp}`)
    .addHelpText('after', `\nWhile it runs: ${usage}.`);
  addAnswerOptions(command).action((files: string[], options: AnswerChoice) => chat(terminal, files, options));
}

async function chat(terminal: Terminal, files: readonly string[], options: AnswerChoice): Promise<void> {
  const { input, signal } = terminal;
  const interactive = input.isTTY === true;
  const first = await readPictures(files);
  await withModel(terminal, options, async (emu3) => {
    let session = new Chat(emu3);
    let images = first;

    const takeLine = async (line: string): Promise<void> => {
      const [name, ...rest] = line.split(/\s+/);
      if (name === '/new') {
        session = new Chat(emu3);
        images = first;
      } else if (name === '/image') {
        images = [...images, ...(await readPictures([pictureName(rest.join(' '))]))];
      } else if (name.startsWith('/')) {
        throw new Emu3Error(`There is no command ${name}.`, { code: 'argument', where: 'chat', fix: `${usage}.` });
      } else {
        const answer = await session.ask({
          text: line,
          images,
          ...answerRequest(options),
          ...answerPrinter(terminal, options),
          signal,
        });
        images = [];
        if (options.json) terminal.out(`${JSON.stringify({ question: line, ...answerJson(answer) })}\n`);
        else endAnswer(terminal, answer);
      }
    };

    const prompt = (): void => {
      if (interactive) terminal.err('> ');
    };
    if (interactive) terminal.err(`${usage}.\n`);
    prompt();
    // Without an output readline leaves editing and Ctrl-C to the terminal.
    for await (const typed of createInterface({ input, signal, crlfDelay: Infinity })) {
      const line = typed.trim();
      if (line === '/exit') break;
      try {
        if (line !== '') await takeLine(line);
      } catch (error) {
        // A person can ask again; a script is to notice.
        if (!interactive || signal.aborted || !(error instanceof Emu3Error)) throw error;
        reportError(error, terminal, options.json === true);
      }
      prompt();
    }
    throwIfAborted(signal, 'chat');
  });
}

function pictureName(name: string): string {
  if (name !== '') return name;
  throw new Emu3Error('/image names no file.', { code: 'argument', where: 'chat', fix: 'Write /image FILE.' });
}
