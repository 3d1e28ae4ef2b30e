import { backgrounds, colors, motionKinds, nouns, styles, type Noun } from '../world/words.js';
import { motionPhrase, phraseOf, placePhrase } from '../world/captions.js';

/** What a caption says, facet by facet: lists in which the same may stand several times. */
export interface CaptionFacets {
  /** "car". */
  readonly noun: readonly string[];
  /** "red car"; "car" for one in the colours of its artwork. */
  readonly color: readonly string[];
  /** "2 car". */
  readonly count: readonly string[];
  /** "car at the top left". */
  readonly place: readonly string[];
  /** Of a clip: "car moves left", "car stands still". */
  readonly motion: readonly string[];
  /** Of a clip: "car slowly". */
  readonly speed: readonly string[];
  readonly background: readonly string[];
  readonly style: readonly string[];
  /** Pieces that could not be read. */
  readonly unread: readonly string[];
}

/** The longest first, as "at the top" begins "at the top left". */
const placeWords = [10, 32, 54]
  .flatMap((y) => [10, 32, 54].map((x) => placePhrase({ x, y })))
  .sort((a, b) => b.length - a.length);
const deeds = [...motionKinds.map((kind) => motionPhrase({ kind, speed: 2 }, false)), 'stands still'];
const phrases = new Map(
  nouns.flatMap((noun) =>
    [undefined, ...colors].map((color): [string, { noun: Noun; name: string }] => [
      phraseOf({ noun, color }),
      { noun, name: color === undefined ? noun : `${color} ${noun}` },
    ]),
  ),
);

/** Reads a caption of the form of `fullCaption`; what it cannot read it keeps in `unread`. */
export function parseCaption(caption: string): CaptionFacets {
  return parse(caption, (words) => (placeWords.includes(words) ? { place: words } : undefined));
}

/** Reads a caption of the form of `fullClipCaption`, with or without places. */
export function parseClipCaption(caption: string): CaptionFacets {
  return parse(caption, (words) => {
    const place = placeWords.find((each) => words.startsWith(`${each} `));
    const rest = place === undefined ? words : words.slice(place.length + 1);
    if (rest === 'stands still') return { place, motion: rest };
    const [, motion, speed] = /^(.+) (slowly|quickly)$/.exec(rest) ?? [];
    const isDeed = motion !== undefined && motion !== 'stands still' && deeds.includes(motion);
    return isDeed ? { place, motion, speed } : undefined;
  });
}

/** What is said of a thing behind its name. */
interface Said {
  readonly place?: string | undefined;
  readonly motion?: string;
  readonly speed?: string;
}

function parse(caption: string, readPlace: (words: string) => Said | undefined): CaptionFacets {
  const facets = {
    noun: [] as string[],
    color: [] as string[],
    place: [] as string[],
    motion: [] as string[],
    speed: [] as string[],
    background: [] as string[],
    style: [] as string[],
    unread: [] as string[],
  };
  const pieces = caption
    .toLowerCase()
    .replace(/\s+/g, ' ')
    .replace(/\.\s*$/, '')
    .trim()
    .split(/ ?, ?/);
  for (const piece of pieces.filter((text) => text !== '')) {
    const [, word, kind] = /^(\w+) (background|style)$/.exec(piece) ?? [];
    if (kind === 'background' && backgrounds.some((each) => each === word)) facets.background.push(word);
    else if (kind === 'style' && styles.some((each) => each === word)) facets.style.push(word);
    else {
      const thing = readThing(piece, readPlace);
      if (thing === undefined) facets.unread.push(piece);
      else {
        facets.noun.push(thing.noun);
        facets.color.push(thing.name);
        if (thing.place !== undefined) facets.place.push(`${thing.noun} ${thing.place}`);
        if (thing.motion !== undefined) facets.motion.push(`${thing.noun} ${thing.motion}`);
        if (thing.speed !== undefined) facets.speed.push(`${thing.noun} ${thing.speed}`);
      }
    }
  }
  const counts = [...new Set(facets.noun)].map(
    (noun) => `${facets.noun.filter((each) => each === noun).length} ${noun}`,
  );
  return { ...facets, count: counts };
}

function readThing(
  piece: string,
  readPlace: (words: string) => Said | undefined,
): (Said & { noun: Noun; name: string }) | undefined {
  for (const [phrase, thing] of phrases) {
    if (!piece.startsWith(`${phrase} `)) continue;
    const place = readPlace(piece.slice(phrase.length + 1));
    if (place !== undefined) return { ...thing, ...place };
  }
  return undefined;
}

export const facetNames = ['noun', 'color', 'count', 'place', 'motion', 'speed', 'background', 'style'] as const;
export type FacetName = (typeof facetNames)[number];

/** How many of what is said is so: the common part of two lists, what stands twice counted twice. */
export function commonCount(said: readonly string[], so: readonly string[]): number {
  const left = [...so];
  let count = 0;
  for (const each of said) {
    const index = left.indexOf(each);
    if (index < 0) continue;
    left.splice(index, 1);
    count += 1;
  }
  return count;
}
