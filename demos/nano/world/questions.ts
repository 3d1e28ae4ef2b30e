import {
  groupsOf,
  inReadingOrder,
  listOf,
  movingThings,
  phraseOf,
  placedThings,
  placePhrase,
  type DescribedThing,
} from './captions.js';
import type { SeededRandom } from './random.js';
import { boxOf, relationsOf, type Relation, type Scene, type SceneObject } from './scene.js';
import { nouns, numberWords, plural, withArticle, type Noun } from './words.js';

export const questionTypes = ['what', 'how many', 'color', 'where', 'is there', 'relation', 'motion'] as const;
export type QuestionType = (typeof questionTypes)[number];

export interface Question {
  readonly type: QuestionType;
  /** With its question mark. */
  readonly question: string;
  /** In lower case, without a full stop. */
  readonly answer: string;
}

/** "is there a car in the picture?", the question of POPE (Li et al. 2023, arXiv 2305.10355). */
export function existenceQuestion(noun: Noun): string {
  return `is there ${withArticle(noun)} in the picture?`;
}

export const backgroundQuestion = 'what color is the background?';
export const countQuestion = 'how many things are there?';

/** How often each is asked: what is answered by yes or no more often, as such answers are the least to learn from. */
const stillQuestions = [
  ...(['what', 'how many', 'color', 'color', 'where'] as const),
  ...(['is there', 'is there', 'is there', 'relation', 'relation'] as const),
];

/** Of questions about things that are only named: what is looked up is learned soon, what is compared and counted is not. */
export const comparingQuestions: readonly QuestionType[] = [
  ...(['is there', 'is there', 'is there', 'how many', 'how many', 'how many'] as const),
  ...(['relation', 'relation', 'relation', 'relation', 'relation', 'color', 'what', 'where'] as const),
];

/** A question about a still scene with its one right answer, of these types, each as often as it stands there. */
export function drawQuestion(
  scene: Scene,
  random: SeededRandom,
  types: readonly QuestionType[] = stillQuestions,
): Question {
  for (;;) {
    const type = random.pick(types);
    const question = ask(type, scene, random);
    if (question !== undefined) return { type, ...question };
  }
}

/** A question of one type, or undefined when the scene has nothing to ask about. */
export function ask(
  type: QuestionType,
  scene: Scene,
  random: SeededRandom,
): { question: string; answer: string } | undefined {
  const { objects } = scene;
  const present = [...new Set(objects.map(({ noun }) => noun))];
  const absent = nouns.filter((noun) => !present.includes(noun));
  /** Things whose noun no other has: "the car" is one of them. */
  const single = objects.filter(({ noun }) => objects.filter((other) => other.noun === noun).length === 1);
  switch (type) {
    case 'what': {
      if (random.next() < 0.5) return { question: 'what is in the picture?', answer: thingsIn(scene) };
      const thing = random.pick(objects);
      const place = placePhrase(thing);
      if (objects.filter((other) => placePhrase(other) === place).length > 1) return undefined;
      return { question: `what is ${place}?`, answer: phraseOf(thing) };
    }
    case 'how many': {
      if (random.next() < 0.3) return { question: countQuestion, answer: numberWords[objects.length] };
      const noun = random.next() < 0.8 ? random.pick(present) : random.pick(absent);
      const count = objects.filter((thing) => thing.noun === noun).length;
      return { question: `how many ${plural(noun)} are there?`, answer: numberWords[count] };
    }
    case 'color': {
      if (random.next() < 0.25) return { question: backgroundQuestion, answer: scene.background };
      const painted = single.filter(({ color }) => color !== undefined);
      if (painted.length === 0) return undefined;
      const thing = random.pick(painted);
      return { question: `what color is the ${thing.noun}?`, answer: String(thing.color) };
    }
    case 'where': {
      if (single.length === 0) return undefined;
      const thing = random.pick(single);
      return { question: `where is the ${thing.noun}?`, answer: placePhrase(thing) };
    }
    case 'is there': {
      const there = random.next() < 0.5;
      return {
        question: existenceQuestion(there ? random.pick(present) : random.pick(absent)),
        answer: there ? 'yes' : 'no',
      };
    }
    case 'relation': {
      if (single.length < 2) return undefined;
      const [a, b] = random.shuffled(single);
      const holding = relationsOf(boxOf(a), boxOf(b));
      const asked = random.pick<Relation>(['left of', 'right of', 'above', 'below']);
      // A relation and its opposite only: what lies askew is left alone, so that half the answers are yes.
      const opposite = relationsOf(boxOf(b), boxOf(a));
      if (!holding.includes(asked) && !opposite.includes(asked)) return undefined;
      return { question: `is the ${a.noun} ${asked} the ${b.noun}?`, answer: holding.includes(asked) ? 'yes' : 'no' };
    }
    case 'motion': {
      const [moving] = objects;
      if (moving.motion === undefined) return undefined;
      return motionQuestion(moving, random);
    }
  }
}

