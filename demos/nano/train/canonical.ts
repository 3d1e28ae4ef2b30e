import {
  clipFrames,
  gridStep,
  largeSide,
  largeSlotSize,
  pictureSize,
  poseAt,
  slotSize,
  type Scene,
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

/**
 * The same pictures and clips with one name for one thing to see: what looks alike (the same cell of the same thing, or bare
 * background) takes the code that it has most often in the corpus. A vision tokenizer gives a patch other codes in other
 * pictures, as its norms see the whole picture; a transformer that learns to draw would spend most of its training on
 * guessing which. Cells near things that move keep their codes.
 *
 * @returns codes of each, laid out as they were.
 */
export function canonicalCodes(kind: CorpusKind, items: readonly Coded[]): Uint16Array[] {
  const votes = new Map<string, Map<number, number>>();
  const names = items.map((item) => contentsOf(kind, item));
  items.forEach(({ codes }, index) => {
    names[index].forEach((name, cell) => {
      if (name === undefined) return;
      const counts = votes.get(name) ?? new Map<number, number>();
      votes.set(name, counts.set(codes[cell], (counts.get(codes[cell]) ?? 0) + 1));
    });
  });
  const chosen = new Map<string, number>();
  for (const [name, counts] of votes) {
    // The lower code where two are as frequent, so that the result does not depend on the order of the corpus.
    const [[code]] = [...counts].sort((a, b) => b[1] - a[1] || a[0] - b[0]);
    chosen.set(name, code);
  }
  return items.map(({ codes }, index) =>
    codes.map((code, cell) => {
      const name = names[index][cell];
      return name === undefined ? code : (chosen.get(name) ?? code);
    }),
  );
}

/** What each cell shows, [latentFrames][side][side]; undefined where no other cell shows just the same. */
function contentsOf(kind: CorpusKind, { scene, latentFrames, side }: Coded): (string | undefined)[] {
  const contents: (string | undefined)[] = [];
  for (let frame = 0; frame < latentFrames; frame++) {
    for (let row = 0; row < side; row++) {
      for (let column = 0; column < side; column++) {
        contents.push(
          kind === 'clips'
            ? backgroundOfClip(scene, { frame, row, column, side, latentFrames })
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
  const scale = (side * gridStep) / pictureSize;
  const slot = side * gridStep === largeSide ? largeSlotSize : slotSize;
  for (const { x, y, noun, color } of scene.objects) {
    const [top, left] = [y, x].map((centre) => Math.round((centre * scale - slot / 2) / gridStep));
    const [down, right] = [row - top, column - left];
    if (down < 0 || right < 0 || down >= slot / gridStep || right >= slot / gridStep) continue;
    return [bare(scene, row, column, side), scene.style, noun, color ?? '', down, right].join(' ');
  }
  return bare(scene, row, column, side);
}

function backgroundOfClip(
  scene: Scene,
  place: { frame: number; row: number; column: number; side: number; latentFrames: number },
): string | undefined {
  const { frame, row, column, side, latentFrames } = place;
  const perLatent = clipFrames / latentFrames;
  const [x, y] = [(column + 0.5) * gridStep, (row + 0.5) * gridStep];
  for (const object of scene.objects) {
    for (let index = 0; index < perLatent; index++) {
      const pose = poseAt(object, frame * perLatent + index);
      // Half a cell, and another one around, into which a thing may reach through the tokenizer's convolutions.
      const reach = pose.size / 2 + 1.5 * gridStep;
      if (Math.abs(pose.x - x) < reach && Math.abs(pose.y - y) < reach) return undefined;
    }
  }
  return `${frame} ${bare(scene, row, column, side)}`;
}
