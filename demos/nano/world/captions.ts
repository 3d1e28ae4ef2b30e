import type { SeededRandom } from './random.js';
import { boxOf, pictureSize, relationsOf, type Motion, type Relation, type Scene, type SceneObject } from './scene.js';
import { numberWords, plural, withArticle } from './words.js';

/** Things that look the same, counted: "two red cars" is one group. */
export interface Group {
  readonly thing: SceneObject;
  readonly count: number;
}

/** "red car", "car". */
export function nameOf({ noun, color }: Pick<SceneObject, 'noun' | 'color'>): string {
  return color === undefined ? noun : `${color} ${noun}`;
}

/** "a red car", "an apple". */
export function phraseOf(thing: Pick<SceneObject, 'noun' | 'color'>): string {
  return withArticle(nameOf(thing));
}

/** "a red car", "two red cars". */
export function groupPhrase({ thing, count }: Group): string {
  if (count === 1) return phraseOf(thing);
  const { noun, color } = thing;
  return [numberWords[count], ...(color === undefined ? [] : [color]), plural(noun)].join(' ');
}

/** Groups in the order of their first things. */
export function groupsOf({ objects }: Scene): Group[] {
  const groups = new Map<string, Group>();
  for (const thing of objects) {
    const name = nameOf(thing);
    groups.set(name, { thing: groups.get(name)?.thing ?? thing, count: (groups.get(name)?.count ?? 0) + 1 });
  }
  return [...groups.values()];
}

/** "a red car, a tree and two stars". */
export function listOf(groups: readonly Group[]): string {
  const phrases = groups.map(groupPhrase);
  const last = phrases.pop() ?? '';
  return phrases.length === 0 ? last : `${phrases.join(', ')} and ${last}`;
}

/** "at the top left", "at the bottom", "in the center": thirds of the picture. */
export function placePhrase({ x, y }: { x: number; y: number }): string {
  const third = (value: number, low: string, high: string): string[] => {
    if (value < pictureSize * 0.4) return [low];
    return value > pictureSize * 0.6 ? [high] : [];
  };
  const words = [...third(y, 'top', 'bottom'), ...third(x, 'left', 'right')];
  return words.length === 0 ? 'in the center' : `at the ${words.join(' ')}`;
}

/** Things in reading order: by rows of things, then from the left. */
export function inReadingOrder(objects: readonly SceneObject[]): SceneObject[] {
  return [...objects].sort((a, b) => a.y - b.y || a.x - b.x);
}

/** A thing and what is said of it: its place, or what it does. */
export interface DescribedThing {
  readonly thing: SceneObject;
  readonly words: string;
}

/** The things of a still scene and where they are, in reading order. */
export function placedThings({ objects }: Scene): DescribedThing[] {
  return inReadingOrder(objects).map((thing) => ({ thing, words: placePhrase(thing) }));
}

/** "a red car at the top left, a star at the bottom right". */
export function describe(things: readonly DescribedThing[]): string {
  return things.map(({ thing, words }) => `${phraseOf(thing)} ${words}`).join(', ');
}

/**
 * All of a still scene in one fixed form, which can be read back: "a red car at the top left, a star at the bottom, pink
 * background, noto style".
 */
export function fullCaption(scene: Scene): string {
  return `${describe(placedThings(scene))}, ${settingOf(scene)}`;
}

function settingOf({ background, style }: Scene): string {
  return `${background} background, ${style} style`;
}

/** "moves left slowly", "enters from the left", "bounces". */
export function motionPhrase({ kind, speed }: Motion, withSpeed: boolean): string {
  const way = kind === 'enters' ? 'enters from the left' : kind === 'leaves' ? 'leaves to the right' : kind;
  return withSpeed ? `${way} ${speed > 2 ? 'quickly' : 'slowly'}` : way;
}

/** The things of a clip and what they do: "moves right slowly", "stands still". */
export function movingThings({ objects }: Scene): DescribedThing[] {
  return objects.map((thing) => ({
    thing,
    words: thing.motion ? motionPhrase(thing.motion, true) : 'stands still',
  }));
}

/**
 * All of a clip in one fixed form, with the places of its first frame: "a red car at the left moves right slowly, a star at
 * the top right stands still, pink background, noto style".
 */
export function fullClipCaption(scene: Scene): string {
  const things = movingThings(scene).map(({ thing, words }) => ({ thing, words: `${placePhrase(thing)} ${words}` }));
  return `${describe(things)}, ${settingOf(scene)}`;
}

