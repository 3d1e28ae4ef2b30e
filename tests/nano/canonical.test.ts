import { describe, expect, it } from 'vitest';
import { canonicalCodes, canonicalTable, composedCodes } from '../../demos/nano/train/canonical.js';
import { corpusScene, drawTrainingScene } from '../../demos/nano/train/corpus.node.js';
import { decoderRecipe } from '../../demos/nano/train/recipe.js';
import { SeededRandom } from '../../demos/nano/world/random.js';
import { allShots, splitOf, type Scene } from '../../demos/nano/world/scene.js';
import { backgrounds, nouns } from '../../demos/nano/world/words.js';

const side = 8;
const thing = { noun: 'car', color: 'red', x: 16, y: 16, size: 28 } as const;
const scene: Scene = { style: 'noto', background: 'pink', objects: [thing] };

const grid = (code: number, latentFrames = 1): Uint16Array => new Uint16Array(latentFrames * side * side).fill(code);

/** Of a shot of a scene's latent frame, each cell another code than all cells of other shots. */
const shotOf = (of: Scene, from: number, first: number) => ({
  scene: of,
  from,
  codes: Uint16Array.from({ length: side * side }, (_, cell) => first + cell),
  latentFrames: 1,
  side,
});

describe('canonical codes', () => {
  it('give what looks alike the code it has most often, and nothing else', () => {
    const item = (code: number, changed: Partial<Scene> = {}) => ({
      scene: { ...scene, ...changed },
      codes: grid(code),
      latentFrames: 1,
      side,
    });
    const items = [item(4), item(7), item(7), item(1, { background: 'gray' }), item(9, { objects: [] })];
    const table = canonicalTable({ stills: items });
    const [first, second, , gray, empty] = items.map((each) => canonicalCodes(each, table));
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
    const table = canonicalTable({ stills: items });
    const inThing = 5 * side + 5;
    const codes = items.map((each) => canonicalCodes(each, table)[inThing]);
    expect(codes).toEqual([inThing, inThing + 100, inThing + 200, inThing + 300]);
  });

  it('give a thing that goes on in its way the same codes farther on, those of its shot', () => {
    // Two pixels a frame are one cell a latent frame.
    const moving: Scene = { ...scene, objects: [{ ...thing, y: 32, motion: { kind: 'moves right', speed: 2 } }] };
    const table = canonicalTable({ shots: [shotOf(moving, 1, 500)] });
    const codes = grid(9, 3);
    const canonical = canonicalCodes({ scene: moving, codes, latentFrames: 3, side }, table);
    for (let frame = 0; frame < 3; frame++) {
      for (let row = 0; row < side; row++) {
        for (let column = 0; column < side; column++) {
          // Six pixels of way and twenty-eight of thing lie on five cells.
          const isThing = row >= 2 && row < 6 && column >= frame && column < frame + 5;
          const code = canonical[frame * 64 + row * side + column];
          expect(code, `${frame} ${row} ${column}`).toBe(isThing ? 500 + row * side + column + 1 - frame : 9);
        }
      }
    }
  });

  it('take for what stands still in a clip what stills have, and for what moves what shots have', () => {
    const standing = { ...thing, noun: 'star', x: 48, y: 48 } as const;
    const spinning = { ...thing, motion: { kind: 'spins', speed: 2 } } as const;
    const still: Scene = { ...scene, objects: [standing] };
    const clip: Scene = { ...scene, objects: [spinning, standing] };
    const place = { scene: clip, latentFrames: 3, side };
    const stills = [{ scene: still, codes: grid(3), latentFrames: 1, side }];
    const shots = [0, 1, 2].map((from) => shotOf({ ...scene, objects: [spinning] }, from, 100 * (from + 1)));
    expect(composedCodes(place, canonicalTable({ stills }))).toBeUndefined();
    expect(composedCodes(place, canonicalTable({ stills, shots: shots.slice(1) }))).toBeUndefined();
    const codes = composedCodes(place, canonicalTable({ stills, shots })) ?? [];
    const [turning, bare, star] = [2 * side + 2, 7 * side, 5 * side + 5];
    for (const frame of [0, 1, 2]) {
      expect(codes[frame * 64 + turning]).toBe(100 * (frame + 1) + turning);
      expect(codes[frame * 64 + bare]).toBe(3);
      expect(codes[frame * 64 + star]).toBe(3);
    }
  });

  it('has all shots that seen clips are made of, and no held-out ones', () => {
    const shots = allShots();
    expect(shots).toHaveLength(decoderRecipe.scenes.shots);
    expect(shots.filter((shot) => splitOf(shot.scene) !== 'seen')).toHaveLength(0);
    const stills = ['pink', 'white', 'gray', 'mint'].map((background) => ({
      scene: { ...scene, background, objects: [] } as Scene,
      codes: grid(1),
      latentFrames: 1,
      side,
    }));
    const table = canonicalTable({ stills, shots: shots.map((shot) => shotOf(shot.scene, shot.from, 2)) });
    const random = new SeededRandom(6);
    for (let index = 0; index < 100; index++) {
      const { objects, ...setting } = drawTrainingScene('clips', random);
      const alone = { scene: { ...setting, objects: objects.slice(0, 1) }, latentFrames: 3, side };
      expect(composedCodes(alone, table), JSON.stringify(alone.scene)).toBeDefined();
    }
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
    const table = canonicalTable({ stills: items });
    const random = new SeededRandom(8);
    let known = 0;
    for (let index = 0; index < 50; index++) {
      const still = drawTrainingScene('stills', random);
      const codes = composedCodes({ scene: still, latentFrames: 1, side }, table);
      if (codes === undefined) continue;
      known += 1;
      expect(codes).toEqual(looks(still));
    }
    expect(known).toBeGreaterThan(30);
    const unseen = { ...scene, style: 'twemoji' as const };
    expect(composedCodes({ scene: unseen, latentFrames: 1, side }, table)).toBeUndefined();
  });

  it('do not depend on the order of the corpus', () => {
    const items = Array.from({ length: 30 }, (_, index) => ({
      scene: corpusScene('large stills', 5, index),
      codes: Uint16Array.from({ length: 144 }, (_, cell) => (cell * 7 + index) % 11),
      latentFrames: 1,
      side: 12,
    }));
    const forwards = canonicalTable({ 'large stills': items });
    const backwards = canonicalTable({ 'large stills': [...items].reverse() });
    expect(new Map([...backwards].sort())).toEqual(new Map([...forwards].sort()));
  });
});
