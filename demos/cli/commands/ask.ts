import { existsSync } from 'node:fs';
import type { Command } from 'commander';
import { Emu3Error } from '../../../kernels/core/errors.js';
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
import { jsonText } from '../output.js';
import type { Terminal } from '../terminal.js';

interface AskOptions extends AnswerChoice {
  question?: string;
}

export function addAsk(program: Command, terminal: Terminal): void {
  const command = program
    .command('ask')
    .description('answer a question about one or more pictures')
    .usage('[options] <pictures...> "question"')
    .argument('<pictures...>', `${pictureHelp}; and the question last, unless --question has it`)
    .option('-q, --question <text>', 'what to ask; every argument is a picture then');
  addAnswerOptions(command).action((inputs: string[], options: AskOptions) => ask(terminal, inputs, options));
}

export function addCaption(program: Command, terminal: Terminal): void {
  const command = program
    .command('caption')
    .description('write captions of pictures')
    .argument('<pictures...>', pictureHelp);
  addAnswerOptions(command).action((files: string[], options: AnswerChoice) => caption(terminal, files, options));
}

async function ask(terminal: Terminal, inputs: readonly string[], options: AskOptions): Promise<void> {
  const { files, question } = filesAndQuestion(inputs, options);
  const images = await readPictures(files);
  await withModel(terminal, options, async (emu3) => {
    const answer = await emu3.chat({
      messages: [{ role: 'user', text: question, images }],
      ...answerRequest(options),
      ...answerPrinter(terminal, options),
      signal: terminal.signal,
    });
    if (options.json) terminal.out(jsonText({ pictures: files, question, ...answerJson(answer) }));
    else endAnswer(terminal, answer);
  });
}

/** @throws Emu3Error `argument` when nothing is asked, or nothing is there to ask about. */
function filesAndQuestion(inputs: readonly string[], { question }: AskOptions): { files: string[]; question: string } {
  if (question !== undefined) return { files: [...inputs], question };
  const last = inputs[inputs.length - 1];
  const found = existsSync(last);
  if (inputs.length > 1 && !found) return { files: inputs.slice(0, -1), question: last };
  throw new Emu3Error(
    found ? 'There is no question: the last argument is a file.' : 'There is no picture to ask about.',
    {
      code: 'argument',
      where: last,
      fix: 'Give the pictures first and the question last, or the question with --question.',
    },
  );
}

async function caption(terminal: Terminal, files: readonly string[], options: AnswerChoice): Promise<void> {
  const pictures = await readPictures(files);
  await withModel(terminal, options, async (emu3) => {
    const captions: object[] = [];
    for (const [index, image] of pictures.entries()) {
      if (files.length > 1 && !options.json) terminal.out(`${files[index]}: `);
      const answer = await emu3.caption({
        image,
        ...answerRequest(options),
        ...answerPrinter(terminal, options),
        signal: terminal.signal,
      });
      captions.push({ picture: files[index], ...answerJson(answer) });
      if (!options.json) endAnswer(terminal, answer);
    }
    if (options.json) terminal.out(jsonText({ captions }));
  });
}
