import type { LabPicture } from './lab.js';

/** Cells along a side of the fine and of the coarse view of a thing. */
const fineCells = 16;
const coarseCells = 8;
/** Side of the window that is looked at, in sides of the thing. */
const windowShare = 1.25;

/** Where a thing may be: its centre and the longer side of what is drawn of it, pixels. */
export interface Place {
  readonly x: number;
  readonly y: number;
  readonly size: number;
}

/** A thing's window of a picture's differences from its background, brought to one size. */
export interface View {
  /** [3, 16, 16]: means over the cells; zero outside the picture. */
  readonly fine: Float32Array;
  /** [3, 8, 8]: 2x2 means of `fine`. */
  readonly coarse: Float32Array;
  readonly fineEnergy: number;
  readonly coarseEnergy: number;
  /** Where part of the window lies outside the picture: 1 for the fine cells inside, [16, 16]. */
  readonly inside: Uint8Array | undefined;
}

interface Taps {
  /** First pixel of each cell and the weights from there on; no weights for a cell outside the picture. */
  readonly first: readonly number[];
  readonly weights: readonly (readonly number[])[];
  /** Pixels that are looked at: [low, high). */
  readonly low: number;
  readonly high: number;
  /** Whether all cells lie in the picture. */
  readonly whole: boolean;
}

/** Cell means over pixels, with pixels that a cell covers in part counted in part. */
function tapsAlong(center: number, size: number, side: number): Taps {
  const length = size * windowShare;
  const cell = length / fineCells;
  const first: number[] = [];
  const weights: number[][] = [];
  let [low, high] = [side, 0];
  for (let index = 0; index < fineCells; index++) {
    const from = center - length / 2 + index * cell;
    const [start, end] = [Math.max(0, from), Math.min(side, from + cell)];
    const covered: number[] = [];
    first.push(Math.floor(start));
    // A cell that is mostly outside says nothing.
    if (end - start > cell / 2) {
      for (let pixel = Math.floor(start); pixel < end; pixel++) {
        covered.push((Math.min(end, pixel + 1) - Math.max(start, pixel)) / (end - start));
      }
      low = Math.min(low, first[index]);
      high = Math.max(high, first[index] + covered.length);
    }
    weights.push(covered);
  }
  return { first, weights, low, high, whole: weights.every(({ length }) => length > 0) };
}

/** The view of a place in a picture whose background is zero. */
export function viewOf({ planes, side }: LabPicture, { x, y, size }: Place): View {
  const across = tapsAlong(x, size, side);
  const down = tapsAlong(y, size, side);
  const fine = new Float32Array(3 * fineCells * fineCells);
  const rows = Math.max(0, down.high - down.low);
  const narrowed = new Float32Array(rows * fineCells);
  for (let plane = 0; plane < 3; plane++) {
    for (let row = 0; row < rows; row++) {
      const start = (plane * side + down.low + row) * side;
      for (let cell = 0; cell < fineCells; cell++) {
        const weights = across.weights[cell];
        let sum = 0;
        for (let tap = 0; tap < weights.length; tap++) sum += weights[tap] * planes[start + across.first[cell] + tap];
        narrowed[row * fineCells + cell] = sum;
      }
    }
    for (let row = 0; row < fineCells; row++) {
      const weights = down.weights[row];
      for (let tap = 0; tap < weights.length; tap++) {
        const from = (down.first[row] - down.low + tap) * fineCells;
        const to = (plane * fineCells + row) * fineCells;
        for (let cell = 0; cell < fineCells; cell++) fine[to + cell] += weights[tap] * narrowed[from + cell];
      }
    }
  }
  return withCoarse(fine, insideOf(across, down));
}

function insideOf(across: Taps, down: Taps): Uint8Array | undefined {
  if (across.whole && down.whole) return undefined;
  return Uint8Array.from({ length: fineCells ** 2 }, (_, index) => {
    const [row, column] = [Math.floor(index / fineCells), index % fineCells];
    return down.weights[row].length > 0 && across.weights[column].length > 0 ? 1 : 0;
  });
}

function withCoarse(fine: Float32Array, inside: Uint8Array | undefined): View {
  const coarse = new Float32Array(3 * coarseCells * coarseCells);
  for (let row = 0; row < 3 * coarseCells; row++) {
    for (let column = 0; column < coarseCells; column++) {
      const at = 2 * row * fineCells + 2 * column;
      const sum = fine[at] + fine[at + 1] + fine[at + fineCells] + fine[at + fineCells + 1];
      coarse[row * coarseCells + column] = sum / 4;
    }
  }
  return { fine, coarse, fineEnergy: energy(fine), coarseEnergy: energy(coarse), inside };
}

function energy(values: Float32Array): number {
  let sum = 0;
  for (const value of values) sum += value * value;
  return sum;
}

function product(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let index = 0; index < a.length; index++) sum += a[index] * b[index];
  return sum;
}

/**
 * How unlike a view is to a template, from 0 (same) to about 2 (they share nothing): `sum (a - b)^2 / mean(sum a^2, sum b^2)`
 * over the cells inside the picture, the values being differences from the background, so that backgrounds count for
 * nothing and what is drawn counts by its area.
 */
export function fineDistance(view: View, template: View): number {
  let templateEnergy = template.fineEnergy;
  if (view.inside !== undefined) {
    templateEnergy = 0;
    const cells = view.inside.length;
    for (let index = 0; index < template.fine.length; index++) {
      if (view.inside[index % cells] === 1) templateEnergy += template.fine[index] ** 2;
    }
  }
  return distanceOf(view.fineEnergy, templateEnergy, product(view.fine, template.fine));
}

/** {@link fineDistance} on 8x8 cells, the picture's border ignored: to find candidates. */
export function coarseDistance(view: View, template: View): number {
  return distanceOf(view.coarseEnergy, template.coarseEnergy, product(view.coarse, template.coarse));
}

function distanceOf(energyA: number, energyB: number, common: number): number {
  const scale = (energyA + energyB) / 2;
  return scale === 0 ? 2 : Math.max(0, 2 - (2 * common) / scale);
}
