/** Conversations about pictures and clips: the order of turns, and what is written around them. */
import { Emu3Error } from '../../kernels/core/errors.js';
import type { Segment, VisionCodes } from './segments.js';
import { textSegment, visionSegments } from './segments.js';

/** What a person asks. */
export interface UserTurn {
  role: 'user';
  /** Never empty. */
  text: string;
  /** Pictures and clips in tokens, in the order in which they stand before the text. */
  vision?: readonly VisionCodes[];
}

/** What the model answers. */
export interface AssistantTurn {
  role: 'assistant';
  /** Stands right behind `ASSISTANT:`, so it begins with the space that should part them, as the model's answers do. */
  text: string;
}

export type ConversationTurn = UserTurn | AssistantTurn;

const firstOpening = 'You are a helpful assistant. USER: ';
const laterOpening = ' USER: ';
const questionEnd = '. ASSISTANT:';

/** A question with what it is about in front, from its opening to the `ASSISTANT:` that asks for the answer. */
export function questionSegments(text: string, vision: readonly VisionCodes[], first: boolean): Segment[] {
  const opening = first ? firstOpening : laterOpening;
  const question = `${text}${questionEnd}`;
  // One text, as in the string form: cut in two it would have other tokens at the seam.
  if (vision.length === 0) return [{ text: `${opening}${question}` }];
  return [{ text: opening }, ...vision.flatMap(visionSegments), { text: question }];
}

/** Segments of one turn and who speaks; begin belongs to the first question, each end to its answer. */
export interface TurnSegments {
  role: ConversationTurn['role'];
  segments: Segment[];
}

/**
 * A conversation turn by turn. The released models were published with a single question and a single picture only:
 * BOS `You are a helpful assistant. USER: ` picture question `. ASSISTANT:` answer EOS. What goes beyond is this project's
 * choice:
 * - Any number of pictures and clips stand one after the other where the single picture stands.
 * - Every answer ends with EOS, also in the middle of a conversation, in samples and prompts alike. So a model learns to
 *   stop at the end of each answer, and a chat that goes on reads exactly what its training samples look like.
 * - The next question follows as ` USER: ` pictures question `. ASSISTANT:`; begin and system text are not repeated.
 */
export function turnSegments(turns: readonly ConversationTurn[]): TurnSegments[] {
  return turns.map((turn, index) => {
    if (turn.role === 'assistant') {
      return { role: turn.role, segments: [...textSegment(turn.text), { special: 'eos' }] };
    }
    const question = questionSegments(turn.text, turn.vision ?? [], index === 0);
    return { role: turn.role, segments: index === 0 ? [{ special: 'bos' }, ...question] : question };
  });
}

/**
 * Prompt for the next answer of a conversation, laid out as {@link turnSegments} says; for a single question about one
 * picture it is the released prompt.
 *
 * @throws Emu3Error `prompt` as {@link checkConversation}
 */
export function conversationPrompt(turns: readonly ConversationTurn[]): Segment[] {
  checkConversation(turns, 'user');
  return turnSegments(turns).flatMap(({ segments }) => segments);
}

/**
 * @param last who must have the last word: the user in prompts, the assistant in samples
 * @param where what the conversation is called in messages
 * @throws Emu3Error `prompt` for a conversation without turns, one in which user and assistant do not take turns starting
 *   with the user, one that ends with the wrong turn, and a question without text
 */
export function checkConversation(
  turns: readonly ConversationTurn[],
  last: ConversationTurn['role'],
  where = 'turns',
): void {
  const refuse = (message: string, place: string, fix: string): Emu3Error =>
    new Emu3Error(message, { code: 'prompt', where: place, fix });
  if (turns.length === 0) throw refuse('The conversation is empty.', where, 'Start it with a question of the user.');
  turns.forEach((turn, index) => {
    const place = `${where}[${index}]`;
    const expected = index % 2 === 0 ? 'user' : 'assistant';
    if (turn.role !== expected) {
      const found =
        index === 0
          ? `The conversation starts with a turn of "${turn.role}".`
          : `Turn ${index} is of "${turn.role}" and follows one of "${turns[index - 1].role}".`;
      throw refuse(found, place, 'Let "user" and "assistant" take turns, the user first.');
    }
    if (turn.role !== 'user' || turn.text.trim() !== '') return;
    const count = turn.vision?.length ?? 0;
    throw count === 0
      ? refuse('The question is empty.', place, 'Write what you want to know in a few words.')
      : refuse(
          `There are ${count} pictures or clips but no question.`,
          place,
          'Ask something about them, or ask for a caption, which needs no question.',
        );
  });
  const end = turns[turns.length - 1].role;
  if (end !== last) {
    throw refuse(
      `The conversation of ${turns.length} turns ends with "${end}".`,
      `${where}[${turns.length - 1}]`,
      last === 'user' ? 'Let it end with the question to answer.' : 'Let it end with an answer to learn.',
    );
  }
}
