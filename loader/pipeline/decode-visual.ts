/** Pictures and videos through the decoder. */
import { throwIfAborted } from '../../kernels/core/errors.js';
import type { DecodedBlock, DecodeSequence } from '../../engine/decode/index.js';
import type { Size, SpecialTokens } from '../../tokenizer/index.js';
import type { DecoderPool } from './decoders.js';

/** What a picture or a video asks of the decoder. */
export interface VisualPlan {
  /** In tokens. */
  size: Size;
  /** Tokens to write. */
  steps: number;
  /** Tokens of each line of them. */
  lines: readonly number[];
  guidance: number;
  sequence: DecodeSequence;
}

/** Lines written at once at most. */
const mostLanes = 16;

/** Writes the visual tokens of several pictures or videos side by side and hands them on a row's length at a time. */
export async function decodeVisual(
  plans: readonly VisualPlan[],
  { decoders, special }: { decoders: DecoderPool; special: SpecialTokens },
  add: (block: DecodedBlock) => void,
  signal: AbortSignal | undefined,
): Promise<void> {
  throwIfAborted(signal, 'generate');
  const { prompts, steps } = longestOf(plans);
  // Pictures of one size have one schedule; others are written token by token.
  const [{ lines, size }] = plans;
  const alike = plans.every((plan) => plan.lines.join() === lines.join());
  const stagger = alike ? decoders.options.stagger : undefined;
  const lanes = stagger === undefined ? 1 : Math.min(mostLanes, Math.ceil((size.width + 1) / stagger));
  const decoder = await decoders.take({
    sequences: plans.length,
    guided: plans.some(({ guidance }) => guidance !== 1),
    // At all other places the grammar allows one id only, so no other ids need logits.
    slice: { first: special.visualStart, count: special.visualCount },
    capacity: prompts + steps,
    drafts: true,
    lanes,
  });
  const line = Math.min(...plans.map(({ size }) => size.width + 1));
  const blocks = decoder.decode({
    sequences: plans.map(({ sequence }) => sequence),
    newTokens: steps,
    blockSteps: line,
    draftPeriod: line,
    lines,
    ...(stagger !== undefined && { stagger }),
    signal,
  });
  for await (const block of blocks) add(block);
}

/** Tokens of the longest prompt, and steps of the longest answer: plans side by side need room for both together. */
export function longestOf(plans: readonly VisualPlan[]): { prompts: number; steps: number } {
  const prompts = plans.flatMap(({ sequence }) => [sequence.prompt.length, sequence.negativePrompt?.length ?? 0]);
  return { prompts: Math.max(...prompts), steps: Math.max(...plans.map(({ steps }) => steps)) };
}
