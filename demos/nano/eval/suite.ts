import type { RgbImage } from '../../../tokenizer/index.js';
import type { SceneChecker } from '../check/checker.js';
import type { SceneRenderer } from '../check/templates.js';
import { hashString, SeededRandom } from '../world/random.js';
import { clipFrames, enlarged, largeSide, type Scene, type Split } from '../world/scene.js';
import type { Ability, EvaluatedModel, RewriteRequest, WorkEvents } from './model.js';

export const suiteNames = ['geneval', 'pope', 'questions', 'captions', 'video', 'extension', 'reconstruction'] as const;
export type SuiteName = (typeof suiteNames)[number];

/** How much is asked. */
export interface Amounts {
  /** GenEval: prompts of each task and split, and pictures of each prompt. */
  prompts: number;
  samples: number;
  /** POPE, captions, reconstruction: pictures of each group. */
  pictures: number;
  /** Questions of each type and group. */
  questions: number;
  /** Text to video: clips of each motion and split. Elsewhere: clips of each split are four times as many. */
  clips: number;
}

export const fullAmounts: Amounts = { prompts: 20, samples: 4, pictures: 40, questions: 40, clips: 4 };
export const quickAmounts: Amounts = { prompts: 3, samples: 2, pictures: 6, questions: 6, clips: 1 };

/** What a suite works with. */
export interface SuiteContext {
  readonly model: EvaluatedModel;
  readonly renderer: SceneRenderer;
  readonly checker: SceneChecker;
  readonly amounts: Amounts;
  /** Of everything that is drawn by chance. */
  readonly seed: number;
  /** Side of the pictures in pixels. */
  readonly side: number;
  /** Begins a piece of work of known size and gives what it tells its progress by. */
  readonly work: (label: string, total: number) => WorkEvents;
}

/** Seen: trained styles, no held-out combination. Held out: trained styles, held-out combinations. Twemoji: a held-out style. */
export const groups = ['seen', 'held out', 'twemoji'] as const;
export type Group = (typeof groups)[number];

export const splits: readonly Split[] = ['seen', 'held out'];

export type Format = 'share' | 'count' | 'number';

/** Figures with their names; undefined where there is nothing to measure. */
export interface Table {
  readonly title: string;
  readonly columns: readonly { readonly name: string; readonly format: Format }[];
  readonly rows: readonly TableRow[];
  readonly note?: string;
}

export interface TableRow {
  readonly name: string;
  readonly group: string;
  /** Controls say what the figures of the model are to be compared with. */
  readonly control: boolean;
  readonly values: readonly (number | undefined)[];
}

/** A picture, a clip, or several beside one another, with what was asked and what came of it. */
export interface Example {
  readonly title: string;
  readonly group: string;
  readonly pictures: readonly { readonly label?: string; readonly frames: readonly RgbImage[] }[];
  readonly lines: readonly { readonly text: string; readonly right?: boolean }[];
  /** Colours its border; undefined for neither. */
  readonly right?: boolean;
}

export interface SuiteResult {
  readonly name: SuiteName;
  readonly title: string;
  /** What is measured and after whom. */
  readonly about: string;
  readonly tables: readonly Table[];
  readonly examples: readonly Example[];
}

export interface Suite {
  readonly name: SuiteName;
  /** With none of these there is nothing to measure. */
  readonly needs: readonly Ability[];
  run(context: SuiteContext): Promise<SuiteResult>;
}

/** Does something on this machine with each item in turn and tells how many are done. */
export function mapTold<Item, Result>(
  { work }: SuiteContext,
  label: string,
  items: readonly Item[],
  make: (item: Item, index: number) => Result,
): Result[] {
  const events = work(label, items.length);
  return items.map((item, index) => {
    const result = make(item, index);
    events.onDone?.(index + 1);
    return result;
  });
}

/** A generator of its own for each purpose, so that no suite depends on what others drew. */
export function randomFor({ seed }: SuiteContext, purpose: string): SeededRandom {
  return new SeededRandom(hashString(`${seed} ${purpose}`));
}

/**
 * What drawings are asked by: the prompts themselves and, when the model can, those it wrote out in full of them. `name` is
 * that of a table's row, `from` what progress says of the work.
 */
export async function promptings<Request extends RewriteRequest>(
  { model, work }: SuiteContext,
  requests: readonly Request[],
): Promise<{ name: string; from: string; requests: readonly Request[] }[]> {
  const plain = { name: 'model', from: 'from prompts', requests };
  if (model.rewrite === undefined) return [plain];
  const prompts = await model.rewrite(requests, work('rewriting', requests.length));
  const rewritten = requests.map((request, index) => ({ ...request, prompt: prompts[index] }));
  return [plain, { name: 'model, prompts rewritten', from: 'from rewritten prompts', requests: rewritten }];
}

/** Consecutive seeds of a purpose. */
export function seedsFor(context: SuiteContext, purpose: string, count: number): number[] {
  const first = randomFor(context, purpose).nextUint32();
  return Array.from({ length: count }, (_, index) => (first + index) % 2 ** 32);
}

export function pictureOf({ renderer, side }: SuiteContext, scene: Scene, frame = 0): RgbImage {
  const shown = side === largeSide ? enlarged(scene) : scene;
  return { rgb: renderer.picture(shown, frame, side), width: side, height: side };
}

export function clipOf(context: SuiteContext, scene: Scene): RgbImage[] {
  return Array.from({ length: clipFrames }, (_, frame) => pictureOf(context, scene, frame));
}

/** Clips through the vision tokenizer and back, or undefined when the model has none to ask. */
export async function reconstructed(
  { model, work }: SuiteContext,
  clips: readonly (readonly RgbImage[])[],
): Promise<readonly (readonly RgbImage[])[] | undefined> {
  if (model.reconstruct === undefined) return undefined;
  const results = await model.reconstruct(clips, work('reconstructing', clips.length));
  return results.map(({ frames }) => frames);
}

/** Undefined for no values. */
export function mean(values: readonly number[]): number | undefined {
  return values.length === 0 ? undefined : values.reduce((sum, value) => sum + value, 0) / values.length;
}

export function shareOf<Item>(items: readonly Item[], isRight: (item: Item) => boolean): number | undefined {
  return mean(items.map((item) => Number(isRight(item))));
}

/** Mean of what is defined. */
export function meanOfDefined(values: readonly (number | undefined)[]): number | undefined {
  return mean(values.filter((value) => value !== undefined));
}

/** For every place another one, half the list away: what belongs to it is chance. The same one where there is only one. */
export function elsewhere(index: number, length: number): number {
  return (index + Math.max(1, Math.floor(length / 2))) % length;
}

/** For every place another one by chance: what belongs to it is chance too. The same one where there is only one. */
export function shuffledPlaces(length: number, random: SeededRandom): number[] {
  const order = random.shuffled(Array.from({ length }, (_, index) => index));
  const places = new Array<number>(length);
  order.forEach((from, index) => (places[from] = order[(index + 1) % length]));
  return places;
}