/** A question about a clip. */
export function drawClipQuestion(scene: Scene, random: SeededRandom): Question {
  for (;;) {
    const chance = random.next();
    const type = chance < 0.45 ? 'motion' : chance < 0.65 ? 'color' : 'is there';
    const question = ask(type, scene, random);
    if (question !== undefined) return { type, ...question };
  }
}

/** "the direction in which it goes": left, right, up, down, or undefined for what stays in its place. */
export function directionOf({ motion }: Pick<SceneObject, 'motion'>): 'left' | 'right' | 'up' | 'down' | undefined {
  switch (motion?.kind) {
    case 'moves left':
      return 'left';
    case 'moves right':
    case 'enters':
    case 'leaves':
      return 'right';
    case 'moves up':
      return 'up';
    case 'moves down':
      return 'down';
    default:
      return undefined;
  }
}

function motionQuestion(thing: SceneObject, random: SeededRandom): { question: string; answer: string } | undefined {
  const { noun, motion } = thing;
  if (motion === undefined) return undefined;
  const direction = directionOf(thing);
  if (direction !== undefined && random.next() < 0.5) {
    return { question: `which way does the ${noun} move?`, answer: direction };
  }
  return { question: `what does the ${noun} do?`, answer: `it ${motion.kind}` };
}

/**
 * An answer as the nano model is taught to give it: first what it sees, then what follows from that (chain of thought, Wei et
 * al. 2022, arXiv 2201.11903). What is asked about is confirmed or counted where it is named: "a red car at the top left, a
 * star, yes, at the bottom right: yes", "a cat, one, at the top left, a cat, two, at the top right: two". Whether a word is
 * the one asked about is decided beside that word, and what the answer comes to is read off the marks: small steps, of which
 * a small transformer learns each. Before a relation comes where both things are, in the direction that is asked about: "is
 * the star left of the car?" "...: star right, car left: no".
 */
export function reasonedAnswer(scene: Scene, { question, answer }: Pick<Question, 'question' | 'answer'>): string {
  if (question === backgroundQuestion) return answer;
  const moves = scene.objects.some(({ motion }) => motion !== undefined);
  const seen = moves ? movingThings(scene) : placedThings(scene);
  const asked = nounsIn(question);
  const steps = [marked(seen, question, asked)];
  if (asked.length > 1) {
    const direction = /left|right/.test(question) ? /left|right/ : /top|bottom/;
    const found = asked.flatMap((noun) => seen.filter(({ thing }) => thing.noun === noun).slice(0, 1));
    steps.push(found.map(({ thing, words }) => `${thing.noun} ${String(direction.exec(words))}`).join(', '));
  }
  return [...steps, answer].join(': ');
}

/** The things seen, those asked about marked by "yes" or, where they are counted, by their number so far. */
function marked(seen: readonly DescribedThing[], question: string, asked: readonly Noun[]): string {
  const counts = question.startsWith('how many');
  const place = /^what is (.+)\?$/.exec(question)?.[1];
  let count = 0;
  const phrases = seen.map(({ thing, words }) => {
    const isAsked = question === countQuestion || asked.includes(thing.noun);
    if (isAsked) count += 1;
    const mark = isAsked ? `, ${counts ? numberWords[count] : 'yes'},` : '';
    return `${phraseOf(thing)}${mark} ${words}${words === place ? ', yes' : ''}`;
  });
  return phrases.join(', ');
}

/** The things that a question names, in its order. */
function nounsIn(question: string): Noun[] {
  return question.split(/\W+/).flatMap((word) => nouns.filter((noun) => noun === word || plural(noun) === word));
}

/** What an answer comes to: all of it, or what stands behind the things that were named first. */
export function conclusionOf(answer: string): string {
  return answer.slice(answer.lastIndexOf(':') + 1).trim();
}

/** "a red car and two stars", in reading order. */
export function thingsIn(scene: Scene): string {
  return listOf(groupsOf({ ...scene, objects: inReadingOrder(scene.objects) }));
}
