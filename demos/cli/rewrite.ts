import { Option } from 'commander';
import type { CodeClip } from '../../tokenizer/index.js';
import type { Emu3 } from '../../loader/pipeline/emu3.js';

/** Tokens of the longest prompt that is written. */
const longestPrompt = 80;

/** A prompt, and the seed of what is drawn from it: other seeds give other pictures that fit the prompt. */
export interface PromptToRewrite {
  prompt: string;
  seed: number;
  /** What a video begins with: the model sees it and writes what the prompt leaves out of it. */
  beginning?: CodeClip;
}

export function rewriteOption(): Option {
  return new Option(
    '--rewrite',
    'let the model write the prompt out in full first, with what it sees of what is given, for models that learned to',
  );
}

/**
 * Prompts as the model itself writes them out in full: asked nothing but the prompt, a model that learned it (the nano model)
 * answers with what such a picture or clip shows, and where. Emu3's evaluation had prompts rewritten too (arXiv 2409.18869,
 * section 3.1), by another model. With what a video begins with before the prompt it says what is there, beside what the prompt
 * tells of it.
 *
 * @returns as many prompts; the one given where the model has no answer.
 * @throws Emu3Error as `Emu3.chat`.
 */
export async function rewrittenPrompts(
  emu3: Emu3,
  requests: readonly PromptToRewrite[],
  { signal }: { signal?: AbortSignal },
): Promise<string[]> {
  const { temperature, topK, topP } = emu3.defaults;
  const asked = requests.map(({ prompt, seed, beginning }) => ({
    messages: [{ role: 'user' as const, text: prompt, ...(beginning && { clips: [beginning] }) }],
    maxNewTokens: longestPrompt,
    // What is seen is told by the likeliest words: chance would only name it wrongly.
    temperature: beginning ? 0 : temperature,
    topK,
    topP,
    seed,
  }));
  const answers = await emu3.chatBatch(asked, signal && { signal });
  return answers.map(({ text }, index) => text.trim() || requests[index].prompt);
}
