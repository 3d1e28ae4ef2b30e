import { beforeAll, describe, expect, it } from 'vitest';
import { SceneChecker, type FoundThing } from '../../demos/nano/check/checker.js';
import { watchClip } from '../../demos/nano/check/clip.js';
import { addNoise, blurPicture, quantiseBlocks, shiftPicture, tintPicture } from '../../demos/nano/check/degrade.js';
import { Artwork } from '../../demos/nano/world/draw.node.js';
import { directionOf } from '../../demos/nano/world/questions.js';
import { SeededRandom } from '../../demos/nano/world/random.js';
import {
  drawClip,
  drawScene,
  enlarged,
  largeSide,
  pictureSize,
  sceneKinds,
  travelOf,
  type Scene,
  type SceneObject,
} from '../../demos/nano/world/scene.js';
import { backgroundPaints, motionKinds, paints, styles, trainedStyles } from '../../demos/nano/world/words.js';
import type { RgbImage } from '../../tokenizer/index.js';

let artwork: Artwork;
let checker: SceneChecker;
beforeAll(async () => {
  artwork = await Artwork.load();
  checker = new SceneChecker(artwork);
});

function imageOf(rgb: Uint8Array): RgbImage {
  const side = Math.sqrt(rgb.length / 3);
  return { rgb: Uint8Array.from(rgb), width: side, height: side };
}

/** Finds the things of a scene among those found, by where they are; `extra` counts what nothing stands for. */
function compare(
  scene: Scene,
  image: RgbImage,
): { right: number; things: number; extra: number; sight: ReturnType<SceneChecker['check']> } {
  const scale = image.width / pictureSize;
  const sight = checker.check(image);
  const left: FoundThing[] = [...sight.things];
  let right = 0;
  for (const { noun, color, x, y } of scene.objects) {
    const index = left.findIndex(({ box }) => Math.hypot(box.x - x * scale, box.y - y * scale) < 8 * scale);
    if (index < 0) continue;
    const [found] = left.splice(index, 1);
    right += Number(found.noun === noun && checker.isOfColor(found, color));
  }
  return { right, things: scene.objects.length, extra: left.length + sight.unknown.length, sight };
}

function share(
  change: (rgb: Uint8Array, index: number) => Uint8Array,
  perKind: number,
  side = pictureSize,
): Record<'right' | 'extra' | 'background' | 'style', number> {
  const random = new SeededRandom(31);
  const sum = { right: 0, things: 0, extra: 0, background: 0, style: 0, scenes: 0 };
  for (const kind of sceneKinds) {
    for (let index = 0; index < perKind; index++) {
      const drawn = drawScene(random, { kind, styles });
      const scene = side === largeSide ? enlarged(drawn) : drawn;
      const { right, things, extra, sight } = compare(scene, imageOf(change(artwork.picture(scene, 0, side), index)));
      sum.right += right;
      sum.things += things;
      sum.extra += extra;
      sum.background += Number(sight.background === scene.background);
      sum.style += Number(sight.style === scene.style);
      sum.scenes += 1;
    }
  }
  const { right, things, extra, background, style, scenes } = sum;
  return { right: right / things, extra: extra / things, background: background / scenes, style: style / scenes };
}

describe('the checker on pictures', () => {
  it('finds everything in clean scenes of every kind and style', () => {
    const figures = share((rgb) => rgb, 20);
    expect(figures.right).toBeGreaterThanOrEqual(0.99);
    expect(figures.extra).toBe(0);
    expect(figures.background).toBe(1);
    expect(figures.style).toBeGreaterThan(0.95);
  });

  it.each<[string, (rgb: Uint8Array, index: number) => Uint8Array]>([
    ['blurred', (rgb) => blurPicture(rgb, 1.5)],
    ['noisy', (rgb, index) => addNoise(rgb, 16, index)],
    ['shifted', (rgb) => shiftPicture(rgb, 1, -2)],
    ['in wrong shades', tintPicture],
    ['coarsely coded', (rgb) => quantiseBlocks(rgb, 40)],
    ['all at once', (rgb, index) => addNoise(quantiseBlocks(blurPicture(tintPicture(rgb), 0.7), 16), 8, index)],
  ])('finds nearly everything in scenes %s', (_, change) => {
    const figures = share(change, 8);
    expect(figures.right).toBeGreaterThanOrEqual(0.95);
    expect(figures.extra).toBeLessThan(0.02);
    expect(figures.background).toBe(1);
  });

  it('finds everything in larger pictures', () => {
    const figures = share((rgb) => rgb, 4, largeSide);
    expect(figures.right).toBeGreaterThanOrEqual(0.99);
    expect(figures.extra).toBe(0);
  });

  it('takes things apart that touch', () => {
    const random = new SeededRandom(4);
    let right = 0;
    const trials = 40;
    for (let trial = 0; trial < trials; trial++) {
      const [a, b] = drawScene(random, { kind: 'binding', styles: trainedStyles }).objects;
      const objects = [
        { ...a, x: 18, y: 32 },
        { ...b, x: 46, y: 28 },
      ];
      right += compare(
        { style: 'noto', background: 'gray', objects },
        imageOf(artwork.picture({ style: 'noto', background: 'gray', objects })),
      ).right;
    }
    expect(right / (2 * trials)).toBeGreaterThan(0.8);
  });

  it('finds nothing in an empty picture, and knows neither noise nor most blocks and blends', () => {
    for (const paint of Object.values(backgroundPaints)) {
      const empty = Uint8Array.from({ length: 64 * 64 * 3 }, (_, index) => paint[index % 3]);
      expect(checker.check(imageOf(empty))).toMatchObject({ things: [], unknown: [] });
    }
    const random = new SeededRandom(8);
    const noise = Uint8Array.from({ length: 64 * 64 * 3 }, () => random.integer(256));
    expect(checker.check(imageOf(noise)).things.length).toBeLessThan(3);
    let known = 0;
    const trials = 25;
    for (let trial = 0; trial < trials; trial++) {
      const [one, other] = random.shuffled(drawScene(random, { kind: 'mixed' }).objects).map((object): Uint8Array => {
        const middle: SceneObject = { ...object, x: 32, y: 32 };
        return artwork.picture({ style: 'fluent', background: 'gray', objects: [middle] });
      });
      const blend = one.map((value, index) => (value + other[index]) >> 1);
      const block = Uint8Array.from({ length: 64 * 64 * 3 }, (_, index) => {
        const [x, y] = [Math.floor(index / 3) % 64, Math.floor(index / 192)];
        const isInside = Math.abs(x - 32) < 12 && Math.abs(y - 32) < 6 + (trial % 6);
        return (isInside ? paints.blue : backgroundPaints.white)[index % 3];
      });
      known += checker.check(imageOf(blend)).things.length + checker.check(imageOf(block)).things.length;
    }
    expect(known / (2 * trials)).toBeLessThan(0.35);
  });

  it('takes artwork for the colour it has by itself', () => {
    const star = { noun: 'star', style: 'noto' } as const;
    expect(checker.isOfColor({ ...star, color: undefined }, 'yellow')).toBe(true);
    expect(checker.isOfColor({ ...star, color: 'yellow' }, undefined)).toBe(true);
    expect(checker.isOfColor({ ...star, color: undefined }, 'red')).toBe(false);
    expect(checker.isOfColor({ ...star, color: 'red' }, 'yellow')).toBe(false);
    expect(checker.isOfColor({ noun: 'house', style: 'noto', color: undefined }, 'red')).toBe(false);
  });

  it('refuses pictures it cannot look at', () => {
    const refused = (image: RgbImage): void =>
      expect(() => checker.check(image)).toThrow(expect.objectContaining({ code: 'shape' }));
    refused({ rgb: new Uint8Array(64 * 32 * 3), width: 64, height: 32 });
    refused({ rgb: new Uint8Array(12), width: 64, height: 64 });
    refused({ rgb: new Uint8Array(8 * 8 * 3), width: 8, height: 8 });
  });
});

