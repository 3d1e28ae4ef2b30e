/** Questions about pictures and clips, as the library takes them, made into prompts. */
import { Emu3Error } from '../../kernels/core/errors.js';
import {
  captionPromptIds,
  conversationPromptIds,
  smartResize,
  type CodeClip,
  type CodeGrid,
  type ConversationTurn,
  type PixelLimits,
  type RgbImage,
  type TextTokenizer,
  type VisionCodes,
} from '../../tokenizer/index.js';
import { checkCount, type AnswerBatchEvents, type AnswerPlan } from './answer.js';
import { samplingOf, type SamplingOptions } from './generate.js';
import type { GenerationDefaults } from './generation-config.js';

export interface UserMessage {
  role: 'user';
  /** What to ask; never empty. */
  text: string;
  /** Bytes or tokens, in the order in which the model reads them: in front of the text. */
  images?: readonly (RgbImage | CodeGrid)[];
  /** Clips in tokens; they stand behind the images. */
  clips?: readonly CodeClip[];
}

export interface AssistantMessage {
  role: 'assistant';
  /** An answer as the model gave it, with the space it begins with. */
  text: string;
}

export type ChatMessage = UserMessage | AssistantMessage;

/** How an answer is written. The most probable tokens are taken unless a temperature is given. */
export interface AnswerOptions extends SamplingOptions {
  /** Longest answer in tokens, from 1. Default: what generation_config.json says, or what the context has room for. */
  maxNewTokens?: number;
}

export interface ChatRequest extends AnswerOptions {
  /** Begins and ends with the user; user and assistant take turns. */
  messages: readonly ChatMessage[];
  /** Whether strings such as `<|image start|>` in texts become special tokens. Off by default: they are text. */
  allowSpecial?: boolean;
}

/** One picture, in bytes or tokens, or one clip in tokens. */
export type OnePicture = { image: RgbImage | CodeGrid; clip?: undefined } | { clip: CodeClip; image?: undefined };

export type DescribeRequest = OnePicture & Omit<ChatRequest, 'messages'> & { question: string };

export type CaptionRequest = OnePicture & AnswerOptions;

export interface ChatBatchEvents extends AnswerBatchEvents {
  /** Pictures encoded before, and those encoded now. The same one in several requests of a batch is encoded once anyway. */
  encodedImages?: WeakMap<RgbImage, CodeGrid>;
}

export interface ChatContext {
  tokenizer: TextTokenizer;
  defaults: GenerationDefaults;
  pixelLimits: PixelLimits;
  contextLength: number;
  encode: (image: RgbImage) => Promise<CodeGrid>;
}

/**
 * Plans answers to conversations. All of them are checked, whether they fit the context too, before a picture is encoded.
 *
 * @throws Emu3Error `prompt` for a conversation that cannot be answered or does not fit, `argument` for a longest answer
 *   that is no whole number from 1 and for no requests, `image` and `token` for bad pictures.
 */
export async function planChats(
  requests: readonly ChatRequest[],
  context: ChatContext,
  encodedImages: WeakMap<RgbImage, CodeGrid>,
): Promise<AnswerPlan[]> {
  if (requests.length === 0) {
    throw new Emu3Error('There is nothing to answer.', {
      code: 'argument',
      where: 'requests',
      fix: 'Give a conversation.',
    });
  }
  const places = requests.map((_, index) => (requests.length === 1 ? 'messages' : `requests[${index}].messages`));
  for (const [index, request] of requests.entries()) {
    const blank = request.messages.map((message) =>
      turnOf(
        message,
        imagesOf(message).map((image) => blankCodes(image, context.pixelLimits)),
      ),
    );
    planChat(request, blank, places[index], context);
  }
  const plans: AnswerPlan[] = [];
  for (const [index, request] of requests.entries()) {
    const turns: ConversationTurn[] = [];
    for (const message of request.messages) {
      const images: CodeGrid[] = [];
      for (const image of imagesOf(message)) images.push(await encodeOnce(image));
      turns.push(turnOf(message, images));
    }
    plans.push(planChat(request, turns, places[index], context));
  }
  return plans;

  async function encodeOnce(image: RgbImage | CodeGrid): Promise<CodeGrid> {
    if (!('rgb' in image)) return image;
    const codes = encodedImages.get(image) ?? (await context.encode(image));
    encodedImages.set(image, codes);
    return codes;
  }
}

/** Plans a caption. @throws Emu3Error as {@link planChats}; `argument` without a picture or a clip. */
export async function planCaption(request: CaptionRequest, context: ChatContext): Promise<AnswerPlan> {
  const { image, clip } = onePicture(request, 'caption');
  const planWith = (vision: VisionCodes): AnswerPlan =>
    planAnswer(request, context, (limits) =>
      captionPromptIds(context.tokenizer, vision, { where: 'caption', ...limits }),
    );
  if (clip !== undefined) return planWith(clip);
  const plan = planWith(blankCodes(image, context.pixelLimits));
  return 'rgb' in image ? planWith(await context.encode(image)) : plan;
}

/** A question about one picture as a conversation. @throws Emu3Error `argument` without a picture or a clip. */
export function singleQuestion(request: DescribeRequest): ChatMessage[] {
  const { image, clip } = onePicture(request, 'describe');
  const about = clip === undefined ? { images: [image] } : { clips: [clip] };
  return [{ role: 'user', text: request.question, ...about }];
}

/** Callers in plain JavaScript may have left out both. */
function onePicture(picture: OnePicture, where: string): OnePicture {
  if (picture.image !== undefined || picture.clip !== undefined) return picture;
  throw new Emu3Error('There is no picture.', {
    code: 'argument',
    where,
    fix: 'Give an image or a clip; questions without one go to chat.',
  });
}

function planChat(
  request: ChatRequest,
  turns: readonly ConversationTurn[],
  where: string,
  context: ChatContext,
): AnswerPlan {
  const { allowSpecial = false } = request;
  return planAnswer(request, context, (limits) =>
    conversationPromptIds(context.tokenizer, { turns, allowSpecial, where, ...limits }),
  );
}

function planAnswer(
  request: AnswerOptions,
  { defaults, contextLength }: ChatContext,
  promptOf: (limits: { answerLength: number; contextLength: number }) => number[],
): AnswerPlan {
  const { maxNewTokens } = request;
  if (maxNewTokens !== undefined) checkCount(maxNewTokens, 'maxNewTokens');
  const prompt = promptOf({ answerLength: maxNewTokens ?? 1, contextLength });
  const newTokens = maxNewTokens ?? Math.min(defaults.maxNewTokens, contextLength - prompt.length);
  return { prompt, newTokens, sampling: samplingOf(request, { ...defaults, temperature: 0 }) };
}

function imagesOf(message: ChatMessage): readonly (RgbImage | CodeGrid)[] {
  return message.role === 'user' ? (message.images ?? []) : [];
}

function turnOf(message: ChatMessage, images: readonly CodeGrid[]): ConversationTurn {
  if (message.role !== 'user') return message;
  const { role, text, clips = [] } = message;
  return { role, text, vision: [...images, ...clips] };
}

/** What a picture takes as tokens, before it is encoded. */
function blankCodes(image: RgbImage | CodeGrid, limits: PixelLimits): CodeGrid {
  if (!('rgb' in image)) return image;
  const pixels = smartResize(image.height, image.width, limits);
  const [height, width] = [pixels.height / limits.factor, pixels.width / limits.factor];
  return { height, width, codes: new Uint32Array(height * width) };
}
