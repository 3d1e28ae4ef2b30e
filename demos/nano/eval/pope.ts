import type { RgbImage } from '../../../tokenizer/index.js';
import { conclusionOf, existenceQuestion } from '../world/questions.js';
import type { SeededRandom } from '../world/random.js';
import type { Scene } from '../world/scene.js';
import { nouns, type Noun } from '../world/words.js';
import { drawStill } from './medium.js';
import { answerFrom, sceneOfSight } from './oracle.js';
import {
  elsewhere,
  groups,
  pictureOf,
  randomFor,
  reconstructed,
  shareOf,
  type Example,
  type Group,
  type Suite,
  type SuiteContext,
  type TableRow,
} from './suite.js';

/** Where the absent things come from (Li et al. 2023, arXiv 2305.10355, section 4.1). */
export const popeStrategies = ['random', 'popular', 'adversarial'] as const;
export type PopeStrategy = (typeof popeStrategies)[number];

export interface PopeItem {
  readonly group: Group;
  /** Index of its picture among those of all groups. */
  readonly picture: number;
  readonly strategy: PopeStrategy;
  readonly noun: Noun;
  readonly there: boolean;
}

/** Questions of either answer about a picture, at most, as in POPE. */
const eachAnswer = 3;
const shownPictures = 4;

/**
 * The questions about the pictures of one group: for each picture and strategy as many about things that are there as about
 * absent ones. Popular: the absent things that most pictures of the group show. Adversarial: those that most often stand
 * with the things of this picture.
 */
export function popeQuestions(
  scenes: readonly Scene[],
  group: Group,
  firstPicture: number,
  random: SeededRandom,
): PopeItem[] {
  const shown = scenes.map(({ objects }) => new Set(objects.map(({ noun }) => noun)));
  const frequency = (noun: Noun): number => shown.filter((present) => present.has(noun)).length;
  return shown.flatMap((present, index) => {
    // A shuffle first, so that ties are broken by chance.
    const absent = random.shuffled(nouns.filter((noun) => !present.has(noun)));
    const together = (noun: Noun): number =>
      shown
        .filter((other) => other.has(noun))
        .reduce((sum, other) => sum + [...present].filter((each) => other.has(each)).length, 0);
    const orders: Record<PopeStrategy, readonly Noun[]> = {
      random: absent,
      popular: sortedBy(absent, frequency),
      adversarial: sortedBy(absent, together),
    };
    const there = random.shuffled([...present]).slice(0, eachAnswer);
    return popeStrategies.flatMap((strategy) => {
      const item = { group, picture: firstPicture + index, strategy };
      return [
        ...there.map((noun) => ({ ...item, noun, there: true })),
        ...orders[strategy].slice(0, there.length).map((noun) => ({ ...item, noun, there: false })),
      ];
    });
  });
}

function sortedBy(list: readonly Noun[], weight: (noun: Noun) => number): Noun[] {
  return [...list].sort((a, b) => weight(b) - weight(a));
}

/** Reads an answer as POPE's evaluation does: no when the first sentence says "no" or "not", else yes. */
export function isYes(answer: string): boolean {
  const words = answer.toLowerCase().split('.')[0].replaceAll(',', '').split(/\s+/);
  return !words.includes('no') && !words.includes('not');
}

export interface PopeScores {
  readonly accuracy: number | undefined;
  /** Undefined when nothing is answered yes. */
  readonly precision: number | undefined;
  readonly recall: number | undefined;
  readonly f1: number | undefined;
  readonly yes: number | undefined;
}

export function popeScores(answers: readonly { there: boolean; yes: boolean }[]): PopeScores {
  const precision = shareOf(
    answers.filter(({ yes }) => yes),
    ({ there }) => there,
  );
  const recall = shareOf(
    answers.filter(({ there }) => there),
    ({ yes }) => yes,
  );
  const sum = (precision ?? 0) + (recall ?? 0);
  return {
    accuracy: shareOf(answers, ({ there, yes }) => there === yes),
    precision,
    recall,
    f1: precision === undefined || recall === undefined ? undefined : sum === 0 ? 0 : (2 * precision * recall) / sum,
    yes: shareOf(answers, ({ yes }) => yes),
  };
}

