import type { Concept } from './concepts.js';
import { hashString, SeededRandom } from '../world/random.js';

/**
 * The prompt that evaluation uses, and the first caption of every picture: `a tiger face, noto style`.
 * @param phrase the concept's noun phrase with its article.
 */
export function canonicalCaption(phrase: string, style: string): string {
  return `${phrase}, ${style} style`;
}

/** Ways to say the same; `{phrase}` has the article, `{name}` has not. */
const TEMPLATES = [
  '{name}, {style} style',
  'a picture of {phrase} in {style} style',
  'a {style} style picture of {phrase}',
  '{phrase} in the {style} style',
  '{style} style, {phrase}',
  'an emoji of {phrase}, {style} style',
];

/** Emojibase keywords that say nothing of the picture, or are not plain words. */
const KEYWORD_PATTERN = /^[a-z]{3,12}( [a-z]{3,12})?$/;

/**
 * The captions of one picture, without repeats: the canonical one first, then every template, then up to two that add
 * a keyword to the canonical form (`a tiger face, predator, noto style`). Which keywords depends on the icon's name
 * alone, so that both styles of a concept share them.
 * @param tags keywords of the emoji from emojibase, in its order.
 */
export function makeCaptions(concept: Concept, style: string, tags: readonly string[]): string[] {
  const captions = [canonicalCaption(concept.phrase, style)];
  for (const template of TEMPLATES) {
    captions.push(
      template.replace('{phrase}', concept.phrase).replace('{name}', concept.name).replace('{style}', style),
    );
  }
  const words = new Set(concept.name.toLowerCase().split(' '));
  const keywords = tags.filter((tag) => KEYWORD_PATTERN.test(tag) && !tag.split(' ').some((word) => words.has(word)));
  const random = new SeededRandom(hashString(concept.icon));
  for (const keyword of random.shuffled(keywords).slice(0, 2)) {
    captions.push(`${concept.phrase}, ${keyword}, ${style} style`);
  }
  return [...new Set(captions)];
}
