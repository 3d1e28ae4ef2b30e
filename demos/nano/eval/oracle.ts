import type { ClipSight } from '../check/clip.js';
import type { Sight } from '../check/checker.js';
import { phraseOf, placePhrase } from '../world/captions.js';
import { backgroundQuestion, countQuestion, directionOf, existenceQuestion, thingsIn } from '../world/questions.js';
import {
  boxOf,
  gridStep,
  objectSize,
  pictureSize,
  relationsOf,
  slotSize,
  type Relation,
  type Scene,
  type SceneObject,
} from '../world/scene.js';
import { nouns, numberWords, plural, trainedStyles, type Noun } from '../world/words.js';

/** What the checker saw, as a scene: for answering questions and captions from pixels without a model. */
export function sceneOfSight({ background, style, things }: Sight, side: number): Scene {
  const scale = pictureSize / side;
  const objects = things.map(({ noun, color, box }) => ({
    noun,
    color,
    x: ontoGrid(box.x * scale),
    y: ontoGrid(box.y * scale),
    size: objectSize,
  }));
  return { background, style: style ?? trainedStyles[0], objects };
}

/** Things stand on a grid, and a place read to the pixel would upset the reading order. */
function ontoGrid(value: number): number {
  return Math.round((value - slotSize / 2) / gridStep) * gridStep + slotSize / 2;
}

/** The same of a clip: what is known in it, with its motion. */
export function sceneOfClip({ background, style, tracks }: ClipSight): Scene {
  const objects = tracks.flatMap(({ noun, color, kind, pace, sightings }): SceneObject[] => {
    if (noun === undefined) return [];
    const { patch } = sightings[0];
    const place = { x: (patch.left + patch.right) / 2, y: (patch.top + patch.bottom) / 2, size: objectSize };
    return [{ noun, color, ...place, ...(kind !== undefined && { motion: { kind, speed: Math.round(pace) } }) }];
  });
  // What moves stands first.
  objects.sort((a, b) => Number(b.motion !== undefined) - Number(a.motion !== undefined));
  return { background, style: style ?? trainedStyles[0], objects };
}

/**
 * Answers a question of `questions.ts` about a scene, as those are answered.
 *
 * @returns an empty text for what cannot be answered: a question of another form, or about a thing that is not there.
 */
export function answerFrom(scene: Scene, question: string): string {
  const { objects, background } = scene;
  const of = (noun: string): SceneObject | undefined => objects.find((thing) => thing.noun === noun);
  const read = (pattern: RegExp): string[] | undefined => pattern.exec(question)?.slice(1);
  if (objects.length > 0 && question === 'what is in the picture?') return thingsIn(scene);
  if (question === countQuestion) return numberWords[objects.length] ?? '';
  if (question === backgroundQuestion) return background;
  const absent = nouns.find((noun) => question === existenceQuestion(noun));
  if (absent !== undefined) return of(absent) === undefined ? 'no' : 'yes';
  const counted = read(/^how many (\w+) are there\?$/);
  if (counted) {
    const noun = nouns.find((each): each is Noun => plural(each) === counted[0]);
    return noun === undefined ? '' : (numberWords[objects.filter((thing) => thing.noun === noun).length] ?? '');
  }
  const colored = read(/^what color is the (\w+)\?$/);
  if (colored) return of(colored[0])?.color ?? '';
  const placed = read(/^where is the (\w+)\?$/);
  if (placed) return whenThere(of(placed[0]), placePhrase);
  const place = read(/^what is ((?:at the|in the) .+)\?$/);
  if (place)
    return whenThere(
      objects.find((thing) => placePhrase(thing) === place[0]),
      phraseOf,
    );
  const way = read(/^which way does the (\w+) move\?$/);
  if (way) return whenThere(of(way[0]), (thing) => directionOf(thing) ?? '');
  const deed = read(/^what does the (\w+) do\?$/);
  if (deed) return whenThere(of(deed[0]), ({ motion }) => (motion === undefined ? '' : `it ${motion.kind}`));
  return answerRelation(objects, question);
}

function whenThere(thing: SceneObject | undefined, answer: (thing: SceneObject) => string): string {
  return thing === undefined ? '' : answer(thing);
}

function answerRelation(objects: readonly SceneObject[], question: string): string {
  const match = /^is the (\w+) (left of|right of|above|below) the (\w+)\?$/.exec(question);
  const [a, b] = [match?.[1], match?.[3]].map((noun) => objects.find((thing) => thing.noun === noun));
  if (match === null || a === undefined || b === undefined) return '';
  const holding: readonly string[] = relationsOf(boxOf(a), boxOf(b)) satisfies Relation[];
  return holding.includes(match[2]) ? 'yes' : 'no';
}
