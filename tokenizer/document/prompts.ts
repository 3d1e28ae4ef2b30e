/** Prompts ready to run: checked, as token ids. */
import { Emu3Error } from '../../kernels/core/errors.js';
import type { Size } from '../image/sizes.js';
import { generatedLength } from './grammar.js';
import { generationPrompt, understandingPrompt } from './layouts.js';
import type { CodeGrid, DocumentVocabulary } from './segments.js';
import { documentIds } from './segments.js';

export interface GenerationRequest {
  /** What to draw. */
  prompt: string;
  /** What guidance steers away from; empty unless told. */
  negativePrompt?: string;
  /** Size of the picture, in tokens. */
  size: Size;
  /** Positions the model has room for, prompt and picture together. No check unless told. */
  contextLength?: number;
}

/** The two rows of guided generation. Both end with the image token. */
export interface GenerationPrompts {
  conditional: number[];
  /** The negative prompt with its own begin and size header. */
  unconditional: number[];
  /** Tokens the picture takes: rows, their ends, end of frame, image end, end. */
  newTokens: number;
}

/**
 * Prompts of a picture, for the text and for what guidance steers away from.
 *
 * @throws Emu3Error `prompt` when the text is empty or does not fit the context together with the picture
 */
export function generationPrompts(vocabulary: DocumentVocabulary, request: GenerationRequest): GenerationPrompts {
  const { prompt, negativePrompt = '', size, contextLength } = request;
  checkNotEmpty(prompt, 'prompt');
  const newTokens = generatedLength(size);
  const idsOf = (text: string, where: string): number[] => {
    const ids = documentIds(generationPrompt(text, size), vocabulary);
    checkContext(ids.length, newTokens, contextLength, where);
    return ids;
  };
  return { conditional: idsOf(prompt, 'prompt'), unconditional: idsOf(negativePrompt, 'negativePrompt'), newTokens };
}

export interface UnderstandingRequest {
  /** What to ask about the picture. */
  question: string;
  image: CodeGrid;
  /** Longest answer, in tokens; part of the context check. */
  answerLength?: number;
  /** Positions the model has room for, prompt and answer together. No check unless told. */
  contextLength?: number;
}

/**
 * Prompt ids of a question about a picture.
 *
 * @throws Emu3Error `prompt` when the question is empty or does not fit the context, `token` for a code outside the
 * codebook
 */
export function understandingPromptIds(vocabulary: DocumentVocabulary, request: UnderstandingRequest): number[] {
  const { question, image, answerLength = 0, contextLength } = request;
  checkNotEmpty(question, 'question');
  const ids = documentIds(understandingPrompt(question, image), vocabulary);
  checkContext(ids.length, answerLength, contextLength, 'question');
  return ids;
}

function checkNotEmpty(text: string, where: string): void {
  if (text.trim() !== '') return;
  throw new Emu3Error(`The ${where} is empty.`, { code: 'prompt', where, fix: 'Write what you want in a few words.' });
}

/** @throws Emu3Error `prompt` when prompt and new tokens exceed the context. */
export function checkContext(
  promptLength: number,
  newTokens: number,
  contextLength: number | undefined,
  where: string,
): void {
  if (contextLength === undefined || promptLength + newTokens <= contextLength) return;
  throw new Emu3Error(
    `${promptLength} prompt tokens and ${newTokens} new ones are ${promptLength + newTokens}, above the context of ${contextLength}.`,
    {
      code: 'prompt',
      where,
      fix: `Shorten the text by at least ${promptLength + newTokens - contextLength} tokens, or ask for fewer new ones.`,
    },
  );
}
