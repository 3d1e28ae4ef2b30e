import type { Command } from 'commander';
import type { Answer } from '../../loader/pipeline/answer.js';
import type { AnswerOptions } from '../../loader/pipeline/chat.js';
import type { CodeGrid, RgbImage } from '../../tokenizer/index.node.js';
import { readCodes } from './codes.js';
import {
  addModelOptions,
  addTokenOptions,
  numberOption,
  samplingRequest,
  seedOption,
  type ModelChoice,
  type TokenChoice,
} from './options.js';
import { readPicture } from './pictures.js';
import type { Terminal } from './terminal.js';

export const pictureHelp = 'PNG, JPEG or WebP, or codes that `emu3 encode` wrote (.json, .safetensors)';

/** What {@link addAnswerOptions} adds. */
export interface AnswerChoice extends ModelChoice, TokenChoice {
  maxTokens?: number;
  seed?: number;
}

/** Options of every command that answers: length, sampling, model and adapter. */
export function addAnswerOptions(command: Command): Command {
  command.option(
    '--max-tokens <n>',
    'longest answer, in tokens (default: as the model says)',
    numberOption({ from: 1, whole: true }),
  );
  addTokenOptions(command, 'default: 0').addOption(
    seedOption('for a temperature above 0: the same seed gives the same answer'),
  );
  return addModelOptions(command);
}

/** The options as the pipeline takes them. */
export function answerRequest(choice: AnswerChoice): AnswerOptions {
  const { maxTokens, seed } = choice;
  return {
    ...samplingRequest(choice),
    ...(maxTokens !== undefined && { maxNewTokens: maxTokens }),
    ...(seed !== undefined && { seed }),
  };
}

/** @throws Emu3Error `missing`, `io`, `image`, `format`, `shape`, naming the file. */
export async function readPictures(paths: readonly string[]): Promise<(RgbImage | CodeGrid)[]> {
  const pictures: (RgbImage | CodeGrid)[] = [];
  for (const path of paths) {
    pictures.push(/\.(json|safetensors)$/i.test(path) ? await readCodes(path) : await readPicture(path));
  }
  return pictures;
}

/** Prints an answer while it is written, without the space it begins with. Prints nothing where JSON is asked for. */
export function answerPrinter(terminal: Terminal, { json }: ModelChoice): { onText?: (piece: string) => void } {
  if (json) return {};
  let begun = false;
  return {
    onText: (piece) => {
      const text = begun ? piece : piece.trimStart();
      begun ||= text !== '';
      if (text !== '') terminal.out(text);
    },
  };
}

/** Ends the printed line, and says when the answer was cut off. */
export function endAnswer(terminal: Terminal, { ids, finished }: Answer): void {
  terminal.out('\n');
  if (!finished) terminal.err(`cut off after ${ids.length} tokens; --max-tokens allows more\n`);
}

/** What JSON tells of an answer. */
export function answerJson({ text, ids, finished }: Answer): object {
  return { answer: text, tokens: ids.length, finished };
}
