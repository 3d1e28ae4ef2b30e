import type { RgbImage } from '../../../tokenizer/index.js';
import { watchClip, type Track } from '../check/clip.js';
import { motionPhrase, phraseOf } from '../world/captions.js';
import { directionOf } from '../world/questions.js';
import type { SeededRandom } from '../world/random.js';
import {
  clipFrames,
  drawClip,
  isHeldOut,
  splitOf,
  travelOf,
  type Motion,
  type Scene,
  type SceneObject,
  type Split,
} from '../world/scene.js';
import { motionKinds, nouns, type MotionKind, type Noun } from '../world/words.js';
import {
  clipOf,
  mapTold,
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
  type TableRow,
} from './suite.js';

/** A thing that moves alone. */
export interface FilmPrompt {
  readonly split: Split;
  readonly prompt: string;
  readonly scene: Scene;
  readonly thing: SceneObject;
  readonly motion: Motion;
}

/** What is found in a clip for a prompt. */
export interface FilmVerdict {
  readonly rightThing: boolean;
  readonly rightMotion: boolean;
  /** Undefined when the prompt says no direction. */
  readonly rightDirection: boolean | undefined;
  readonly rightPace: boolean;
  /** Pixels a frame; undefined when the prompt says no direction or nothing is found. */
  readonly speedError: number | undefined;
  readonly consistency: number;
  readonly moves: boolean;
  readonly flicker: number;
  readonly seen: string;
}

interface Judged extends FilmPrompt {
  readonly frames: readonly RgbImage[];
  readonly verdict: FilmVerdict;
}

/** Paces above this are quick: slow is 2, quick is 3. */
const quickPace = 2.5;
const shownClips = 1;

export const video: Suite = {
  name: 'video',
  needs: ['film'],
  async run(context) {
    const { model, amounts, work } = context;
    const random = randomFor(context, 'video');
    const prompts = splits.flatMap((split) =>
      motionKinds
        .filter((kind) => split === 'seen' || nounsHeldOut(kind).length > 0)
        .flatMap((kind) => Array.from({ length: amounts.clips }, () => drawFilmPrompt(kind, split, random))),
    );
    const seeds = seedsFor(context, 'video clips', prompts.length);
    const requests = prompts.map(({ prompt }, index) => ({ prompt, seed: seeds[index], frames: clipFrames }));
    const models: [string, readonly Judged[]][] = [];
    for (const { name, from, requests: given } of await promptings(context, requests)) {
      const filmed = (await model.film?.(given, work(`filming ${from}`, given.length))) ?? [];
      models.push([name, judge(context, name, prompts, filmed)]);
    }
    const [, judged] = models[models.length - 1];
    const filmed = judged.map(({ frames }) => frames);
    const truth = prompts.map(({ scene }) => clipOf(context, scene));
    const restored = await reconstructed(context, truth);
    const others = shuffledPlaces(prompts.length, random).map((index) => prompts[index]);
    const subjects: [string, readonly Judged[]][] = [
      ...models,
      ['shuffled prompts', judge(context, 'shuffled', others, filmed)],
      ['true clips', judge(context, 'truth', prompts, truth)],
    ];
    if (restored) subjects.push(['true clips, reconstructed', judge(context, 'reconstructed', prompts, restored)]);
    return {
      name: 'video',
      title: 'Text to video',
      about:
        'After VBench (Huang et al. 2024, arXiv 2311.17982), measured instead of learned: one thing and what it does, ' +
        `${clipFrames} frames. Consistent: frames in which the thing looks like itself. Dynamic: clips in which something moves. ` +
        'Flicker: mean change of a background byte from frame to frame.',
      tables: [
        {
          title: 'Text to video',
          columns: [
            { name: 'right thing', format: 'share' },
            { name: 'right motion', format: 'share' },
            { name: 'direction', format: 'share' },
            { name: 'slow or quick', format: 'share' },
            { name: 'speed error, px a frame', format: 'number' },
            { name: 'consistent', format: 'share' },
            { name: 'dynamic', format: 'share' },
            { name: 'flicker', format: 'number' },
            { name: 'clips', format: 'count' },
          ],
          rows: subjects.flatMap(([name, list], index) =>
            splits.map((split) => ({ ...rowOf(split, list), name, control: index >= models.length })),
          ),
        },
        {
          title: 'Right motion by kind',
          columns: motionKinds.map((kind) => ({ name: kind, format: 'share' })),
          rows: subjects.flatMap(([name, list], index) =>
            splits.map((split) => ({ ...kindsOf(split, list), name, control: index >= models.length })),
          ),
        },
      ],
      examples: examplesOf(judged),
    };
  },
};

