import { beforeAll, describe, expect, it, vi } from 'vitest';
import {
  captionPromptIds,
  Chat,
  conversationPromptIds,
  Emu3,
  type Answer,
  type ChatMessage,
  type ChatRequest,
  type CodeClip,
  type CodeGrid,
  type DescribeRequest,
  type RgbImage,
} from '../../index.js';
import { Decoder } from '../../engine/decode/index.js';
import { TextStream } from '../../loader/pipeline/answer.js';
import { planCaption, planChats, type ChatContext } from '../../loader/pipeline/chat.js';
import { testDevice } from '../support/gpu.js';
import { modelFolder } from './model-folder.js';

let emu3: Emu3;

beforeAll(async () => {
  emu3 = await Emu3.load({ device: await testDevice(), folder: modelFolder() });
});

const bytes = (seed: number, height = 32, width = 32): RgbImage => ({
  height,
  width,
  rgb: Uint8Array.from({ length: height * width * 3 }, (_, index) => (index * seed + (index >> 5) * 11) % 256),
});
const grid: CodeGrid = { height: 2, width: 2, codes: [1, 2, 3, 4] };
const clip: CodeClip = { frames: 2, height: 1, width: 2, framesPerSecond: 24, codes: [5, 6, 7, 8] };
const user = (text: string, ...images: (RgbImage | CodeGrid)[]): ChatMessage => ({ role: 'user', text, images });

/** The random model may end an answer by chance. */
function expectLength({ ids, finished }: Answer, length: number): void {
  if (finished) expect(ids.length).toBeLessThan(length);
  else expect(ids).toHaveLength(length);
}

describe('answers', () => {
  it('are told piece by piece, and are the same for a chat of one question', async () => {
    const pieces: string[] = [];
    const image = bytes(37);
    const options = { maxNewTokens: 20, temperature: 1, seed: 3 };
    const answer = await emu3.chat({
      messages: [user('what is this', image)],
      ...options,
      onText: (piece) => pieces.push(piece),
    });
    expect(pieces.join('')).toBe(answer.text);
    expect(pieces.length).toBeGreaterThan(1);
    expectLength(answer, 20);
    expect(await emu3.describe({ question: 'what is this', image, ...options })).toEqual(answer);
    const other = await emu3.describe({ question: 'what is this', image: bytes(91), ...options });
    expect(other.ids).not.toEqual(answer.ids);
  });

  it('are written about several pictures, clips, and nothing', async () => {
    const request = { maxNewTokens: 6 };
    const messages: ChatMessage[] = [{ role: 'user', text: 'what is shown', images: [grid, bytes(37)], clips: [clip] }];
    expectLength(await emu3.chat({ messages, ...request }), 6);
    expectLength(await emu3.chat({ messages: [user('what is shown')], ...request }), 6);
    expect(await emu3.describe({ question: 'what is shown', clip, ...request })).toEqual(
      await emu3.chat({ messages: [{ role: 'user', text: 'what is shown', clips: [clip] }], ...request }),
    );
  });

  it('caption pictures and clips without a question', async () => {
    const pieces: string[] = [];
    const image = bytes(37);
    const caption = await emu3.caption({ image, maxNewTokens: 12, onText: (piece) => pieces.push(piece) });
    expect(pieces.join('')).toBe(caption.text);
    expectLength(caption, 12);
    expect(await emu3.caption({ image: await emu3.encodeImage(image), maxNewTokens: 12 })).toEqual(caption);
    expectLength(await emu3.caption({ clip, maxNewTokens: 4 }), 4);
  });

  it('side by side are those one after the other, each ending at its own end', async () => {
    const random = { temperature: 60, topK: 360, topP: 1 };
    const requests: ChatRequest[] = [
      { messages: [user('what is this', grid)], maxNewTokens: 9 },
      ...[1, 2, 3, 4, 5].map((seed) => ({
        messages: [user('what is shown '.repeat(seed), bytes(seed))],
        maxNewTokens: 120,
        ...random,
        seed,
      })),
      { messages: [user('a red circle'), { role: 'assistant', text: ' yes' }, user('where')], maxNewTokens: 1 },
    ];
    const pieces = requests.map(() => '');
    const together = await emu3.chatBatch(requests, {
      sideBySide: 3,
      onText: (piece, index) => (pieces[index] += piece),
    });
    expect(pieces).toEqual(together.map(({ text }) => text));
    // Ends come by chance here; some of the five must have one for the test to mean anything.
    const ended = together.filter(({ finished }) => finished);
    expect(ended.length).toBeGreaterThan(0);
    for (const { ids } of ended) expect(ids).not.toContain(emu3.tokenizer.special.eos);
    expectLength(together[0], 9);
    expectLength(together[6], 1);
    for (const [index, request] of requests.entries()) {
      expect(await emu3.chat(request), `request ${index}`).toEqual(together[index]);
    }
  });

  it('wait where the context has no room for the steps of others', async () => {
    const requests: ChatRequest[] = [
      { messages: [user('moon '.repeat(80))], maxNewTokens: 2 },
      { messages: [user('what')], maxNewTokens: 400 },
    ];
    const { length } = conversationPromptIds(emu3.tokenizer, { turns: [{ role: 'user', text: 'moon '.repeat(80) }] });
    expect(length + 400).toBeGreaterThan(512);
    const [short, long] = await emu3.chatBatch(requests);
    expectLength(short, 2);
    expectLength(long, 400);
  });
});

