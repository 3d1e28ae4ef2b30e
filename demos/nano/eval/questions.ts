import type { RgbImage } from '../../../tokenizer/index.js';
import { ask, conclusionOf, type QuestionType } from '../world/questions.js';
import type { Scene } from '../world/scene.js';
import { clipMedium, pictureMedium, type Medium } from './medium.js';
import { answerFrom } from './oracle.js';
import {
  elsewhere,
  groups,
  mapTold,
  meanOfDefined,
  randomFor,
  reconstructed,
  shareOf,
  type Example,
  type Group,
  type Suite,
  type SuiteContext,
  type Table,
  type TableRow,
} from './suite.js';

interface QuestionedMedium extends Medium {
  readonly types: readonly QuestionType[];
  ask(
    requests: readonly { frames: readonly RgbImage[]; question: string }[],
    label: string,
  ): Promise<readonly string[]>;
}

interface Item {
  readonly group: Group;
  readonly type: QuestionType;
  readonly scene: Scene;
  /** One frame for a picture. */
  readonly frames: readonly RgbImage[];
  readonly question: string;
  readonly answer: string;
}

/** Questions in the report of each type and group. */
const shownQuestions = 4;

/** What an answer comes to; case, spaces and a full stop at the end do not matter. */
export function normalised(answer: string): string {
  return conclusionOf(answer).toLowerCase().replace(/\s+/g, ' ').trim().replace(/\.$/, '').trim();
}

export const questions: Suite = {
  name: 'questions',
  needs: ['answer', 'answerClip'],
  async run(context) {
    const media = [questionedPictures(context), questionedClips(context)].filter((medium) => medium !== undefined);
    const tables: Table[] = [];
    const examples: Example[] = [];
    for (const medium of media) {
      const items = drawItems(context, medium);
      const { rows, answers } = await measure(context, medium, items);
      tables.push({
        title: `Questions about ${medium.name}`,
        columns: [
          { name: 'overall', format: 'share' },
          ...medium.types.map((type) => ({ name: type, format: 'share' as const })),
          { name: 'of all', format: 'share' },
          { name: 'questions', format: 'count' },
        ],
        rows,
      });
      examples.push(...examplesOf(items, answers, medium));
    }
    return {
      name: 'questions',
      title: 'Questions',
      about:
        'Questions with one right answer, which is compared to the letter but for case, spaces and a full stop: all of it, or ' +
        'what stands behind a colon when the model first says what it sees. Overall is the unweighted mean of the types.',
      tables,
      examples,
    };
  },
};

function questionedPictures(context: SuiteContext): QuestionedMedium | undefined {
  const { model, work } = context;
  if (model.answer === undefined) return undefined;
  return {
    ...pictureMedium(context),
    types: ['what', 'how many', 'color', 'where', 'is there', 'relation'],
    ask: async (requests, label) => {
      const pictures = requests.map(({ frames: [image], question }) => ({ image, question }));
      return (await model.answer?.(pictures, work(label, requests.length))) ?? [];
    },
  };
}

function questionedClips(context: SuiteContext): QuestionedMedium | undefined {
  const { model, work } = context;
  if (model.answerClip === undefined) return undefined;
  return {
    ...clipMedium(context),
    types: ['motion', 'color', 'is there'],
    ask: async (requests, label) => {
      const clips = requests.map(({ frames, question }) => ({ clip: frames, question }));
      return (await model.answerClip?.(clips, work(label, requests.length))) ?? [];
    },
  };
}

/** As many questions of each type about the pictures of each group, each about a picture of its own. */
function drawItems(context: SuiteContext, medium: QuestionedMedium): Item[] {
  const random = randomFor(context, `questions about ${medium.name}`);
  return groups.flatMap((group) =>
    medium.types.flatMap((type) =>
      Array.from({ length: context.amounts.questions }, () => {
        for (;;) {
          const scene = medium.draw(group, random);
          const question = ask(type, scene, random);
          if (question !== undefined) return { ...question, group, type, scene, frames: medium.show(scene) };
        }
      }),
    ),
  );
}

async function measure(
  context: SuiteContext,
  medium: QuestionedMedium,
  items: readonly Item[],
): Promise<{ rows: TableRow[]; answers: readonly string[] }> {
  const answers = await medium.ask(items, `asking about ${medium.name}`);
  // Each question about a picture of its own type and group that it was not made for.
  const perType = context.amounts.questions;
  const blind = items.map(({ question }, index) => {
    const first = index - (index % perType);
    return { question, frames: items[first + elsewhere(index - first, perType)].frames };
  });
  const blindAnswers = await medium.ask(blind, `asking about other ${medium.name}`);
  const see = (label: string, shown: readonly (readonly RgbImage[])[]): string[] =>
    mapTold(context, label, shown, (frames, index) => answerFrom(medium.see(frames), items[index].question));
  const frames = items.map((item) => item.frames);
  const subjects: [string, readonly string[]][] = [
    ['model', answers],
    [`model, other ${medium.name}`, blindAnswers],
    [`checker, true ${medium.name}`, see('checking', frames)],
  ];
  const restored = await reconstructed(context, frames);
  if (restored) subjects.push(['checker, reconstructed', see('checking reconstructions', restored)]);
  const rows = subjects.flatMap(([name, given]) => groups.map((group) => rowOf(name, group, medium, items, given)));
  return { rows, answers };
}

function rowOf(
  name: string,
  group: Group,
  { types }: QuestionedMedium,
  items: readonly Item[],
  given: readonly string[],
): TableRow {
  const judged = items
    .map(({ answer, ...item }, index) => ({ ...item, right: normalised(given[index]) === answer }))
    .filter((item) => item.group === group);
  const byType = types.map((type) =>
    shareOf(
      judged.filter((item) => item.type === type),
      ({ right }) => right,
    ),
  );
  const values = [meanOfDefined(byType), ...byType, shareOf(judged, ({ right }) => right), judged.length];
  return { name, group, control: name !== 'model', values };
}

function examplesOf(items: readonly Item[], answers: readonly string[], { types }: QuestionedMedium): Example[] {
  const judged = items.map((item, index) => ({ ...item, given: answers[index] }));
  return groups.flatMap((group) =>
    types.flatMap((type) =>
      judged
        .filter((item) => item.group === group && item.type === type)
        .slice(0, shownQuestions)
        .map(({ question, frames, given, answer }) => {
          const right = normalised(given) === answer;
          const lines = [{ text: given.trim(), right }, ...(right ? [] : [{ text: `right: ${answer}` }])];
          return { title: question, group: `${type}, ${group}`, pictures: [{ frames }], lines, right };
        }),
    ),
  );
}
