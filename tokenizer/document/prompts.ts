/** Prompts ready to run: checked, as token ids. */
import { Emu3Error } from '../../kernels/core/errors.js';
import type { Size } from '../image/sizes.js';
import { generatedLength } from './grammar.js';
import type { ConversationTurn } from './conversation.js';
import { checkConversation, conversationPrompt } from './conversation.js';
import { captionPrompt, generationPrompt } from './layouts.js';
import type { DocumentVocabulary, VisionCodes } from './segments.js';
import { documentIds, visionSegments } from './segments.js';

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
  /** What to ask about the picture or clip. */
  question: string;
  image: VisionCodes;
  /** Longest answer, in tokens; part of the context check. */
  answerLength?: number;
  /** Positions the model has room for, prompt and answer together. No check unless told. */
  contextLength?: number;
}

/**
 * Prompt ids of a question about a picture.
 *
 * @throws Emu3Error as {@link conversationPromptIds}
 */
export function understandingPromptIds(vocabulary: DocumentVocabulary, request: UnderstandingRequest): number[] {
  const { question, image, ...limits } = request;
  const turns: ConversationTurn[] = [{ role: 'user', text: question, vision: [image] }];
  return conversationPromptIds(vocabulary, { turns, ...limits });
}

export interface ConversationRequest {
  /** Begins and ends with the user. */
  turns: readonly ConversationTurn[];
  /** Longest answer, in tokens; part of the context check. */
  answerLength?: number;
  /** Positions the model has room for, prompt and answer together. No check unless told. */
  contextLength?: number;
  /** Whether strings such as `<|image start|>` in the turns' texts become special tokens. Off by default. */
  allowSpecial?: boolean;
  /** What the turns are called in messages; default `turns`. */
  where?: string;
}

/**
 * Prompt ids of a conversation whose last question is to be answered.
 *
 * @throws Emu3Error `prompt` as {@link checkConversation} and for a conversation that does not fit the context, with what
 *   each picture and clip takes and how many would fit; `token` for a code outside the codebook
 */
export function conversationPromptIds(vocabulary: DocumentVocabulary, request: ConversationRequest): number[] {
  const { turns, answerLength = 0, contextLength, allowSpecial = false, where = 'turns' } = request;
  checkConversation(turns, 'user', where);
  const ids = documentIds(conversationPrompt(turns), vocabulary, { allowSpecial });
  const vision = turns.flatMap((turn) => (turn.role === 'user' ? (turn.vision ?? []) : []));
  checkVisionContext(vocabulary, vision, ids.length, { answerLength, contextLength, where });
  return ids;
}

/**
 * Prompt ids for a caption of a picture or clip.
 *
 * @throws Emu3Error `prompt` when it does not fit the context, `token` for a code outside the codebook
 */
export function captionPromptIds(
  vocabulary: DocumentVocabulary,
  vision: VisionCodes,
  limits: Pick<ConversationRequest, 'answerLength' | 'contextLength' | 'where'> = {},
): number[] {
  const { answerLength = 0, contextLength, where = 'caption' } = limits;
  const ids = documentIds(captionPrompt(vision), vocabulary);
  checkVisionContext(vocabulary, [vision], ids.length, { answerLength, contextLength, where });
  return ids;
}

/** The context check, told in pictures and clips where there are any. */
function checkVisionContext(
  vocabulary: DocumentVocabulary,
  vision: readonly VisionCodes[],
  promptLength: number,
  limits: { answerLength: number; contextLength: number | undefined; where: string },
): void {
  const { answerLength, contextLength, where } = limits;
  if (vision.length === 0) {
    checkContext(promptLength, answerLength, contextLength, where);
    return;
  }
  const all = promptLength + answerLength;
  if (contextLength === undefined || all <= contextLength) return;
  const each = vision.map((codes) => documentIds(visionSegments(codes), vocabulary).length);
  const text = promptLength - each.reduce((sum, tokens) => sum + tokens, 0);
  let room = contextLength - text - answerLength;
  const fitting = each.findIndex((tokens) => (room -= tokens) < 0);
  const noun = vision.length === 1 ? 'picture or clip' : 'pictures or clips';
  throw new Emu3Error(
    `${vision.length} ${noun} of ${each.join(' + ')} tokens, ${text} tokens of text and ${answerLength} new ones are ` +
      `${all}, above the context of ${contextLength}; ${fitting} of ${vision.length} would fit.`,
    {
      code: 'prompt',
      where,
      fix: `Save ${all - contextLength} tokens: fewer or smaller pictures, less text, or fewer new tokens.`,
    },
  );
}

/** @throws Emu3Error `prompt` for an empty text, or one of blanks. */
export function checkNotEmpty(text: string, where: string): void {
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
