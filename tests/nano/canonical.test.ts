import { describe, expect, it } from 'vitest';
import { canonicalCodes, canonicalTable, composedCodes } from '../../demos/nano/train/canonical.js';
import { corpusScene, drawTrainingScene } from '../../demos/nano/train/corpus.node.js';
import { SeededRandom } from '../../demos/nano/world/random.js';
import type { Scene } from '../../demos/nano/world/scene.js';
import { backgrounds, nouns } from '../../demos/nano/world/words.js';

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

  it('give a thing that goes on in its way the same codes farther on, and its first ones others', () => {
    // Two pixels a frame are one cell a latent frame.
    const moving: Scene = {
      ...scene,
      objects: [{ ...thing, y: 32, motion: { kind: 'moves right', speed: 2 } }],
    };
    const codes = Uint16Array.from({ length: 3 * 64 }, (_, cell) => cell);
    const [canonical] = canonicalCodes('clips', [{ scene: moving, codes, latentFrames: 3, side }]);
    const at = (frame: number, row: number, column: number): number => canonical[frame * 64 + row * side + column];
    for (const row of [2, 3, 4, 5]) {
      for (const column of [1, 2, 3, 4]) {
        expect(at(2, row, column + 1)).toBe(at(1, row, column));
        expect(at(0, row, column - 1)).not.toBe(at(1, row, column));
      }
    }
  });

  it('name bare background of clips, tell things apart, and leave cells alone that two things reach', () => {
    const clipOf = (objects: Scene['objects'], code: number) => ({
      scene: { ...scene, objects },
      codes: grid(code, 3),
      latentFrames: 3,
      side,
    });
    const motion = { kind: 'spins', speed: 2 } as const;
    const [car, fish] = (['car', 'fish'] as const).map((noun) => ({ ...thing, noun, motion }));
    const beside = { ...thing, noun: 'star', x: 36 } as const;
    const items = [clipOf([car], 4), clipOf([fish], 6), clipOf([car], 5), clipOf([car], 5), clipOf([fish, beside], 7)];
    const codes = canonicalCodes('clips', items);
    const [inThing, bare, between] = [2 * side, 7 * side + 7, 2 * side + 3];
    expect(codes.map((found) => found[inThing])).toEqual([5, 6, 5, 5, 6]);
    expect(codes.map((found) => found[bare])).toEqual([5, 5, 5, 5, 5]);
    expect(codes.map((found) => found[between])).toEqual([5, 6, 5, 5, 7]);
  });

  it('compose scenes that are not in the corpus, cell by cell, and no scene with anything unknown', () => {
    const look = ({ background, objects }: Scene, row: number, column: number): number => {
      const [x, y] = [8 * column + 4, 8 * row + 4];
      const found = objects.find((object) => Math.abs(object.x - x) < 16 && Math.abs(object.y - y) < 16);
      return backgrounds.indexOf(background) + 10 * (found ? 1 + nouns.indexOf(found.noun) : 0);
    };
    const looks = (of: Scene): Uint16Array =>
      Uint16Array.from({ length: 64 }, (_, cell) => look(of, Math.floor(cell / side), cell % side));
    const items = Array.from({ length: 4000 }, (_, index) => {
      const still = corpusScene('stills', 5, index);
      return { scene: still, codes: looks(still), latentFrames: 1, side };
    });
    const table = canonicalTable('stills', items);
    const random = new SeededRandom(8);
    let known = 0;
    for (let index = 0; index < 50; index++) {
      const still = drawTrainingScene('stills', random);
      const codes = composedCodes('stills', { scene: still, latentFrames: 1, side }, table);
      if (codes === undefined) continue;
      known += 1;
      expect(codes).toEqual(looks(still));
    }
    expect(known).toBeGreaterThan(30);
    const unseen = { ...scene, style: 'twemoji' as const };
    expect(composedCodes('stills', { scene: unseen, latentFrames: 1, side }, table)).toBeUndefined();
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
