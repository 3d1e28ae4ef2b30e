import { ignoreIndex, type Sample, type TextTokenizer } from '../../../tokenizer/index.js';
import type { SeededRandom } from '../world/random.js';
import { colors, nouns, plural } from '../world/words.js';

/** Tokens that stand for something of the world: of its words those that are one token, as all are in the nano model's vocabulary. */
export interface WorldWords {
  readonly colon: number;
  readonly comma: number;
  /** Of the things' nouns. */
  readonly things: ReadonlySet<number>;
  /** Each thing's forms, and each colour. */
  readonly disguised: readonly (readonly number[])[];
  /** Single letters, which no caption, question or answer has. */
  readonly letters: readonly number[];
}

export function worldWords(text: TextTokenizer): WorldWords {
  const last = (words: string): number => text.encode(words).at(-1) ?? ignoreIndex;
  const tokenOf = (word: string): number[] => {
    const ids = text.encode(` ${word}`);
    return ids.length === 1 ? ids : [];
  };
  return {
    colon: last('left:'),
    comma: last('left,'),
    things: new Set(nouns.flatMap(tokenOf)),
    disguised: [...nouns.map((noun) => [noun, plural(noun)]), ...colors.map((color) => [color])].map((forms) =>
      forms.flatMap(tokenOf),
    ),
    letters: 'ABCDEFGHIJKLMNOPQRSTUVWXYZbcdefghijklmnopqrstuvwxyz'.split('').map(last),
  };
}

/** The same with a letter for each thing and colour, by chance which: the same letter wherever the word stands. */
export function inLetters({ ids, labels }: Sample, words: WorldWords, random: SeededRandom): Sample {
  const letters = random.shuffled(words.letters);
  const disguises = new Map(words.disguised.flatMap((forms, index) => forms.map((form) => [form, letters[index]])));
  const disguise = (id: number): number => disguises.get(id) ?? id;
  return { ids: ids.map(disguise), labels: labels.map(disguise) };
}