export const pope: Suite = {
  name: 'pope',
  needs: ['answer'],
  async run(context) {
    const { checker, amounts, side } = context;
    const random = randomFor(context, 'pope');
    const scenes = groups.map((group) => Array.from({ length: amounts.pictures }, () => drawFor(group, random)));
    const items = scenes.flatMap((list, index) => popeQuestions(list, groups[index], index * amounts.pictures, random));
    const images = scenes.flat().map((scene) => pictureOf(context, scene));
    const restored = await reconstructed(
      context,
      images.map((image) => [image]),
    );
    const ask = (label: string, pictureFor: (item: PopeItem) => RgbImage): Promise<string[]> =>
      askOnce(context, label, items, pictureFor);
    const answers = await ask('asking', ({ picture }) => images[picture]);
    const blind = await ask('asking about other pictures', ({ group, picture }) => {
      const first = groups.indexOf(group) * amounts.pictures;
      return images[first + elsewhere(picture - first, amounts.pictures)];
    });
    const byChecker = (pictures: readonly RgbImage[]): string[] => {
      const seen = pictures.map((image) => sceneOfSight(checker.check(image), side));
      return items.map(({ picture, noun }) => answerFrom(seen[picture], existenceQuestion(noun)));
    };
    const controls: [string, readonly string[]][] = [
      ['model, other pictures', blind],
      ['checker, true pictures', byChecker(images)],
    ];
    if (restored) controls.push(['checker, reconstructed', byChecker(restored.map(([image]) => image))]);
    const rows = [
      ...groups.flatMap((group) =>
        [...popeStrategies, undefined].map((strategy) => rowOf('model', items, answers, group, strategy)),
      ),
      ...controls.flatMap(([name, given]) => groups.map((group) => rowOf(name, items, given, group, undefined))),
    ];
    return {
      name: 'pope',
      title: 'Is it there?',
      about:
        'POPE (Li et al. 2023): "is there a car in the picture?" for things that are there and as many that are not. Popular ' +
        'ones stand in most pictures, adversarial ones most often beside what is there.',
      tables: [
        {
          title: 'POPE',
          columns: [
            { name: 'accuracy', format: 'share' },
            { name: 'precision', format: 'share' },
            { name: 'recall', format: 'share' },
            { name: 'F1', format: 'share' },
            { name: 'yes', format: 'share' },
            { name: 'clear', format: 'share' },
            { name: 'questions', format: 'count' },
          ],
          rows,
          note: 'Clear: answers that are, or end behind a colon with, "yes" or "no".',
        },
      ],
      examples: examplesOf(items, answers, images),
    };
  },
};

/** Scenes of three or four things, or of two now and then. */
function drawFor(group: Group, random: SeededRandom): Scene {
  return drawStill(group, random.next() < 0.75 ? 'mixed' : 'position', random);
}

/** Asks what several strategies share only once. */
async function askOnce(
  { model, work }: SuiteContext,
  label: string,
  items: readonly PopeItem[],
  pictureFor: (item: PopeItem) => RgbImage,
): Promise<string[]> {
  const keyOf = ({ picture, noun }: PopeItem): string => `${picture} ${noun}`;
  const unique = [...new Map(items.map((item) => [keyOf(item), item])).values()];
  const requests = unique.map((item) => ({ image: pictureFor(item), question: existenceQuestion(item.noun) }));
  const answers = (await model.answer?.(requests, work(label, requests.length))) ?? [];
  const byKey = new Map(unique.map((item, index) => [keyOf(item), answers[index]]));
  return items.map((item) => byKey.get(keyOf(item)) ?? '');
}

function rowOf(
  name: string,
  items: readonly PopeItem[],
  answers: readonly string[],
  group: Group,
  strategy: PopeStrategy | undefined,
): TableRow {
  const chosen = items
    .map((item, index) => ({ ...item, answer: answers[index], yes: isYes(answers[index]) }))
    .filter((item) => item.group === group && (strategy === undefined || item.strategy === strategy));
  const { accuracy, precision, recall, f1, yes } = popeScores(chosen);
  const clear = shareOf(chosen, ({ answer }) => /^(yes|no)\.?$/i.test(conclusionOf(answer)));
  return {
    name: `${name}${name === 'model' ? `, ${strategy ?? 'all'}` : ''}`,
    group,
    control: name !== 'model',
    values: [accuracy, precision, recall, f1, yes, clear, chosen.length],
  };
}

function examplesOf(items: readonly PopeItem[], answers: readonly string[], images: readonly RgbImage[]): Example[] {
  return groups.flatMap((group) => {
    const ofGroup = items
      .map((item, index) => ({ ...item, answer: answers[index] }))
      .filter((item) => item.group === group);
    const pictures = [...new Set(ofGroup.map(({ picture }) => picture))].slice(0, shownPictures);
    return pictures.map((picture) => {
      const asked = ofGroup.filter((item) => item.picture === picture && item.strategy === 'adversarial');
      const lines = asked.map(({ noun, answer, there }) => ({
        text: `${existenceQuestion(noun)} ${answer}`,
        right: isYes(answer) === there,
      }));
      return { title: '', group, pictures: [{ frames: [images[picture]] }], lines };
    });
  });
}
