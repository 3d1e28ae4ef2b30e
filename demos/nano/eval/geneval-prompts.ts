import type { FoundThing, SceneChecker, Sight } from '../check/checker.js';
import { groupPhrase, phraseOf } from '../world/captions.js';
import type { SeededRandom } from '../world/random.js';
import {
  boxOf,
  isHeldOut,
  pairName,
  place,
  relationName,
  relationsOf,
  type Relation,
  type Scene,
  type Split,
} from '../world/scene.js';
import { backgrounds, colors, nouns, trainedStyles, type Color, type Noun } from '../world/words.js';

/** The tasks of GenEval (Ghosh et al. 2023, arXiv 2310.11513, table 1). */
export const genevalTasks = [
  'single object',
  'two objects',
  'counting',
  'colors',
  'position',
  'attribute binding',
] as const;
export type GenevalTask = (typeof genevalTasks)[number];

export interface AskedThings {
  readonly noun: Noun;
  /** Undefined: any. */
  readonly color: Color | undefined;
  readonly count: number;
}

export interface GenevalPrompt {
  readonly task: GenevalTask;
  readonly prompt: string;
  readonly asked: readonly AskedThings[];
  /** Of the first to the second. */
  readonly relation: Relation | undefined;
  /** More than asked is wrong. */
  readonly exact: boolean;
  /** All combinations that the prompt names; those of the task's own kind are the ones that may be held out. */
  readonly combinations: readonly string[];
  readonly ofTask: readonly string[];
}

const any = (noun: Noun): AskedThings => ({ noun, color: undefined, count: 1 });
const pairs = nouns.flatMap((a) => nouns.filter((b) => b !== a).map((b) => [a, b] as const));

/** Every prompt of a task. */
export function promptsOf(task: GenevalTask): GenevalPrompt[] {
  const base = { task, relation: undefined, exact: false };
  const named = (ofTask: string[], others: string[] = []): Pick<GenevalPrompt, 'ofTask' | 'combinations'> => ({
    ofTask,
    combinations: [...ofTask, ...others],
  });
  switch (task) {
    case 'single object':
      return nouns.map((noun) => ({ ...base, prompt: phraseOf(any(noun)), asked: [any(noun)], ...named([]) }));
    case 'two objects':
      return pairs.map(([a, b]) => ({
        ...base,
        prompt: `${phraseOf(any(a))} and ${phraseOf(any(b))}`,
        asked: [any(a), any(b)],
        ...named([pairName(a, b)]),
      }));
    case 'counting':
      return nouns.flatMap((noun) =>
        [2, 3, 4].map((count) => ({
          ...base,
          exact: true,
          prompt: groupPhrase({ thing: { noun, color: undefined, x: 0, y: 0, size: 0 }, count }),
          asked: [{ noun, color: undefined, count }],
          ...named([`${count} ${noun}`]),
        })),
      );
    case 'colors':
      return nouns.flatMap((noun) =>
        colors.map((color) => ({
          ...base,
          prompt: phraseOf({ noun, color }),
          asked: [{ noun, color, count: 1 }],
          ...named([`${color} ${noun}`]),
        })),
      );
    case 'position':
      return pairs.flatMap(([a, b]) =>
        (['left of', 'right of', 'above', 'below'] as const).map((relation) => ({
          ...base,
          prompt: `${phraseOf(any(a))} ${relation} ${phraseOf(any(b))}`,
          asked: [any(a), any(b)],
          relation,
          ...named([relationName(a, relation, b)], [pairName(a, b)]),
        })),
      );
    case 'attribute binding':
      return pairs.flatMap(([a, b]) => bindings(a, b).map((binding) => ({ ...base, ...binding })));
  }
}

function bindings(a: Noun, b: Noun): Omit<GenevalPrompt, 'task' | 'relation' | 'exact'>[] {
  return colors.flatMap((first) =>
    colors
      .filter((second) => second !== first)
      .map((second) => ({
        prompt: `${phraseOf({ noun: a, color: first })} and ${phraseOf({ noun: b, color: second })}`,
        asked: [
          { noun: a, color: first, count: 1 },
          { noun: b, color: second, count: 1 },
        ],
        ofTask: [`${first} ${a}`, `${second} ${b}`],
        combinations: [`${first} ${a}`, `${second} ${b}`, pairName(a, b)],
      })),
  );
}

/** Seen: names no held-out combination. Held out: names one of the task's own kind. Undefined: only one of another kind. */
export function splitOfPrompt({ combinations, ofTask }: GenevalPrompt): Split | undefined {
  if (ofTask.some(isHeldOut)) return 'held out';
  return combinations.some(isHeldOut) ? undefined : 'seen';
}

/** Different prompts of a task and a split, as many as there are up to `count`. */
export function drawPrompts(task: GenevalTask, split: Split, count: number, random: SeededRandom): GenevalPrompt[] {
  const eligible = promptsOf(task).filter((prompt) => splitOfPrompt(prompt) === split);
  return random.shuffled(eligible).slice(0, count);
}

/** A scene that shows what the prompt asks for and nothing else. */
export function sceneFor({ asked, relation }: GenevalPrompt, random: SeededRandom): Scene {
  const things = asked.flatMap(({ noun, color, count }) => Array.from({ length: count }, () => ({ noun, color })));
  for (;;) {
    const objects = place(random, things);
    if (relation !== undefined && !relationsOf(boxOf(objects[0]), boxOf(objects[1])).includes(relation)) continue;
    return { style: random.pick(trainedStyles), background: random.pick(backgrounds), objects };
  }
}

/**
 * GenEval's verdict (evaluation code, `evaluate`): of every asked kind the surest things, as many as asked, must be there,
 * be of the asked colour and stand in the asked relation to all of the other kind; more of a counted kind is wrong.
 *
 * @returns what is wrong, or undefined when the picture is right.
 */
export function faultOf(
  prompt: GenevalPrompt,
  { things }: Pick<Sight, 'things'>,
  checker: SceneChecker,
): string | undefined {
  const chosen: FoundThing[][] = [];
  for (const { noun, color, count } of prompt.asked) {
    const found = things.filter((thing) => thing.noun === noun).sort((a, b) => b.score - a.score);
    if (found.length < count || (prompt.exact && found.length > count)) return `${found.length} of ${count} ${noun}`;
    const surest = found.slice(0, count);
    if (color !== undefined && !surest.every((thing) => checker.isOfColor(thing, color))) {
      return `${surest.map((thing) => thing.color ?? 'unpainted').join(', ')} ${noun}`;
    }
    chosen.push(surest);
  }
  const { relation } = prompt;
  if (relation === undefined) return undefined;
  const [first, second] = chosen;
  const holds = first.every((a) => second.every((b) => relationsOf(a.box, b.box).includes(relation)));
  return holds ? undefined : `not ${relation}`;
}
