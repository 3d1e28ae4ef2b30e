import type { RgbImage } from '../../../tokenizer/index.js';
import type { Split } from '../world/scene.js';
import { drawPrompts, faultOf, genevalTasks, sceneFor, type GenevalPrompt } from './geneval-prompts.js';
import {
  elsewhere,
  mapTold,
  meanOfDefined,
  pictureOf,
  promptings,
  randomFor,
  reconstructed,
  seedsFor,
  shareOf,
  splits,
  type Example,
  type Suite,
  type SuiteContext,
  type TableRow,
} from './suite.js';

interface Sample {
  readonly asked: GenevalPrompt;
  readonly split: Split;
  readonly image: RgbImage;
  /** What the model was told; undefined for what it did not draw. */
  readonly told?: string;
}

interface Verdict extends Sample {
  readonly fault: string | undefined;
}

/** Pictures in the report of each task and split. */
const shownPrompts = 2;

export const geneval: Suite = {
  name: 'geneval',
  needs: ['draw'],
  async run(context) {
    const { model, amounts, work } = context;
    const random = randomFor(context, 'geneval');
    const prompts = genevalTasks.flatMap((task) =>
      splits.flatMap((split) => drawPrompts(task, split, amounts.prompts, random).map((asked) => ({ asked, split }))),
    );
    const wanted = prompts.flatMap((prompt) => Array.from({ length: amounts.samples }, () => prompt));
    const truth = wanted.map((prompt): Sample => ({
      ...prompt,
      image: pictureOf(context, sceneFor(prompt.asked, random)),
    }));
    const seeds = seedsFor(context, 'geneval pictures', wanted.length);
    const requests = wanted.map(({ asked }, index) => ({ prompt: asked.prompt, seed: seeds[index] }));
    const models: [string, readonly Sample[]][] = [];
    for (const { name, from, requests: given } of await promptings(context, requests)) {
      const images = (await model.draw?.(given, work(`drawing ${from}`, given.length))) ?? [];
      const samples = wanted.map((each, index) => ({ ...each, image: images[index], told: given[index].prompt }));
      models.push([name, samples]);
    }
    const [, drawn] = models[models.length - 1];
    const restored = await reconstructed(
      context,
      truth.map(({ image }) => [image]),
    );
    const subjects: [string, readonly Sample[]][] = [
      ...models,
      ['shuffled prompts', shuffled(drawn)],
      ['true pictures', truth],
    ];
    if (restored) {
      subjects.push([
        'true pictures, reconstructed',
        truth.map((each, index) => ({ ...each, image: restored[index][0] })),
      ]);
    }
    const judged = subjects.map(([name, samples]) => ({ name, verdicts: judge(context, name, samples) }));
    const rows = judged.flatMap(({ name, verdicts }, index) =>
      splits.map((split) => rowOf(name, split, index >= models.length, verdicts)),
    );
    return {
      name: 'geneval',
      title: 'Text to image',
      about:
        'GenEval (Ghosh et al. 2023) on the nano world: a picture is right when the checker finds all that was asked for. ' +
        'The overall score is the unweighted mean of the tasks; single objects have no combination to hold out.',
      tables: [
        {
          title: 'GenEval',
          columns: [
            { name: 'overall', format: 'share' },
            ...genevalTasks.map((task) => ({ name: task, format: 'share' as const })),
            { name: 'pictures', format: 'count' },
          ],
          rows,
          note:
            'Prompts rewritten: written out in full by the model itself first, where it can. Shuffled prompts: the last ' +
            "model's pictures judged by other prompts of their task.",
        },
      ],
      examples: examplesOf(judged[models.length - 1].verdicts, amounts.samples),
    };
  },
};

function judge(context: SuiteContext, name: string, samples: readonly Sample[]): Verdict[] {
  const { checker } = context;
  return mapTold(context, `checking: ${name}`, samples, (sample) => ({
    ...sample,
    fault: faultOf(sample.asked, checker.check(sample.image), checker),
  }));
}

/** Each picture under another prompt of its task. */
function shuffled(samples: readonly Sample[]): Sample[] {
  return genevalTasks.flatMap((task) => {
    const ofTask = samples.filter(({ asked }) => asked.task === task);
    return ofTask.map((sample, index) => {
      for (let step = 0; step < ofTask.length; step++) {
        const { asked, split } = ofTask[(elsewhere(index, ofTask.length) + step) % ofTask.length];
        if (asked.prompt !== sample.asked.prompt) return { asked, split, image: sample.image };
      }
      return sample;
    });
  });
}

function rowOf(name: string, split: Split, control: boolean, verdicts: readonly Verdict[]): TableRow {
  const ofSplit = verdicts.filter((verdict) => verdict.split === split);
  const scores = genevalTasks.map((task) =>
    shareOf(
      ofSplit.filter(({ asked }) => asked.task === task),
      ({ fault }) => fault === undefined,
    ),
  );
  return {
    name,
    group: split,
    control,
    values: [meanOfDefined(scores), ...scores, ofSplit.length],
  };
}

function examplesOf(verdicts: readonly Verdict[], samples: number): Example[] {
  return genevalTasks.flatMap((task) =>
    splits.flatMap((split) => {
      const ofKind = verdicts.filter((verdict) => verdict.asked.task === task && verdict.split === split);
      return ofKind.slice(0, shownPrompts * samples).map(({ asked, image, told, fault }) => ({
        title: asked.prompt,
        group: `${task}, ${split}`,
        pictures: [{ frames: [image] }],
        lines: [
          ...(told === undefined || told === asked.prompt ? [] : [{ text: told }]),
          ...(fault === undefined ? [] : [{ text: fault }]),
        ],
        right: fault === undefined,
      }));
    }),
  );
}
