/** What there is in the world: things, colours, backgrounds, styles. Each word below is one that captions and questions use. */

/** The artwork by its style word: Fluent Emoji (flat) by Microsoft, Noto Emoji by Google, Twemoji by Twitter (CC-BY-4.0). */
export const styles = ['fluent', 'noto', 'twemoji'] as const;
export type Style = (typeof styles)[number];

/** Twemoji is never trained on: it shows whether a model reads things or knows their artwork by heart. */
export const trainedStyles: readonly Style[] = ['fluent', 'noto'];

/** Things by their noun, with the icon that shows them in every package. */
export const icons = {
  apple: 'red-apple',
  butterfly: 'butterfly',
  car: 'automobile',
  cat: 'cat-face',
  dog: 'dog-face',
  fish: 'tropical-fish',
  heart: 'red-heart',
  house: 'house',
  mushroom: 'mushroom',
  rocket: 'rocket',
  star: 'star',
  tree: 'evergreen-tree',
} as const;
export type Noun = keyof typeof icons;
export const nouns = Object.keys(icons) as Noun[];

/** Colours that a thing may be painted in, sRGB bytes. A thing that is not painted has the colours of its artwork. */
export const paints = {
  red: [220, 40, 40],
  yellow: [245, 200, 20],
  green: [40, 165, 65],
  blue: [45, 95, 225],
  purple: [150, 60, 195],
} as const;
export type Color = keyof typeof paints;
export const colors = Object.keys(paints) as Color[];

/** Backgrounds, sRGB bytes. */
export const backgroundPaints = {
  white: [255, 255, 255],
  pink: [255, 200, 215],
  gray: [185, 190, 195],
  mint: [185, 235, 205],
} as const;
export type Background = keyof typeof backgroundPaints;
export const backgrounds = Object.keys(backgroundPaints) as Background[];

export const motionKinds = [
  'moves left',
  'moves right',
  'moves up',
  'moves down',
  'bounces',
  'grows',
  'shrinks',
  'spins',
  'enters',
  'leaves',
] as const;
export type MotionKind = (typeof motionKinds)[number];

const irregularPlurals: Partial<Record<Noun, string>> = { butterfly: 'butterflies', fish: 'fish' };

export function plural(noun: Noun): string {
  return irregularPlurals[noun] ?? `${noun}s`;
}

export function withArticle(words: string): string {
  return `${/^[aeiou]/.test(words) ? 'an' : 'a'} ${words}`;
}

/** Numbers in words, from zero to six. */
export const numberWords = ['zero', 'one', 'two', 'three', 'four', 'five', 'six'] as const;
