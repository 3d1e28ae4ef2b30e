import type { RgbImage } from '../../../tokenizer/index.js';
import { meanSquaredError } from '../check/metrics.js';
import { motionPhrase, phraseOf } from '../world/captions.js';
import { clipFrames, drawClip, type Scene, type Split } from '../world/scene.js';
import {
  clipOf,
  mean,
  promptings,
  randomFor,
  reconstructed,
  seedsFor,
  shareOf,
  shuffledPlaces,
  splits,
  type Example,
  type Suite,
  type SuiteContext,
  type Table,
  type TableRow,
} from './suite.js';
import { judgeFilm } from './video.js';

type Clip = readonly RgbImage[];

interface Item {
  readonly split: Split;
  readonly prompt: string;
  readonly scene: Scene;
  readonly frames: Clip;
}

/** Clips are four times the amount that text to video has of each motion. */
const clipFactor = 4;
/** Frames that the model is given: two latent frames, and one, which shows the thing but hardly its way. */
const contexts = [8, 4];
const shownClips = 4;

export const extension: Suite = {
  name: 'extension',
  needs: ['extend'],
  async run(context) {
    const items = drawItems(context);
    const restored = await reconstructed(
      context,
      items.map(({ frames }) => frames),
    );
    const tables: Table[] = [];
    const examples: Example[] = [];
    for (const given of contexts) {
      const { rows, continued } = await measure(context, items, restored, given);
      tables.push({
        title: `The last ${clipFrames - given} frames from the first ${given}`,
        columns: [
          { name: 'error', format: 'number' },
          { name: 'error of repeating', format: 'number' },
          { name: 'times better', format: 'number' },
          { name: 'error to reconstructed', format: 'number' },
          { name: 'times better, reconstructed', format: 'number' },
          { name: 'right motion', format: 'share' },
          { name: 'direction', format: 'share' },
          { name: 'clips', format: 'count' },
        ],
        rows,
      });
      examples.push(...examplesOf(items, continued, given));
    }
    return {
      name: 'extension',
      title: 'Clips continued',
      about:
        'The model is given the beginning of a clip and its caption and draws the rest. Error: mean squared error of the ' +
        'bytes to the true frames. Times better: the error of repeating the last given frame over that of the model; beside ' +
        'it the same with all frames as the tokenizer gives them back, which is the best that tokens can do. Motion and ' +
        'direction are those of the true beginning with the end drawn.',
      tables,
      examples,
    };
  },
};

function drawItems(context: SuiteContext): Item[] {
  const random = randomFor(context, 'extension');
  return splits.flatMap((split) =>
    Array.from({ length: clipFactor * context.amounts.clips }, () => {
      const scene = drawClip(random, { split });
      const [moving] = scene.objects;
      const prompt = `${phraseOf(moving)} ${moving.motion ? motionPhrase(moving.motion, true) : 'stands still'}`;
      return { split, prompt, scene, frames: clipOf(context, scene) };
    }),
  );
}

async function measure(
  context: SuiteContext,
  items: readonly Item[],
  restored: readonly Clip[] | undefined,
  given: number,
): Promise<{ rows: TableRow[]; continued: readonly Clip[] }> {
  const { model, work } = context;
  const seeds = seedsFor(context, `extension from ${given}`, items.length);
  const requests = items.map(({ prompt, frames }, index) => ({
    prompt,
    seed: seeds[index],
    context: frames.slice(0, given),
    frames: clipFrames - given,
  }));
  const models: [string, readonly Clip[]][] = [];
  for (const { name, from, requests: told } of await promptings(context, requests)) {
    const drawn = await model.extend?.(told, work(`continuing after ${given} frames ${from}`, items.length));
    models.push([name, drawn ?? []]);
  }
  const [, continued] = models[models.length - 1];
  const rest = (clip: Clip): Clip => clip.slice(given);
  const others = shuffledPlaces(continued.length, randomFor(context, 'other clips'));
  const subjects: [string, readonly Clip[]][] = [
    ...models,
    ['continuations of other clips', others.map((index) => continued[index])],
    ['the last frame, repeated', items.map(({ frames }) => repeated(frames, given))],
    ['true frames', items.map(({ frames }) => rest(frames))],
  ];
  if (restored) subjects.push(['true frames, reconstructed', restored.map(rest)]);
  const rows = subjects.flatMap(([name, clips], index) =>
    splits.map((split) => ({
      ...rowOf(context, { split, clips, items, restored, given }),
      name,
      control: index >= models.length,
    })),
  );
  return { rows, continued };
}

interface RowParts {
  readonly split: Split;
  readonly clips: readonly Clip[];
  readonly items: readonly Item[];
  readonly restored: readonly Clip[] | undefined;
  readonly given: number;
}

function rowOf(
  context: SuiteContext,
  { split, clips, items, restored, given }: RowParts,
): Pick<TableRow, 'group' | 'values'> {
  const indices = items.flatMap((item, index) => (item.split === split ? [index] : []));
  const meanError = (pair: (index: number) => [Clip, Clip]): number | undefined =>
    mean(indices.map((index) => errorOf(...pair(index))));
  const truth = (index: number): Clip => items[index].frames;
  const error = meanError((index) => [clips[index], truth(index).slice(given)]);
  const repeating = meanError((index) => [repeated(truth(index), given), truth(index).slice(given)]);
  const errorRestored = restored && meanError((index) => [clips[index], restored[index].slice(given)]);
  const repeatingRestored =
    restored && meanError((index) => [repeated(restored[index], given), restored[index].slice(given)]);
  const verdicts = indices.map((index) => {
    const { scene, prompt } = items[index];
    const [thing] = scene.objects;
    const motion = thing.motion ?? { kind: 'spins', speed: 0 };
    return judgeFilm(context, { split, prompt, scene, thing, motion }, [
      ...truth(index).slice(0, given),
      ...clips[index],
    ]);
  });
  const directed = verdicts.filter(({ rightDirection }) => rightDirection !== undefined);
  return {
    group: split,
    values: [
      error,
      repeating,
      ratio(repeating, error),
      errorRestored,
      ratio(repeatingRestored, errorRestored),
      shareOf(verdicts, ({ rightMotion }) => rightMotion),
      shareOf(directed, ({ rightDirection }) => rightDirection === true),
      indices.length,
    ],
  };
}

function repeated(frames: Clip, given: number): Clip {
  return frames.slice(given).map(() => frames[given - 1]);
}

/** Mean over the frames. */
function errorOf(a: Clip, b: Clip): number {
  return a.reduce((sum, frame, index) => sum + meanSquaredError(frame.rgb, b[index].rgb), 0) / a.length;
}

/** Undefined where there is no error to divide by. */
function ratio(repeating: number | undefined, error: number | undefined): number | undefined {
  return repeating === undefined || error === undefined || error === 0 ? undefined : repeating / error;
}

function examplesOf(items: readonly Item[], continued: readonly Clip[], given: number): Example[] {
  const all = items.map((item, index) => ({ ...item, end: continued[index] }));
  return splits.flatMap((split) =>
    all
      .filter((item) => item.split === split)
      .slice(0, shownClips)
      .map(({ prompt, frames, end }) => ({
        title: prompt,
        group: `from ${given} frames, ${split}`,
        pictures: [
          { label: 'drawn', frames: [...frames.slice(0, given), ...end] },
          { label: 'true', frames },
        ],
        lines: [],
      })),
  );
}