const frames = [
  (words: string) => words,
  (words: string) => words,
  (words: string) => `a picture of ${words}`,
  (words: string) => `a picture with ${words}`,
  (words: string) => `draw ${words}`,
  (words: string) => `there is ${words}`,
];

/** A caption as people write it: short or full, in varied English, with or without background and style. */
export function variedCaption(scene: Scene, random: SeededRandom): string {
  if (random.next() < 0.15) return fullCaption(scene);
  const words = random.pick(frames)(contentPhrase(scene, random));
  return words + settingPhrase(scene, random);
}

/**
 * A caption as people write it, and a full one of a picture that fits it, which names the things in the same order: those
 * that look alike stand one after the other, and of "a right of b" and "a below b" b comes first. So a caption can be written
 * out thing by thing, where any order would need to be kept in mind which things were named.
 *
 * @param scene whose things are put where their order in the caption asks for them.
 */
export function writtenOut(scene: Scene, random: SeededRandom): { caption: string; full: string; scene: Scene } {
  const places = inReadingOrder(scene.objects).map(({ x, y }) => ({ x, y }));
  const alike = groupsOf(scene).flatMap(({ thing }) => scene.objects.filter((each) => nameOf(each) === nameOf(thing)));
  const objects = alike.map((thing, index) => ({ ...thing, ...places[index] }));
  const ordered = { ...scene, objects };
  const words = random.pick(frames)(orderedPhrase(ordered, random));
  return { caption: words + settingPhrase(scene, random), full: fullCaption(ordered), scene: ordered };
}

/** Background and style, each said now and then. */
function settingPhrase({ background, style }: Scene, random: SeededRandom): string {
  const where =
    random.next() < 0.4 ? random.pick([` on a ${background} background`, `, ${background} background`]) : '';
  const how = random.next() < 0.4 ? random.pick([`, ${style} style`, ` in ${style} style`]) : '';
  return `${where}${how}`;
}

const relationForms: Readonly<Record<Relation, readonly ((a: string, b: string) => string)[]>> = {
  'left of': [(a, b) => `${a} left of ${b}`, (a, b) => `${a} to the left of ${b}`],
  'right of': [(a, b) => `${a} right of ${b}`, (a, b) => `${a} to the right of ${b}`],
  above: [(a, b) => `${a} above ${b}`, (a, b) => `${a} over ${b}`],
  below: [(a, b) => `${a} below ${b}`, (a, b) => `${a} under ${b}`],
};

function contentPhrase(scene: Scene, random: SeededRandom): string {
  const objects = random.shuffled(scene.objects);
  if (objects.length === 1 && random.next() < 0.2) return `${phraseOf(objects[0])} ${placePhrase(objects[0])}`;
  if (objects.length === 2 && objects[0].noun !== objects[1].noun) {
    const [a, b] = objects;
    const relation = random.pick(relationsOf(boxOf(a), boxOf(b)));
    if (random.next() < 0.5) return random.pick(relationForms[relation])(phraseOf(a), phraseOf(b));
  }
  return listOf(random.shuffled(groupsOf(scene)));
}

/** Of things in reading order. */
function orderedPhrase(scene: Scene, random: SeededRandom): string {
  const { objects } = scene;
  const [first, second] = objects;
  if (objects.length === 1 && random.next() < 0.2) return `${phraseOf(first)} ${placePhrase(first)}`;
  if (objects.length === 2 && first.noun !== second.noun && random.next() < 0.6) {
    const phrases = [
      [first, second],
      [second, first],
    ].flatMap(([a, b]) =>
      relationsOf(boxOf(a), boxOf(b))
        .filter((relation) => (relation === 'left of' || relation === 'above') === (a === first))
        .flatMap((relation) => relationForms[relation].map((form) => form(phraseOf(a), phraseOf(b)))),
    );
    return random.pick(phrases);
  }
  return listOf(groupsOf(scene));
}

/**
 * A caption of a clip as people write it.
 *
 * @param pacesSaid share of the captions that say how quickly a thing moves.
 */
export function variedClipCaption(scene: Scene, random: SeededRandom, pacesSaid = 0.6): string {
  if (random.next() < 0.15) return fullClipCaption(scene);
  const [moving, still] = scene.objects;
  const motion = moving.motion ? motionPhrase(moving.motion, random.next() < pacesSaid) : 'stands still';
  let words = `${phraseOf(moving)} ${motion}`;
  if (still !== undefined) words += random.pick([` and ${phraseOf(still)} stands still`, ` near ${phraseOf(still)}`]);
  if (random.next() < 0.2) words = `a video of ${words}`;
  return words + settingPhrase(scene, random);
}
