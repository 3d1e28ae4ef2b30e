import { describe, expect, it } from 'vitest';
import {
  buildTokenizerJson,
  captionLastSample,
  captionPrompt,
  captionPromptIds,
  conversationPrompt,
  conversationPromptIds,
  conversationSample,
  documentIds,
  documentString,
  ignoreIndex,
  imageSegments,
  isVisual,
  textTokenizerFromJson,
  understandingPrompt,
  understandingPromptIds,
  understandingSample,
  videoSegments,
  type AssistantTurn,
  type CodeClip,
  type CodeGrid,
  type ConversationTurn,
  type UserTurn,
} from '../../tokenizer/index.js';

const nano = textTokenizerFromJson(
  buildTokenizerJson(['What is this? A cat in a hat.', 'You are a helpful assistant.'], {
    vocabularySize: 400,
    visualCount: 64,
  }).json,
);
const { special } = nano;

const grid: CodeGrid = { height: 2, width: 2, codes: [1, 2, 3, 4] };
const other: CodeGrid = { height: 1, width: 3, codes: [7, 8, 9] };
const clip: CodeClip = { frames: 2, height: 1, width: 2, framesPerSecond: 24, codes: [1, 2, 3, 4] };
const picture = documentString(imageSegments(grid));
const second = documentString(imageSegments(other));
const film = documentString(videoSegments(clip));

const user = (text: string, ...vision: NonNullable<UserTurn['vision']>): UserTurn => ({ role: 'user', text, vision });
const assistant = (text: string): AssistantTurn => ({ role: 'assistant', text });
const talk: ConversationTurn[] = [
  user('What is this?', grid),
  assistant(' A cat.'),
  user('And these', other, clip),
  assistant(' A hat.'),
];

describe('the layout of conversations', () => {
  it('is the released one for a single question about a single picture', () => {
    expect(conversationPrompt([user('What?', grid)])).toEqual(understandingPrompt('What?', grid));
    expect(conversationPromptIds(nano, { turns: [user('What?', grid)] })).toEqual(
      understandingPromptIds(nano, { question: 'What?', image: grid }),
    );
    const sample = conversationSample([user('What?', grid), assistant(' A cat.')], nano);
    expect(sample.ids).toEqual(documentIds(understandingSample('What?', grid, ' A cat.'), nano));
  });

  it('goes on behind the end of each answer, pictures and clips in front of the question', () => {
    const string =
      `<|extra_203|>You are a helpful assistant. USER: ${picture}What is this?. ASSISTANT: A cat.<|extra_204|>` +
      ` USER: ${second}${film}And these. ASSISTANT:`;
    expect(documentString(conversationPrompt(talk.slice(0, 3)))).toBe(string);
    expect(conversationPromptIds(nano, { turns: talk.slice(0, 3) })).toEqual(
      nano.encode(string, { allowSpecial: true }),
    );
  });

  it('continues the ids of the turn before, the answer and its end', () => {
    const first = conversationPromptIds(nano, { turns: talk.slice(0, 1) });
    const before = [...first, ...nano.encode(' A cat.'), special.eos];
    expect(conversationPromptIds(nano, { turns: talk.slice(0, 3) }).slice(0, before.length)).toEqual(before);
  });

  it('writes questions without pictures as one text', () => {
    const turns = [user('What is this?'), assistant(''), user('A cat')];
    const string =
      '<|extra_203|>You are a helpful assistant. USER: What is this?. ASSISTANT:<|extra_204|> USER: A cat. ASSISTANT:';
    expect(documentString(conversationPrompt(turns))).toBe(string);
    expect(conversationPromptIds(nano, { turns })).toEqual(nano.encode(string, { allowSpecial: true }));
  });

  it('takes clips wherever it takes pictures', () => {
    expect(documentString(understandingPrompt('What?', clip))).toBe(
      `<|extra_203|>You are a helpful assistant. USER: ${film}What?. ASSISTANT:`,
    );
    expect(documentString(captionPrompt(clip))).toBe(`<|extra_203|>${film}`);
    expect(documentString(captionLastSample('a cat', clip))).toBe(`<|extra_203|>${film}a cat<|extra_204|>`);
    expect(documentString(understandingSample('What?', clip, ' A cat.'))).toMatch(/ASSISTANT: A cat\.<\|extra_204\|>$/);
  });

  it('prompts for a caption with the beginning of the caption sample', () => {
    const prompt = captionPromptIds(nano, grid);
    expect(documentIds(captionLastSample('a cat', grid), nano)).toEqual([
      ...prompt,
      ...nano.encode('a cat'),
      special.eos,
    ]);
  });

  it('takes special strings for text unless asked not to', () => {
    const turns = [user('stop<|extra_204|><|image start|>', grid)];
    const count = (ids: number[], id: number): number => ids.filter((other) => other === id).length;
    const plain = conversationPromptIds(nano, { turns });
    expect([count(plain, special.eos), count(plain, special.boi)]).toEqual([0, 1]);
    const special_ = conversationPromptIds(nano, { turns, allowSpecial: true });
    expect([count(special_, special.eos), count(special_, special.boi)]).toEqual([1, 2]);
  });
});

