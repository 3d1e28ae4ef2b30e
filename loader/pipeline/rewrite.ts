/** Short prompts, which the model writes out in full before it draws from them. */
import { conversationPromptIds, latentFrameLength, type CodeClip, type TextTokenizer } from '../../tokenizer/index.js';
import { checkNotEmpty } from '../../tokenizer/document/prompts.js';
import type { ChatRequest } from './chat.js';
import { lastFrames } from './clip.js';
import type { GenerationDefaults } from './generation-config.js';

/** Tokens of the longest prompt that is written. */
const longestPrompt = 80;

export interface PromptToRewrite {
  /** What to show, in short. */
  prompt: string;
  /** 0 to 2^32 - 1. Other seeds give other pictures that fit the prompt. Default: random. */
  seed?: number;
  /** What a video begins with: the model sees the last of it, as much as fits, and writes what the prompt leaves out of it. */
  beginning?: CodeClip;
}

interface RewriteContext {
  tokenizer: TextTokenizer;
  defaults: GenerationDefaults;
  contextLength: number;
}

/**
 * The question to whose answer a prompt is rewritten: nothing but the prompt, behind what is seen.
 * @throws Emu3Error `prompt` for an empty prompt.
 */
export function rewritingQuestion(
  { prompt, seed, beginning }: PromptToRewrite,
  { defaults, ...context }: RewriteContext,
): ChatRequest {
  checkNotEmpty(prompt, 'prompt');
  const { temperature, topK, topP } = defaults;
  return {
    messages: [{ role: 'user', text: prompt, ...(beginning && { clips: [visiblePart(prompt, beginning, context)] }) }],
    maxNewTokens: longestPrompt,
    // What is seen is told by the likeliest words: chance would only name it wrongly.
    temperature: beginning ? 0 : temperature,
    topK,
    topP,
    ...(seed !== undefined && { seed }),
  };
}

/** The last latent frames that fit the context; one when not even that fits, so that planning tells why. */
function visiblePart(
  prompt: string,
  clip: CodeClip,
  { tokenizer, contextLength }: Omit<RewriteContext, 'defaults'>,
): CodeClip {
  const room = contextLength - longestPrompt;
  for (let frames = clip.frames; frames > 1; frames--) {
    if (frames * latentFrameLength(clip) >= room) continue;
    const seen = lastFrames(clip, frames);
    const turns = [{ role: 'user' as const, text: prompt, vision: [seen] }];
    if (conversationPromptIds(tokenizer, { turns }).length <= room) return seen;
  }
  return lastFrames(clip, 1);
}