/** Things that are never trained on with this motion; there are motions without any. */
function nounsHeldOut(kind: MotionKind): Noun[] {
  return nouns.filter((noun) => isHeldOut(`${noun} ${kind}`));
}

/** Seen: a thing alone that shows no held-out combination. Held out: one whose motion is held out for it, if there is one. */
function drawFilmPrompt(kind: MotionKind, split: Split, random: SeededRandom): FilmPrompt {
  for (;;) {
    const clip = drawClip(random, { kind });
    const scene = { ...clip, objects: clip.objects.slice(0, 1) };
    const [thing] = scene.objects;
    const { motion } = thing;
    const fits = split === 'seen' ? splitOf(scene) === 'seen' : nounsHeldOut(kind).includes(thing.noun);
    if (!fits || motion === undefined) continue;
    return { split, prompt: `${phraseOf(thing)} ${motionPhrase(motion, true)}`, scene, thing, motion };
  }
}

/** Judges a clip by its tracks: by the asked thing's, if it is found, else by that of the thing seen most. */
export function judgeFilm(
  { checker }: Pick<SuiteContext, 'checker'>,
  prompt: FilmPrompt,
  frames: readonly RgbImage[],
): FilmVerdict {
  const { tracks, flicker } = watchClip(checker, frames);
  const { thing, motion } = prompt;
  const isRight = ({ noun, style, color }: Track): boolean =>
    noun === thing.noun &&
    style !== undefined &&
    (thing.color === undefined || checker.isOfColor({ noun, style, color }, thing.color));
  const track: Track | undefined = tracks.find(isRight) ?? tracks.at(0);
  const direction = directionOf(thing);
  const isDirected = direction !== undefined;
  const scale = frames[0].width / 64;
  const asked = travelOf(motion) * scale;
  return {
    rightThing: track !== undefined && isRight(track),
    rightMotion: track?.kind === motion.kind,
    rightDirection: isDirected ? track?.direction === direction : undefined,
    rightPace: track !== undefined && track.kind !== undefined && track.pace > quickPace === motion.speed > quickPace,
    speedError: isDirected && track !== undefined ? Math.abs(track.speed - asked) : undefined,
    consistency: track?.consistency ?? 0,
    moves: tracks.some(({ kind }) => kind !== undefined),
    flicker,
    seen: tracks.length === 0 ? 'nothing' : tracks.map(nameOfTrack).join(', '),
  };
}

function nameOfTrack({ noun, color, kind }: Track): string {
  return `${[color, noun ?? 'something'].filter((word) => word !== undefined).join(' ')} ${kind ?? 'stands still'}`;
}

function judge(
  context: SuiteContext,
  label: string,
  prompts: readonly FilmPrompt[],
  clips: readonly (readonly RgbImage[])[],
): Judged[] {
  return mapTold(context, `checking: ${label}`, prompts, (prompt, index) => ({
    ...prompt,
    frames: clips[index],
    verdict: judgeFilm(context, prompt, clips[index]),
  }));
}

function rowOf(split: Split, judged: readonly Judged[]): Pick<TableRow, 'group' | 'values'> {
  const verdicts = judged.filter((each) => each.split === split).map(({ verdict }) => verdict);
  const defined = <Value>(values: readonly (Value | undefined)[]): Value[] =>
    values.filter((value) => value !== undefined);
  return {
    group: split,
    values: [
      shareOf(verdicts, ({ rightThing }) => rightThing),
      shareOf(verdicts, ({ rightMotion }) => rightMotion),
      shareOf(defined(verdicts.map(({ rightDirection }) => rightDirection)), (right) => right),
      shareOf(verdicts, ({ rightPace }) => rightPace),
      mean(defined(verdicts.map(({ speedError }) => speedError))),
      mean(verdicts.map(({ consistency }) => consistency)),
      shareOf(verdicts, ({ moves }) => moves),
      mean(verdicts.map(({ flicker }) => flicker)),
      verdicts.length,
    ],
  };
}

function kindsOf(split: Split, judged: readonly Judged[]): Pick<TableRow, 'group' | 'values'> {
  const values = motionKinds.map((kind) =>
    shareOf(
      judged.filter((each) => each.split === split && each.motion.kind === kind),
      ({ verdict }) => verdict.rightMotion,
    ),
  );
  return { group: split, values };
}

function examplesOf(judged: readonly Judged[]): Example[] {
  return splits.flatMap((split) =>
    motionKinds.flatMap((kind) =>
      judged
        .filter((each) => each.split === split && each.motion.kind === kind)
        .slice(0, shownClips)
        .map(({ prompt, frames, verdict }) => ({
          title: prompt,
          group: split,
          pictures: [{ frames }],
          lines: [{ text: verdict.seen }],
          right: verdict.rightThing && verdict.rightMotion,
        })),
    ),
  );
}
