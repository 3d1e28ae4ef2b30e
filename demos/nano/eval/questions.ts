import type { RgbImage } from '../../../tokenizer/index.js';
import { watchClip } from '../check/clip.js';
import { ask, type QuestionType } from '../world/questions.js';
import type { SeededRandom } from '../world/random.js';
import { drawClip, drawScene, sceneKinds, type Scene } from '../world/scene.js';
import { answerFrom, sceneOfClip, sceneOfSight } from './oracle.js';
import {
  clipOf,
  elsewhere,
  groups,
  meanOfDefined,
  pictureOf,
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

/** Pictures or clips, and what is done with them. */
interface Medium {
  readonly name: 'pictures' | 'clips';
  readonly types: readonly QuestionType[];
  draw(group: Group, random: SeededRandom): Scene;
  show(scene: Scene): readonly RgbImage[];
  /** What the checker sees. */
  see(frames: readonly RgbImage[]): Scene;
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

/** Case, spaces and a full stop at the end do not matter. */
export function normalised(answer: string): string {
  return answer.toLowerCase().replace(/\s+/g, ' ').trim().replace(/\.$/, '').trim();
}

export const questions: Suite = {
  name: 'questions',
  needs: ['answer', 'answerClip'],
  async run(context) {
    const media = [pictureMedium(context), clipMedium(context)].filter((medium) => medium !== undefined);
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
        'Questions with one right answer, which is compared to the letter but for case, spaces and a full stop. Overall is ' +
        'the unweighted mean of the types.',
      tables,
      examples,
    };
  },
};

function pictureMedium(context: SuiteContext): Medium | undefined {
  const { model, checker, side, work } = context;
  if (model.answer === undefined) return undefined;
  return {
    name: 'pictures',
    types: ['what', 'how many', 'color', 'where', 'is there', 'relation'],
    draw: (group, random) => {
      const kind = sceneKinds[random.integer(sceneKinds.length)];
      if (group === 'twemoji') return drawScene(random, { kind, split: 'seen', styles: ['twemoji'] });
      // A single thing has no combination to hold out.
      return drawScene(random, { kind: group === 'held out' && kind === 'single' ? 'color' : kind, split: group });
    },
    show: (scene) => [pictureOf(context, scene)],
    see: ([image]) => sceneOfSight(checker.check(image), side),
    ask: async (requests, label) => {
      const pictures = requests.map(({ frames: [image], question }) => ({ image, question }));
      return (await model.answer?.(pictures, work(label, requests.length))) ?? [];
    },
  };
}

function clipMedium(context: SuiteContext): Medium | undefined {
  const { model, checker, work } = context;
  if (model.answerClip === undefined) return undefined;
  return {
    name: 'clips',
    types: ['motion', 'color', 'is there'],
    draw: (group, random) =>
      drawClip(random, group === 'twemoji' ? { split: 'seen', styles: ['twemoji'] } : { split: group }),
    show: (scene) => clipOf(context, scene),
    see: (frames) => sceneOfClip(watchClip(checker, frames)),
    ask: async (requests, label) => {
      const clips = requests.map(({ frames, question }) => ({ clip: frames, question }));
      return (await model.answerClip?.(clips, work(label, requests.length))) ?? [];
    },
  };
}

/** As many questions of each type about the pictures of each group, each about a picture of its own. */
function drawItems(context: SuiteContext, medium: Medium): Item[] {
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
  medium: Medium,
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
  const see = (label: string, shown: readonly (readonly RgbImage[])[]): string[] => {
    const events = context.work(label, shown.length);
    return shown.map((frames, index) => {
      const answer = answerFrom(medium.see(frames), items[index].question);
      events.onDone?.(index + 1);
      return answer;
    });
  };
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
  { types }: Medium,
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

function examplesOf(items: readonly Item[], answers: readonly string[], { types }: Medium): Example[] {
  const judged = items.map((item, index) => ({ ...item, given: answers[index] }));
  return groups.flatMap((group) =>
    types.flatMap((type) =>
      judged
        .filter((item) => item.group === group && item.type === type)
        .slice(0, shownQuestions)
        .map(({ question, frames, given, answer }) => {
          const right = normalised(given) === answer;
          const lines = [{ text: normalised(given), right }, ...(right ? [] : [{ text: `right: ${answer}` }])];
          return { title: question, group: `${type}, ${group}`, pictures: [{ frames }], lines, right };
        }),
    ),
  );
}