describe('the checker on clips', () => {
  function figures(change: (rgb: Uint8Array, index: number) => Uint8Array, perKind: number): Record<string, number> {
    const random = new SeededRandom(9);
    const sum = {
      thing: 0,
      kind: 0,
      direction: 0,
      speedError: 0,
      consistency: 0,
      bystander: 0,
      bystanders: 0,
      clips: 0,
    };
    for (const kind of motionKinds) {
      for (let index = 0; index < perKind; index++) {
        const scene = drawClip(random, { kind });
        const frames = artwork.clip(scene).map((rgb, frame) => imageOf(change(rgb, 12 * index + frame)));
        const { tracks } = watchClip(checker, frames);
        const [moving, still] = scene.objects;
        const track = tracks.find(
          ({ noun, color, style }) =>
            noun === moving.noun && style !== undefined && checker.isOfColor({ noun, color, style }, moving.color),
        );
        sum.clips += 1;
        if (still !== undefined) {
          sum.bystanders += 1;
          sum.bystander += Number(tracks.some((each) => each.noun === still.noun && each.kind === undefined));
        }
        if (track === undefined) continue;
        const pace = moving.motion === undefined ? 0 : travelOf(moving.motion);
        sum.thing += 1;
        sum.kind += Number(track.kind === kind);
        sum.direction += Number(track.direction === directionOf(moving));
        sum.speedError += directionOf(moving) === undefined ? 0 : Math.abs(track.speed - pace);
        sum.consistency += track.consistency;
      }
    }
    const { clips, bystanders, bystander, ...rest } = sum;
    const means = Object.fromEntries(Object.entries(rest).map(([name, value]) => [name, value / clips]));
    return { ...means, bystander: bystander / bystanders };
  }

  it('names thing, motion, direction and speed', () => {
    const clean = figures((rgb) => rgb, 4);
    for (const name of ['thing', 'kind', 'direction', 'bystander']) expect(clean[name], name).toBe(1);
    expect(clean['consistency']).toBeGreaterThan(0.99);
    expect(clean['speedError']).toBeLessThan(0.02);
  });

  it('does so with damaged frames', () => {
    const damaged = figures((rgb, index) => addNoise(quantiseBlocks(blurPicture(rgb, 0.8), 20), 8, index), 2);
    for (const name of ['thing', 'kind', 'direction', 'consistency'])
      expect(damaged[name], name).toBeGreaterThanOrEqual(0.95);
    expect(damaged['speedError']).toBeLessThan(0.1);
  });

  it('measures flicker on the background', () => {
    const scene = drawClip(new SeededRandom(2), { kind: 'moves up' });
    const still = artwork.clip(scene).map(imageOf);
    expect(watchClip(checker, still).flicker).toBeLessThan(0.01);
    const flickering = still.map(({ rgb, ...size }, frame) => ({
      ...size,
      rgb: rgb.map((value) => Math.max(0, value - 2 * (frame % 2))),
    }));
    expect(watchClip(checker, flickering).flicker).toBeCloseTo(2, 1);
  });

  it('refuses what is no clip', () => {
    const image = imageOf(new Uint8Array(64 * 64 * 3));
    expect(() => watchClip(checker, [image, image])).toThrow(expect.objectContaining({ code: 'argument' }));
    const small = imageOf(new Uint8Array(32 * 32 * 3));
    expect(() => watchClip(checker, [image, small, image])).toThrow(expect.objectContaining({ code: 'shape' }));
  });
});
