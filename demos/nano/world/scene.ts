import { hashString, type SeededRandom } from './random.js';
import {
  backgrounds,
  colors,
  motionKinds,
  nouns,
  trainedStyles,
  type Background,
  type Color,
  type MotionKind,
  type Noun,
  type Style,
} from './words.js';

/** What a thing does in a clip. */
export interface Motion {
  readonly kind: MotionKind;
  /** Pixels a frame for what travels: 2 is slow, 3 is quick. */
  readonly speed: number;
}

/** One thing. Lengths count pixels of a picture of 64 x 64 and grow with the picture. */
export interface SceneObject {
  readonly noun: Noun;
  /** Undefined: the colours of its artwork. */
  readonly color: Color | undefined;
  /** Centre in the first frame. */
  readonly x: number;
  readonly y: number;
  readonly size: number;
  readonly motion?: Motion;
}

/** Everything there is to know about a picture or a clip: what it shows follows from this alone. */
export interface Scene {
  readonly style: Style;
  readonly background: Background;
  readonly objects: readonly SceneObject[];
}

/** Side of a picture, in pixels. */
export const pictureSize = 64;
/** Side of a thing. */
export const objectSize = 24;
/** Things stand on this grid, which is that of the visual tokens. */
export const gridStep = 8;
/** Between two things one of the two distances of their centres is at least this: a gap of 8 pixels. */
const separation = objectSize + gridStep;
/** Frames of a clip: three latent frames. */
export const clipFrames = 12;
export const framesPerSecond = 8;

/** What a scene is made to show, after the tasks of GenEval (Ghosh et al. 2023), and two for pre-training. */
export const sceneKinds = ['single', 'color', 'two', 'count', 'position', 'binding', 'mixed'] as const;
export type SceneKind = (typeof sceneKinds)[number];

export type Relation = 'left of' | 'right of' | 'above' | 'below';

/**
 * Relations of a thing to another by GenEval's rule (Ghosh et al. 2023, evaluation code): the distance of the centres in
 * each direction, less a tenth of both sizes, over the length of the whole distance; beyond 0.5 is that relation.
 */
export function relationsOf(a: Box, b: Box): Relation[] {
  const shrunk = (distance: number, sizes: number): number =>
    Math.sign(distance) * Math.max(Math.abs(distance) - 0.1 * sizes, 0);
  const across = shrunk(a.x - b.x, a.width + b.width);
  const down = shrunk(a.y - b.y, a.height + b.height);
  if (Math.max(Math.abs(across), Math.abs(down)) < 1e-3) return [];
  const length = Math.hypot(a.x - b.x, a.y - b.y);
  const relations: Relation[] = [];
  if (across / length < -0.5) relations.push('left of');
  if (across / length > 0.5) relations.push('right of');
  if (down / length < -0.5) relations.push('above');
  if (down / length > 0.5) relations.push('below');
  return relations;
}

