import { Emu3Error } from '../../kernels/core/errors.js';
import type { CodeGrid, RgbImage } from '../../tokenizer/index.js';
import type { Answer, AnswerEvents } from './answer.js';
import type { AnswerOptions, ChatBatchEvents, ChatMessage, ChatRequest, UserMessage } from './chat.js';

/** What a chat needs of a model. */
interface ChatModel {
  chatBatch(requests: readonly ChatRequest[], events?: ChatBatchEvents): Promise<Answer[]>;
}

export type ChatQuestion = Omit<UserMessage, 'role'> & AnswerOptions & AnswerEvents & Pick<ChatRequest, 'allowSpecial'>;

/** A conversation that goes on: remembers what was said, and encodes each picture once. */
export class Chat {
  private readonly model: ChatModel;
  private said: readonly ChatMessage[] = [];
  private encodedImages = new WeakMap<RgbImage, CodeGrid>();
  private busy = false;

  constructor(model: ChatModel) {
    this.model = model;
  }

  /** Questions and answers so far. */
  get messages(): readonly ChatMessage[] {
    return this.said;
  }

  /**
   * Asks the next question. When it fails, the conversation stays as it was.
   *
   * @throws Emu3Error as `Emu3.chat`, `argument` while another question is being answered.
   */
  async ask({ text, images, clips, signal, onText, ...options }: ChatQuestion): Promise<Answer> {
    if (this.busy) {
      throw new Emu3Error('The last question is still being answered.', {
        code: 'argument',
        where: 'ask',
        fix: 'Wait for its answer, or start a second chat.',
      });
    }
    const question: UserMessage = { role: 'user', text, ...(images && { images }), ...(clips && { clips }) };
    const messages = [...this.said, question];
    this.busy = true;
    try {
      const [answer] = await this.model.chatBatch([{ ...options, messages }], {
        encodedImages: this.encodedImages,
        ...(signal && { signal }),
        ...(onText && { onText: (piece) => onText(piece) }),
      });
      this.said = [...messages, { role: 'assistant', text: answer.text }];
      return answer;
    } finally {
      this.busy = false;
    }
  }
}
