import {
  clipFrames,
  gridStep,
  largeSide,
  largeSlotSize,
  pictureSize,
  poseAt,
  slotSize,
  type Scene,
  type SceneObject,
} from '../world/scene.js';
import type { CorpusKind } from './corpus.node.js';

/** A picture or clip in tokens. */
interface Coded {
  readonly scene: Scene;
  /** [latentFrames][side][side] */
  readonly codes: Uint16Array;
  readonly latentFrames: number;
  readonly side: number;
}

/** The code that a thing to see is drawn by: the one that it has most often in a corpus. */
export type CanonicalTable = ReadonlyMap<string, number>;

/**
 * One name for one thing to see: what looks alike (the same cell of the same thing, or bare background) takes the code that
 * it has most often in the corpus. A vision tokenizer gives a patch other codes in other pictures, as its norms see the whole
 * picture; a transformer that learns to draw would spend most of its training on guessing which.
 */
export function canonicalTable(kind: CorpusKind, items: readonly Coded[]): CanonicalTable {
  const votes = new Map<string, Map<number, number>>();
  for (const item of items) {
    contentsOf(kind, item).forEach((name, cell) => {
      if (name === undefined) return;
      const code = item.codes[cell];
      const counts = votes.get(name) ?? new Map<number, number>();
      votes.set(name, counts.set(code, (counts.get(code) ?? 0) + 1));
    });
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
 * The pictures and clips of a corpus in the codes of its {@link canonicalTable}. Cells that two moving things come near keep
 * their codes.
 *
 * @returns codes of each, laid out as they were.
 */
export function canonicalCodes(kind: CorpusKind, items: readonly Coded[]): Uint16Array[] {
  const table = canonicalTable(kind, items);
  return items.map((item) => {
    const names = contentsOf(kind, item);
    return item.codes.map((code, cell) => table.get(names[cell] ?? '') ?? code);
  });
}

/** Codes of a scene that need not be in the corpus; undefined when it shows what no scene of the corpus does. */
export function composedCodes(
  kind: CorpusKind,
  place: Omit<Coded, 'codes'>,
  table: CanonicalTable,
): Uint16Array | undefined {
  const codes = contentsOf(kind, place).map((name) => table.get(name ?? ''));
  return codes.every((code) => code !== undefined) ? Uint16Array.from(codes) : undefined;
}

/** What each cell shows, [latentFrames][side][side]; undefined where no other cell shows just the same. */
function contentsOf(kind: CorpusKind, { scene, latentFrames, side }: Omit<Coded, 'codes'>): (string | undefined)[] {
  const contents: (string | undefined)[] = [];
  for (let frame = 0; frame < latentFrames; frame++) {
    for (let row = 0; row < side; row++) {
      for (let column = 0; column < side; column++) {
        contents.push(
          kind === 'clips'
            ? contentOfClip(scene, { frame, row, column, side, latentFrames })
            : contentOfStill(scene, row, column, side),
        );
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

function contentOfStill(scene: Scene, row: number, column: number, side: number): string {
  for (const thing of scene.objects) {
    const place = placeInSlot(thing, row, column, side);
    if (place === undefined) continue;
    const { noun, color } = thing;
    return [bare(scene, row, column, side), scene.style, noun, color ?? '', place.down, place.right].join(' ');
  }
  return bare(scene, row, column, side);
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

/**
 * Bare background by its place in time; what a thing reaches by where it is during the frames of the code, so that a thing
 * that goes on in its way is the same codes farther on. The first frames are told apart, as a tokenizer pads them. Undefined
 * where two things reach.
 */
function contentOfClip(
  scene: Scene,
  place: { frame: number; row: number; column: number; side: number; latentFrames: number },
): string | undefined {
  const { frame, row, column, side, latentFrames } = place;
  const perLatent = clipFrames / latentFrames;
  const [x, y] = [(column + 0.5) * gridStep, (row + 0.5) * gridStep];
  const near = scene.objects.flatMap((object) => {
    const poses = Array.from({ length: perLatent }, (_, index) => poseAt(object, frame * perLatent + index));
    // Half a cell, and another one around, into which a thing may reach through the tokenizer's convolutions.
    const reaches = poses.some((pose) => {
      const reach = pose.size / 2 + 1.5 * gridStep;
      return Math.abs(pose.x - x) < reach && Math.abs(pose.y - y) < reach;
    });
    return reaches ? [{ object, poses }] : [];
  });
  if (near.length === 0) return `${frame} ${bare(scene, row, column, side)}`;
  if (near.length > 1) return undefined;
  const [{ object, poses }] = near;
  const seen = poses.map((pose) => [pose.x - x, pose.y - y, pose.size, pose.angle].map((length) => length.toFixed(1)));
  const first = frame === 0 ? 'first' : '';
  return [first, scene.background, scene.style, object.noun, object.color ?? '', ...seen].join(' ');
}
