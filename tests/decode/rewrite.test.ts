import { beforeAll, describe, expect, it } from 'vitest';
import { Emu3, type CodeClip, type PromptToRewrite } from '../../index.js';
import { conversationPromptIds } from '../../tokenizer/index.js';
import { lastFrames } from '../../loader/pipeline/clip.js';
import { testDevice } from '../support/gpu.js';
import { modelFolder } from './model-folder.js';

/** What is left of the context beside the longest prompt that is written. */
const longestPrompt = 80;
const prompt = 'a red circle';

let emu3: Emu3;
let contextLength: number;

beforeAll(async () => {
  emu3 = await Emu3.load({ device: await testDevice(), folder: modelFolder() });
  contextLength = emu3.config.max_position_embeddings;
});

function clipOf(frames: number): CodeClip {
  const codes = Array.from({ length: frames * 16 }, (_, place) => (place * 37) % 512);
  return { frames, height: 4, width: 4, framesPerSecond: 8, codes };
}

/** The same by the chat that it is. */
async function answered({ prompt: text, seed, beginning }: PromptToRewrite): Promise<string> {
  const { temperature, topK, topP } = emu3.defaults;
  const answer = await emu3.chat({
    messages: [{ role: 'user', text, ...(beginning && { clips: [beginning] }) }],
    maxNewTokens: longestPrompt,
    ...(beginning ? { temperature: 0 } : { temperature, topK, topP, seed: seed ?? 0 }),
  });
  return answer.text.trim();
}

describe('a prompt written out in full', () => {
  it('is what the model answers to it, by its own sampling, another for each seed', async () => {
    const requests = [1, 2, 1].map((seed) => ({ prompt, seed }));
    const written = await emu3.rewritePrompts(requests);
    expect(written).toEqual([await answered(requests[0]), await answered(requests[1]), written[0]]);
    expect(new Set([prompt, ...written]).size).toBe(3);
  });

  it('is what the model answers by its likeliest words, whatever the seed, to what it sees', async () => {
    const beginning = clipOf(2);
    const requests = [1, 2].map((seed) => ({ prompt, seed, beginning }));
    const [first, second] = await emu3.rewritePrompts(requests);
    expect(first).toBe(await answered({ prompt, beginning }));
    expect(second).toBe(first);
    const [other] = await emu3.rewritePrompts([{ prompt, beginning: lastFrames(clipOf(3), 2) }]);
    expect(other).not.toBe(first);
  });

  it('sees as many of the last frames as the context holds', async () => {
    const long = clipOf(60);
    const length = (frames: number): number => {
      const turns = [{ role: 'user' as const, text: prompt, vision: [lastFrames(long, frames)] }];
      return conversationPromptIds(emu3.tokenizer, { turns }).length + longestPrompt;
    };
    let fitting = 1;
    while (length(fitting + 1) <= contextLength) fitting++;
    expect(fitting).toBeGreaterThan(1);
    expect(fitting).toBeLessThan(60);
    const [whole] = await emu3.rewritePrompts([{ prompt, beginning: long }]);
    expect(whole).toBe(await answered({ prompt, beginning: lastFrames(long, fitting) }));
    expect(whole).not.toBe(await answered({ prompt, beginning: lastFrames(long, fitting - 1) }));
  });

  it('is the prompt itself where the model has nothing to say', async () => {
    // A model of random weights always has: its answers are put in its mouth.
    const silent = Object.assign(Object.create(emu3) as Emu3, {
      chatBatch: () => Promise.resolve([{ text: '  ', ids: new Uint32Array(), finished: true }]),
    });
    expect(await silent.rewritePrompts([{ prompt }])).toEqual([prompt]);
  });

  it.each([
    ['no prompt', { prompt: ' ' }, 'prompt', 'prompt'],
    ['a seed that is none', { prompt, seed: -1 }, 'argument', 'seed'],
    [
      'codes beyond the codebook',
      { prompt, beginning: { ...clipOf(1), codes: Array<number>(16).fill(512) } },
      'token',
      '',
    ],
    [
      'a frame that does not fit',
      { prompt, beginning: { ...clipOf(1), width: 400, codes: Array<number>(1600).fill(1) } },
      'prompt',
      'messages',
    ],
  ])('is refused for %s', async (_, request, code, where) => {
    await expect(emu3.rewritePrompts([request])).rejects.toMatchObject({
      name: 'Emu3Error',
      code,
      where: expect.stringContaining(where) as unknown,
    });
  });

  it('is given up when it is cancelled, and refused for nothing', async () => {
    await expect(emu3.rewritePrompts([{ prompt }], { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'aborted',
    });
    await expect(emu3.rewritePrompts([])).rejects.toMatchObject({ code: 'argument' });
  });
});