describe('a chat', () => {
  it('goes on as the whole conversation in one go, and encodes each picture once', async () => {
    const image = bytes(37);
    const later = bytes(91);
    const encode = vi.spyOn(emu3, 'encodeImage');
    const chat = new Chat(emu3);
    const options = { maxNewTokens: 8, temperature: 1, seed: 2 };
    const pieces: string[] = [];
    const first = await chat.ask({ text: 'what is this', images: [image], ...options });
    const second = await chat.ask({
      text: 'and this',
      images: [later, image],
      clips: [clip],
      ...options,
      onText: (piece) => pieces.push(piece),
    });
    expect(encode).toHaveBeenCalledTimes(2);
    encode.mockRestore();
    const messages: ChatMessage[] = [
      user('what is this', image),
      { role: 'assistant', text: first.text },
      { role: 'user', text: 'and this', images: [later, image], clips: [clip] },
    ];
    expect(chat.messages).toEqual([...messages, { role: 'assistant', text: second.text }]);
    expect(await emu3.chat({ messages, ...options })).toEqual(second);
    expect(pieces.join('')).toBe(second.text);
  });

  it('reads no picture again in later turns, and answers as if it had', async () => {
    const own = await Emu3.load({ device: await testDevice(), folder: modelFolder() });
    const decode = vi.spyOn(Decoder.prototype, 'decode');
    const chat = new Chat(own);
    const images = Array.from({ length: 9 }, (_, index) => bytes(37 + index));
    const options = { maxNewTokens: 4 };
    await chat.ask({ text: 'what is this', images, ...options });
    const [decoder] = decode.mock.contexts as Decoder[];
    const run = vi.spyOn(decoder.prefill, 'run');
    const answer = await chat.ask({ text: 'and this', ...options });
    expect(decode.mock.contexts[1]).toBe(decoder);
    const turns = run.mock.calls.length;
    expect(await emu3.chat({ messages: chat.messages.slice(0, -1), ...options })).toEqual(answer);
    run.mockClear();
    await new Chat(own).ask({ text: 'something else entirely', images: images.toReversed(), ...options });
    expect(turns).toBeLessThan(run.mock.calls.length / 2);
    decode.mockRestore();
    await own.destroy();
  });

  it('stays as it was when a question fails', async () => {
    const chat = new Chat(emu3);
    await chat.ask({ text: 'what', images: [grid], maxNewTokens: 2 });
    const before = chat.messages;
    await expect(chat.ask({ text: ' ' })).rejects.toMatchObject({ code: 'prompt' });
    await expect(chat.ask({ text: 'what', signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'aborted' });
    expect(chat.messages).toBe(before);
    const answering = chat.ask({ text: 'where', maxNewTokens: 2 });
    await expect(chat.ask({ text: 'when', maxNewTokens: 2 })).rejects.toMatchObject({ code: 'argument' });
    await answering;
    expect(chat.messages).toHaveLength(4);
  });
});

describe('plans', () => {
  const encoded: CodeGrid = { height: 4, width: 4, codes: new Uint32Array(16).fill(3) };
  const contextOf = (contextLength = 512): ChatContext & { encode: ReturnType<typeof vi.fn> } => ({
    tokenizer: emu3.tokenizer,
    defaults: emu3.defaults,
    pixelLimits: emu3.pixelLimits,
    contextLength,
    encode: vi.fn(async () => encoded),
  });

  it('hold images, then clips, then the text, each picture encoded once for all requests', async () => {
    const context = contextOf();
    const image = bytes(37);
    const messages: ChatMessage[] = [{ role: 'user', text: 'what', images: [image, grid], clips: [clip] }];
    const plans = await planChats([{ messages }, { messages: [user('where', image)] }], context, new WeakMap());
    const promptOf = (text: string, ...vision: (CodeGrid | CodeClip)[]): number[] =>
      conversationPromptIds(emu3.tokenizer, { turns: [{ role: 'user', text, vision }] });
    expect(plans.map(({ prompt }) => prompt)).toEqual([
      promptOf('what', encoded, grid, clip),
      promptOf('where', encoded),
    ]);
    expect(context.encode).toHaveBeenCalledTimes(1);
    expect((await planCaption({ image }, context)).prompt).toEqual(captionPromptIds(emu3.tokenizer, encoded));
  });

  it('allow answers as long as the model says, or as the context has room for', async () => {
    const messages = [user('what', grid)];
    const [{ prompt, newTokens }] = await planChats([{ messages }], contextOf(), new WeakMap());
    expect(newTokens).toBe(24);
    const lengthIn = async (room: number): Promise<number> =>
      (await planChats([{ messages }], contextOf(prompt.length + room), new WeakMap()))[0].newTokens;
    expect(await lengthIn(7)).toBe(7);
    expect(await lengthIn(1)).toBe(1);
    await expect(lengthIn(0)).rejects.toMatchObject({ code: 'prompt' });
  });

  it('refuse what does not fit before a picture is encoded, and name the request', async () => {
    const context = contextOf(120);
    const three = [1, 2, 3].map((seed) => bytes(seed));
    const requests = [{ messages: [user('what', grid)] }, { messages: [user('what', ...three)] }];
    const refused = planChats(requests, context, new WeakMap());
    await expect(refused).rejects.toMatchObject({ code: 'prompt', where: 'requests[1].messages' });
    await expect(refused).rejects.toThrow(/3 pictures or clips of 27 \+ 27 \+ 27 tokens.*of 120; \d of 3 would fit/);
    await expect(planCaption({ image: bytes(1) }, contextOf(20))).rejects.toMatchObject({ code: 'prompt' });
    expect(context.encode).not.toHaveBeenCalled();
  });

  it('take special strings for text unless asked not to', async () => {
    const messages = [user('a <|extra_204|>', grid)];
    const [plain, special] = await planChats(
      [{ messages }, { messages, allowSpecial: true }],
      contextOf(),
      new WeakMap(),
    );
    expect(plain.prompt).not.toContain(emu3.tokenizer.special.eos);
    expect(special.prompt).toContain(emu3.tokenizer.special.eos);
  });
});

describe('refusals', () => {
  const image = grid;
  const messages = [user('what', grid)];
  it.each<[string, Omit<ChatRequest, 'messages'> & { messages: ChatMessage[]; signal?: AbortSignal }, string]>([
    ['an empty conversation', { messages: [] }, 'prompt'],
    ['pictures without a question', { messages: [user('', grid)] }, 'prompt'],
    ['two questions in a row', { messages: [user('what'), user('why')] }, 'prompt'],
    ['an answer at the end', { messages: [user('what'), { role: 'assistant', text: ' a' }] }, 'prompt'],
    ['more pictures than fit', { messages: [user('what', ...Array.from({ length: 30 }, () => bytes(3)))] }, 'prompt'],
    ['an answer of no tokens', { messages, maxNewTokens: 0 }, 'argument'],
    ['an answer of half a token', { messages, maxNewTokens: 0.5 }, 'argument'],
    ['an answer beyond the context', { messages, maxNewTokens: 500 }, 'prompt'],
    ['a negative temperature', { messages, temperature: -1 }, 'argument'],
    ['top-p of 0', { messages, topP: 0 }, 'argument'],
    ['a seed beyond 32 bits', { messages, seed: 2 ** 32 }, 'argument'],
    ['a picture too small', { messages: [user('what', bytes(3, 4, 4))] }, 'image'],
    ['a code beyond the codebook', { messages: [user('what', { height: 1, width: 1, codes: [512] })] }, 'token'],
    ['a signal that has fired', { messages, signal: AbortSignal.abort() }, 'aborted'],
  ])('of %s', async (_, request, code) => {
    await expect(emu3.chat(request)).rejects.toMatchObject({ name: 'Emu3Error', code });
  });

  it('of a question about no picture, no questions at all, and no place for answers', async () => {
    const none = { question: 'what is this' } as unknown as DescribeRequest;
    await expect(emu3.describe(none)).rejects.toMatchObject({ code: 'argument', where: 'describe' });
    await expect(emu3.caption(none)).rejects.toMatchObject({ code: 'argument', where: 'caption' });
    await expect(emu3.chatBatch([])).rejects.toMatchObject({ code: 'argument' });
    await expect(emu3.chatBatch([{ messages }], { sideBySide: 0 })).rejects.toMatchObject({ code: 'argument' });
    await expect(emu3.caption({ image, maxNewTokens: 0 })).rejects.toMatchObject({ code: 'argument' });
  });

  it('of an answer stopped midway, after which the model still answers', async () => {
    const controller = new AbortController();
    const requests = [1, 2, 3, 4, 5, 6, 7, 8].map((seed) => ({ messages, maxNewTokens: 60, temperature: 1, seed }));
    const answers = await emu3.chatBatch(requests);
    const long = answers.findIndex(({ ids }) => ids.length > 40);
    const stopped = emu3.chat({ ...requests[long], signal: controller.signal, onText: () => controller.abort() });
    await expect(stopped).rejects.toMatchObject({ code: 'aborted' });
    expect(await emu3.chat(requests[long])).toEqual(answers[long]);
  });
});

describe('text as it is decoded', () => {
  it('is never told with half a character, and once only', () => {
    const { tokenizer } = emu3;
    const text = 'what is a naïve 日本 🙂 cat';
    let decoded = 0;
    const counting = {
      ...tokenizer,
      decode: (...args: Parameters<typeof tokenizer.decode>): string => {
        decoded += args[0].length;
        return tokenizer.decode(...args);
      },
    };
    const stream = new TextStream(counting);
    const ids = tokenizer.encode(text.repeat(20));
    const pieces = ids.map((id) => stream.add(id));
    expect(pieces.join('')).toBe(text.repeat(20));
    expect(pieces.join('')).not.toContain('\ufffd');
    expect([stream.end(), stream.text]).toEqual(['', text.repeat(20)]);
    // A character has 4 bytes at most: its tokens are looked at 1 + 2 + 3 + 4 times.
    expect(decoded).toBeLessThanOrEqual(2.5 * ids.length);
  });

  it('is that of all ids decoded at once, whatever they are', () => {
    const { tokenizer } = emu3;
    const ids = Array.from(
      { length: 400 },
      (_, index) => (index * 7919 + index * index * 31) % tokenizer.special.visualStart,
    );
    const stream = new TextStream(tokenizer);
    const told = ids.map((id) => stream.add(id)).join('') + stream.end();
    expect(told).toBe(tokenizer.decode(ids, { skipSpecial: true }));
    expect(stream.ids).toEqual(ids);
  });
});
