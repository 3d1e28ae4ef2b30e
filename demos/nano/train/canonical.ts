import {
  gridStep,
  largeSide,
  largeSlotSize,
  nameOfPoses,
  pictureSize,
  posesIn,
  slotSize,
  type Pose,
  type Scene,
  type SceneObject,
} from '../world/scene.js';
import type { CorpusKind } from './corpus.node.js';

/** A picture or clip in tokens. */
interface Coded {
  readonly scene: Scene;
  /** [latentFrames][side][side] */
  readonly codes: Uint16Array;
  /** Codes that count for the table, if others. */
  readonly votes?: Uint16Array | undefined;
  readonly latentFrames: number;
  readonly side: number;
  /** Of a shot: which latent frame of its clip it is, from 0; default 0. */
  readonly from?: number;
}

/** What of a picture or clip says which cells show what. */
type Place = Omit<Coded, 'codes' | 'votes'>;

/** The code that a thing to see is drawn by: the one that it has most often in the corpora. */
export type CanonicalTable = ReadonlyMap<string, number>;

/**
 * One name for one thing to see: what looks alike (the same cell of the same thing, or bare background) takes the code that
 * it has most often. A vision tokenizer gives a patch other codes in other pictures, as its norms see the whole picture, and
 * others again in later frames of a clip; a transformer that learns to draw would spend most of its training on guessing
 * which. Stills decide on all that stands still, in clips too. What moves is decided by shots: a latent frame's worth of
 * frames, turned into tokens by itself. So a clip is a row of shots, and what goes on in its way is the same codes farther on.
 */
export function canonicalTable(corpora: Partial<Readonly<Record<CorpusKind, readonly Coded[]>>>): CanonicalTable {
  const votes = new Map<string, Map<number, number>>();
  for (const kind of ['stills', 'large stills', 'shots'] as const) {
    for (const item of corpora[kind] ?? []) {
      contentsOf(item).forEach(({ name, shows }, cell) => {
        if (kind === 'shots' && shows !== 'moving') return;
        const code = (item.votes ?? item.codes)[cell];
        const counts = votes.get(name) ?? new Map<number, number>();
        votes.set(name, counts.set(code, (counts.get(code) ?? 0) + 1));
      });
    }
  }
  const chosen = new Map<string, number>();
  for (const [name, counts] of votes) {
    // The lower code where two are as frequent, so that the result does not depend on the order of the corpus.
    const [[code]] = [...counts].sort((a, b) => b[1] - a[1] || a[0] - b[0]);
    chosen.set(name, code);
  }
  return chosen;
}

/**
 * A picture or clip of a corpus in the codes of a table; what the table does not know keeps its own.
 *
 * @param given latent frames that keep their own codes, from the first on.
 * @returns codes laid out as they were.
 */
export function canonicalCodes(item: Coded, table: CanonicalTable, given = 0): Uint16Array {
  const contents = contentsOf(item);
  const kept = given * item.side ** 2;
  return item.codes.map((code, cell) => (cell < kept ? code : (table.get(contents[cell].name) ?? code)));
}

/** Codes of a scene that need not be in a corpus; undefined when it shows what the table does not know. */
export function composedCodes(place: Place, table: CanonicalTable): Uint16Array | undefined {
  const codes = contentsOf(place).map(({ name }) => table.get(name));
  return codes.every((code) => code !== undefined) ? Uint16Array.from(codes) : undefined;
}

/** What a cell shows; what has one name looks alike. */
interface Content {
  readonly name: string;
  readonly shows: 'background' | 'still' | 'moving';
}

/** What each cell shows, [latentFrames][side][side]. */
export function contentsOf({ scene, latentFrames, side, from = 0 }: Place): Content[] {
  const contents: Content[] = [];
  for (let frame = from; frame < from + latentFrames; frame++) {
    const moving = movingThings(scene, frame);
    for (let row = 0; row < side; row++) {
      for (let column = 0; column < side; column++) {
        const still = contentOfStill(scene, row, column, side);
        const moved = still.shows === 'background' ? contentOfMoving(scene, moving, row, column) : undefined;
        contents.push(moved ?? still);
      }
    }
  }
  return contents;
}

/** Edges of a picture look otherwise to a tokenizer: they border on nothing. */
function edge(place: number, side: number): string {
  return place === 0 ? '<' : place === side - 1 ? '>' : '';
}

function bare({ background }: Scene, row: number, column: number, side: number): string {
  return `${side} ${background} ${edge(row, side)} ${edge(column, side)}`;
}

/** What a cell shows of all that stands still. */
function contentOfStill(scene: Scene, row: number, column: number, side: number): Content {
  const background = bare(scene, row, column, side);
  for (const thing of scene.objects) {
    if (thing.motion) continue;
    const place = placeInSlot(thing, row, column, side);
    if (place === undefined) continue;
    const { noun, color } = thing;
    return { name: [background, scene.style, noun, color ?? '', place.down, place.right].join(' '), shows: 'still' };
  }
  return { name: background, shows: 'background' };
}

/** Where in a still thing's slot a cell lies, in a picture of so many cells a side; undefined outside. */
export function placeInSlot(
  { x, y }: Pick<SceneObject, 'x' | 'y'>,
  row: number,
  column: number,
  side: number,
): { down: number; right: number } | undefined {
  const scale = (side * gridStep) / pictureSize;
  const slot = side * gridStep === largeSide ? largeSlotSize : slotSize;
  const [top, left] = [y, x].map((centre) => Math.round((centre * scale - slot / 2) / gridStep));
  const [down, right] = [row - top, column - left];
  const inside = down >= 0 && right >= 0 && down < slot / gridStep && right < slot / gridStep;
  return inside ? { down, right } : undefined;
}

/** A thing that moves, and its poses in the frames of one latent frame. */
interface MovingThing {
  readonly thing: SceneObject;
  readonly poses: readonly Pose[];
}

function movingThings({ objects }: Scene, frame: number): MovingThing[] {
  return objects.flatMap((thing) => (thing.motion ? [{ thing, poses: posesIn(thing, frame) }] : []));
}

/** What a cell shows of a thing that moves: where from the cell it is, and how large and turned, frame by frame. */
function contentOfMoving(
  { background, style }: Scene,
  things: readonly MovingThing[],
  row: number,
  column: number,
): Content | undefined {
  const [x, y] = [(column + 0.5) * gridStep, (row + 0.5) * gridStep];
  for (const { thing, poses } of things) {
    const isTouched = poses.some((pose) => {
      const turned = Math.abs(Math.cos(pose.angle)) + Math.abs(Math.sin(pose.angle));
      const reach = (pose.size * turned + gridStep) / 2 - 0.01;
      return Math.abs(pose.x - x) < reach && Math.abs(pose.y - y) < reach;
    });
    if (!isTouched) continue;
    const name = [background, style, thing.noun, thing.color ?? '', nameOfPoses(poses, { x, y })].join(' ');
    return { name, shows: 'moving' };
  }
  return undefined;
}
