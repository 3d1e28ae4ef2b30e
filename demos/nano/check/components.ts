import type { Foreground } from './background.js';

/** A patch of foreground: its pixels lie in [left, right) x [top, bottom). */
export interface Patch {
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
  /** Pixels of foreground in it. */
  readonly area: number;
}

export interface PatchOptions {
  /** Farther than this from the background is foreground, CIELAB units. */
  threshold: number;
  /** Pieces whose common box has no longer side than this belong to one thing, pixels. */
  mergeWithin: number;
  /** Patches of fewer pixels than this are specks, left out after merging. */
  smallest: number;
}

/** Of what is all noise, only the largest pieces and patches are looked at. */
const mostPieces = 48;
const mostPatches = 16;

/** Connected patches of foreground (8 neighbours), pieces of one thing put together, specks left out. */
export function findPatches(foreground: Foreground, { threshold, mergeWithin, smallest }: PatchOptions): Patch[] {
  const { side, distance } = foreground;
  const seen = new Uint8Array(side * side);
  const patches: Patch[] = [];
  for (let start = 0; start < seen.length; start++) {
    if (seen[start] === 0 && distance[start] > threshold) patches.push(flood(start, side, distance, threshold, seen));
  }
  // A single pixel is noise, and would pull things' boxes apart if it were merged with them.
  const pieces = patches.filter(({ area }) => area > 2).sort((a, b) => b.area - a.area);
  const merged = mergePieces(pieces.slice(0, mostPieces), mergeWithin).filter(({ area }) => area >= smallest);
  return merged.sort((a, b) => b.area - a.area).slice(0, mostPatches);
}

function flood(start: number, side: number, distance: Float32Array, threshold: number, seen: Uint8Array): Patch {
  const box = { left: side, right: 0, top: side, bottom: 0, area: 0 };
  const waiting = [start];
  seen[start] = 1;
  for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
    const [row, column] = [Math.floor(at / side), at % side];
    box.left = Math.min(box.left, column);
    box.right = Math.max(box.right, column + 1);
    box.top = Math.min(box.top, row);
    box.bottom = Math.max(box.bottom, row + 1);
    box.area += 1;
    for (let y = Math.max(0, row - 1); y <= Math.min(side - 1, row + 1); y++) {
      for (let x = Math.max(0, column - 1); x <= Math.min(side - 1, column + 1); x++) {
        const next = y * side + x;
        if (seen[next] === 1 || distance[next] <= threshold) continue;
        seen[next] = 1;
        waiting.push(next);
      }
    }
  }
  return box;
}

function mergePieces(pieces: readonly Patch[], within: number): Patch[] {
  const patches = [...pieces];
  for (;;) {
    let best: { first: number; second: number; side: number } | undefined;
    for (let first = 0; first < patches.length; first++) {
      for (let second = first + 1; second < patches.length; second++) {
        const side = longerSide(union(patches[first], patches[second]));
        if (side <= within && (best === undefined || side < best.side)) best = { first, second, side };
      }
    }
    if (best === undefined) return patches;
    const merged = union(patches[best.first], patches[best.second]);
    patches.splice(best.second, 1);
    patches.splice(best.first, 1, merged);
  }
}

export function longerSide({ left, right, top, bottom }: Patch): number {
  return Math.max(right - left, bottom - top);
}

function union(a: Patch, b: Patch): Patch {
  return {
    left: Math.min(a.left, b.left),
    right: Math.max(a.right, b.right),
    top: Math.min(a.top, b.top),
    bottom: Math.max(a.bottom, b.bottom),
    area: a.area + b.area,
  };
}