/** Centre and size in pixels. */
export interface Box {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

export function boxOf({ x, y, size }: SceneObject): Box {
  return { x, y, width: size, height: size };
}

/**
 * Combinations that no training scene shows: a tenth each of (thing, colour), (thing, number), (thing, relation, thing),
 * (thing, thing) and (thing, motion). Chosen by a hash of the combination's name, so that the list needs no keeping.
 */
export function isHeldOut(combination: string): boolean {
  return hashString(`held out: ${combination}`) % 10 === 0;
}

/** Names of the combinations that a scene shows. */
export function combinationsOf({ objects }: Scene): string[] {
  const combinations: string[] = [];
  const counts = new Map<Noun, number>();
  for (const { noun, color, motion } of objects) {
    counts.set(noun, (counts.get(noun) ?? 0) + 1);
    if (color !== undefined) combinations.push(`${color} ${noun}`);
    if (motion !== undefined) combinations.push(`${noun} ${motion.kind}`);
  }
  for (const [noun, count] of counts) if (count > 1) combinations.push(`${count} ${noun}`);
  objects.forEach((a, index) => {
    for (const b of objects.slice(index + 1)) {
      if (a.noun === b.noun) continue;
      combinations.push([a.noun, b.noun].sort().join(' and '));
      for (const relation of relationsOf(boxOf(a), boxOf(b))) {
        if (relation === 'left of' || relation === 'above') combinations.push(`${a.noun} ${relation} ${b.noun}`);
        else combinations.push(`${b.noun} ${relation === 'right of' ? 'left of' : 'above'} ${a.noun}`);
      }
    }
  });
  return combinations;
}

export type Split = 'seen' | 'held out';

export function splitOf(scene: Scene): Split {
  return combinationsOf(scene).some(isHeldOut) ? 'held out' : 'seen';
}

export interface SceneOptions {
  kind: SceneKind;
  /** Draw again until the scene is of this split; default any. */
  split?: Split;
  styles?: readonly Style[];
}

/** Draws a still scene. The same state of `random` gives the same scene. */
export function drawScene(random: SeededRandom, options: SceneOptions): Scene {
  for (;;) {
    const scene: Scene = {
      style: pick(random, options.styles ?? trainedStyles),
      background: pick(random, backgrounds),
      objects: place(random, drawThings(random, options.kind)),
    };
    if (options.split === undefined || splitOf(scene) === options.split) return scene;
  }
}

/** Side of the larger pictures that quality fine-tuning draws, in pixels. */
export const largeSide = 96;

/**
 * A still scene for a picture of {@link largeSide}: drawn at that side, things are a third larger than in a small picture,
 * 32 pixels, and stand on the grid of the tokens, farther apart.
 */
export function enlarged(scene: Scene): Scene {
  const size = (objectSize * 4) / 3;
  const [smallPlaces, largePlaces] = [pictureSize - objectSize, largeSide - size];
  const scale = largeSide / pictureSize;
  const place = (centre: number): number => {
    const steps = Math.round((((centre - objectSize / 2) / smallPlaces) * largePlaces) / gridStep);
    return (steps * gridStep + size / 2) / scale;
  };
  const objects = scene.objects.map((object) => ({
    ...object,
    x: place(object.x),
    y: place(object.y),
    size: size / scale,
  }));
  return { ...scene, objects };
}

type Thing = Pick<SceneObject, 'noun' | 'color'>;

function drawThings(random: SeededRandom, kind: SceneKind): Thing[] {
  const color = (): Color => pick(random, colors);
  const maybe = (): Color | undefined => (random.next() < 0.5 ? color() : undefined);
  const [a, b, c, d] = random.shuffled(nouns);
  switch (kind) {
    case 'single':
      return [{ noun: a, color: undefined }];
    case 'color':
      return [{ noun: a, color: color() }];
    case 'two':
      return [a, b].map((noun) => ({ noun, color: undefined }));
    case 'position': {
      const painted = random.next() < 0.5;
      return [a, b].map((noun) => ({ noun, color: painted ? color() : undefined }));
    }
    case 'binding': {
      const [one, other] = random.shuffled(colors);
      return [
        { noun: a, color: one },
        { noun: b, color: other },
      ];
    }
    case 'count': {
      const same = { noun: a, color: maybe() };
      return Array.from({ length: 2 + random.integer(3) }, () => same);
    }
    case 'mixed': {
      const list = [a, b, c, d].slice(0, 3 + random.integer(2));
      // Now and then two of the same among them.
      if (random.next() < 0.3) list[1] = a;
      return list.map((noun) => ({ noun, color: maybe() }));
    }
  }
}

/** Puts things on the grid, apart from one another: at most four fit. */
export function place(random: SeededRandom, things: readonly Thing[], cells = pictureSize / gridStep): SceneObject[] {
  const places = cells - objectSize / gridStep + 1;
  for (;;) {
    const objects: SceneObject[] = [];
    for (const thing of things) {
      for (let attempt = 0; attempt < 20; attempt++) {
        const x = random.integer(places) * gridStep + objectSize / 2;
        const y = random.integer(places) * gridStep + objectSize / 2;
        const apart = objects.every((o) => Math.max(Math.abs(o.x - x), Math.abs(o.y - y)) >= separation);
        if (!apart) continue;
        objects.push({ ...thing, x, y, size: objectSize });
        break;
      }
    }
    if (objects.length === things.length) return objects;
  }
}

export interface ClipOptions {
  split?: Split;
  styles?: readonly Style[];
  kind?: MotionKind;
}

/** Draws a clip of {@link clipFrames} frames: one thing that moves, and in a quarter of the clips another that stands by. */
export function drawClip(random: SeededRandom, options: ClipOptions = {}): Scene {
  for (;;) {
    const painted = random.next() < 0.7;
    const [a, b] = random.shuffled(nouns);
    const motion: Motion = { kind: options.kind ?? pick(random, motionKinds), speed: 2 + random.integer(2) };
    const moving: SceneObject = {
      noun: a,
      color: painted ? pick(random, colors) : undefined,
      size: motion.kind === 'grows' ? 16 : motion.kind === 'shrinks' ? 40 : objectSize,
      ...startOf(random, motion),
      motion,
    };
    const objects = [moving];
    if (random.next() < 0.25) {
      const bystander = besides(random, moving, { noun: b, color: painted ? pick(random, colors) : undefined });
      if (bystander) objects.push(bystander);
    }
    const scene: Scene = {
      style: pick(random, options.styles ?? trainedStyles),
      background: pick(random, backgrounds),
      objects,
    };
    if (options.split === undefined || splitOf(scene) === options.split) return scene;
  }
}

/** Where a motion may start so that it stays in the picture, or enters and leaves it. */
function startOf(random: SeededRandom, { kind, speed }: Motion): { x: number; y: number } {
  const travel = speed * (clipFrames - 1);
  const free = (): number => random.integer(6) * gridStep + objectSize / 2;
  const near =
    objectSize / 2 + random.integer(Math.floor((pictureSize - objectSize - travel) / gridStep) + 1) * gridStep;
  switch (kind) {
    case 'moves right':
      return { x: near, y: free() };
    case 'moves left':
      return { x: pictureSize - near, y: free() };
    case 'moves down':
      return { x: free(), y: near };
    case 'moves up':
      return { x: free(), y: pictureSize - near };
    case 'bounces':
      return { x: free(), y: pictureSize - objectSize / 2 };
    case 'grows':
    case 'shrinks': {
      const middle = (): number => 24 + random.integer(3) * gridStep;
      return { x: middle(), y: middle() };
    }
    case 'spins':
      return { x: free(), y: free() };
    case 'enters':
      return { x: -objectSize / 2, y: free() };
    case 'leaves':
      return { x: pictureSize - objectSize / 2 - 2 * gridStep, y: free() };
  }
}

/** Where a thing is, how large and how turned, in a frame counted from 0. */
export interface Pose {
  readonly x: number;
  readonly y: number;
  readonly size: number;
  /** Radians, clockwise. */
  readonly angle: number;
}

/** The pose of a thing in a frame. What enters comes from the left, what leaves goes to the right. */
export function poseAt({ x, y, size, motion }: SceneObject, frame: number): Pose {
  if (motion === undefined) return { x, y, size, angle: 0 };
  const way = motion.speed * frame;
  switch (motion.kind) {
    case 'moves left':
      return { x: x - way, y, size, angle: 0 };
    case 'moves right':
      return { x: x + way, y, size, angle: 0 };
    case 'moves up':
      return { x, y: y - way, size, angle: 0 };
    case 'moves down':
      return { x, y: y + way, size, angle: 0 };
    case 'bounces':
      // A parabola of 8 frames and 32 (slow) or 40 pixels.
      return { x, y: y - jump(frame % 8, 16 + 8 * motion.speed), size, angle: 0 };
    case 'grows':
      return { x, y, size: size + way * 0.66, angle: 0 };
    case 'shrinks':
      return { x, y, size: size - way * 0.66, angle: 0 };
    case 'spins':
      return { x, y, size, angle: ((motion.speed - 1) * frame * Math.PI) / 8 };
    case 'enters':
      return { x: x + way, y, size, angle: 0 };
    case 'leaves':
      return { x: x + 1.5 * way, y, size, angle: 0 };
  }
}

function jump(time: number, height: number): number {
  return height * (1 - ((time - 4) / 4) ** 2);
}

/** A still thing that the moving one never touches, or undefined when no place is found. */
function besides(random: SeededRandom, moving: SceneObject, thing: Thing): SceneObject | undefined {
  for (let attempt = 0; attempt < 20; attempt++) {
    const [still] = place(random, [thing]);
    const apart = Array.from({ length: clipFrames }, (_, frame) => poseAt(moving, frame)).every(
      (pose) => Math.max(Math.abs(pose.x - still.x), Math.abs(pose.y - still.y)) >= (pose.size + still.size) / 2 + 4,
    );
    if (apart) return still;
  }
  return undefined;
}

function pick<Item>(random: SeededRandom, items: readonly Item[]): Item {
  return items[random.integer(items.length)];
}