describe('conversation samples', () => {
  const learnedOf = (learned?: 'answers' | 'text' | 'all'): number[] => {
    const { ids, labels } = conversationSample(talk, nano, learned);
    expect(labels).toHaveLength(ids.length);
    labels.forEach((label, index) => expect([ids[index], ignoreIndex]).toContain(label));
    return labels.filter((label) => label !== ignoreIndex);
  };

  it('learn the answers and the end of each, and nothing else', () => {
    const { ids, labels } = conversationSample(talk, nano);
    const prompt = conversationPromptIds(nano, { turns: talk.slice(0, 3) });
    expect(ids).toEqual([...prompt, ...nano.encode(' A hat.'), special.eos]);
    expect(learnedOf()).toEqual([...nano.encode(' A cat.'), special.eos, ...nano.encode(' A hat.'), special.eos]);
    expect(labels.slice(0, prompt.indexOf(special.eos) - nano.encode(' A cat.').length)).toEqual(
      Array<number>(prompt.indexOf(special.eos) - nano.encode(' A cat.').length).fill(ignoreIndex),
    );
  });

  it('learn the questions too, with their pictures or without', () => {
    const { ids } = conversationSample(talk, nano);
    expect(learnedOf('all')).toEqual(ids);
    expect(learnedOf('text')).toEqual(ids.filter((id) => !isVisual(id, special)));
    expect(ids.filter((id) => isVisual(id, special))).toHaveLength(4 + 3 + 4);
  });
});

describe('refused conversations', () => {
  const system = { role: 'system', text: 'Be brief.' } as unknown as ConversationTurn;
  it.each<[string, ConversationTurn[], RegExp]>([
    ['no turns', [], /conversation is empty.*\[turns\]/],
    ['the assistant first', [assistant(' Hello.'), user('What?')], /starts with a turn of "assistant".*\[turns\[0\]\]/],
    ['two questions in a row', [user('What?'), user('Why?')], /Turn 1 is of "user" and follows one of "user"/],
    ['two answers in a row', [user('What?'), assistant(' A'), assistant(' B')], /Turn 2 is of "assistant"/],
    ['an unknown role', [system, user('What?')], /starts with a turn of "system"/],
    ['an answer at the end', [user('What?'), assistant(' A cat.')], /of 2 turns ends with "assistant"/],
    ['an empty question', [user('What?'), assistant(' A'), user(' \n')], /question is empty.*\[turns\[2\]\]/],
    ['pictures without a question', [user('', grid, clip)], /2 pictures or clips but no question.*caption/],
  ])('%s', (_, turns, message) => {
    const refused = (): unknown => conversationPromptIds(nano, { turns });
    expect(refused).toThrow(message);
    expect(refused).toThrow(expect.objectContaining({ name: 'Emu3Error', code: 'prompt' }));
  });

  it('samples without a last answer', () => {
    expect(() => conversationSample([user('What?', grid)], nano)).toThrow(/ends with "user".*answer to learn/);
    expect(() => conversationSample([], nano)).toThrow(/conversation is empty/);
  });

  it('codes beyond the codebook', () => {
    const turns = [user('What?', { height: 1, width: 1, codes: [64] })];
    expect(() => conversationPromptIds(nano, { turns })).toThrow(expect.objectContaining({ code: 'token' }));
  });

  it('more pictures than the context holds, with what each takes and how many would fit', () => {
    const turns = [user('What?', grid, other, clip)];
    const sizes = [grid, other, clip].map((vision) => documentIds(captionPrompt(vision), nano).length - 1);
    const all = conversationPromptIds(nano, { turns }).length;
    const text = all - sizes[0] - sizes[1] - sizes[2];
    const fitted = (contextLength: number) => (): unknown =>
      conversationPromptIds(nano, { turns, answerLength: 10, contextLength });
    expect(fitted(all + 10)).not.toThrow();
    expect(fitted(all + 9)).toThrow(
      `3 pictures or clips of ${sizes.join(' + ')} tokens, ${text} tokens of text and 10 new ones are ${all + 10}, ` +
        `above the context of ${all + 9}; 2 of 3 would fit. [turns] Save 1 tokens`,
    );
    expect(fitted(text + 10 + sizes[0])).toThrow('1 of 3 would fit');
    expect(fitted(text + 10 + sizes[0] - 1)).toThrow('0 of 3 would fit');
    expect(fitted(5)).toThrow('0 of 3 would fit');
    expect(() => captionPromptIds(nano, grid, { contextLength: 8 })).toThrow(
      /1 picture or clip of .*context of 8; 0 of 1/,
    );
    expect(() => conversationPromptIds(nano, { turns: [user('What?')], contextLength: 8 })).toThrow(/context of 8/);
  });
});
