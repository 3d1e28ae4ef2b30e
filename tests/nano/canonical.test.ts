import { describe, expect, it } from 'vitest';
import { canonicalCodes } from '../../demos/nano/train/canonical.js';
import { corpusScene } from '../../demos/nano/train/corpus.node.js';
import { poseAt, type Scene } from '../../demos/nano/world/scene.js';

const side = 8;
const thing = { noun: 'car', color: 'red', x: 16, y: 16, size: 28 } as const;
const scene: Scene = { style: 'noto', background: 'pink', objects: [thing] };

const grid = (code: number, latentFrames = 1): Uint16Array => new Uint16Array(latentFrames * side * side).fill(code);

describe('canonical codes', () => {
  it('give what looks alike the code it has most often, and nothing else', () => {
    const item = (code: number, changed: Partial<Scene> = {}) => ({
      scene: { ...scene, ...changed },
      codes: grid(code),
      latentFrames: 1,
      side,
    });
    const items = [item(4), item(7), item(7), item(1, { background: 'gray' }), item(9, { objects: [] })];
    const [first, second, , gray, empty] = canonicalCodes('stills', items);
    expect(first).toEqual(second);
    // Three of the five are pink with the car; where there is none in any, bare pink has 7 most often too.
    expect(new Set(first)).toEqual(new Set([7]));
    expect(new Set(gray)).toEqual(new Set([1]));
    // Under the car only the empty scene shows bare pink, but for cells that are bare elsewhere in the others.
    expect(empty[8 * 7 + 7]).toBe(7);
    expect(items[0].codes).toEqual(grid(4));
  });

  it('tell things, colours, styles and the cells of a thing apart, wherever it stands', () => {
    const at = (x: number, y: number, changed: object = {}): Scene => ({
      ...scene,
      objects: [{ ...thing, x, y, ...changed }],
    });
    const cells = Uint16Array.from({ length: 64 }, (_, cell) => cell);
    const items = [
      { scene: at(48, 48), codes: cells, latentFrames: 1, side },
      { scene: at(48, 48, { noun: 'fish' }), codes: cells.map((code) => code + 100), latentFrames: 1, side },
      { scene: at(48, 48, { color: 'blue' }), codes: cells.map((code) => code + 200), latentFrames: 1, side },
      {
        scene: { ...at(48, 48), style: 'fluent' as const },
        codes: cells.map((code) => code + 300),
        latentFrames: 1,
        side,
      },
    ];
    const inThing = 5 * side + 5;
    const codes = canonicalCodes('stills', items).map((found) => found[inThing]);
    expect(codes).toEqual([inThing, inThing + 100, inThing + 200, inThing + 300]);
  });

  it('leave cells of clips alone where a thing comes near, and name the rest', () => {
    for (let index = 0; index < 20; index++) {
      const clip = corpusScene('clips', 3, index);
      const items = [4, 6, 6].map((code) => ({ scene: clip, codes: grid(code, 3), latentFrames: 3, side }));
      const [codes] = canonicalCodes('clips', items);
      codes.forEach((code, cell) => {
        const [frame, row, column] = [Math.floor(cell / 64), Math.floor(cell / side) % side, cell % side];
        const near = clip.objects.some((object) =>
          [0, 1, 2, 3].some((step) => {
            const { x, y, size } = poseAt(object, 4 * frame + step);
            const reach = size / 2 + 12;
            return Math.abs(x - 8 * column - 4) < reach && Math.abs(y - 8 * row - 4) < reach;
          }),
        );
        expect(code).toBe(near ? 4 : 6);
      });
    }
  });

  it('do not depend on the order of the corpus', () => {
    const items = Array.from({ length: 30 }, (_, index) => ({
      scene: corpusScene('large stills', 5, index),
      codes: Uint16Array.from({ length: 144 }, (_, cell) => (cell * 7 + index) % 11),
      latentFrames: 1,
      side: 12,
    }));
    const forwards = canonicalCodes('large stills', items);
    expect(canonicalCodes('large stills', [...items].reverse()).reverse()).toEqual(forwards);
  });
});
