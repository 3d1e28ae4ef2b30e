import { hashString, SeededRandom } from './random.js';
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
export const objectSize = 28;
/** Side of the square that a thing has to itself, with a margin all around: a quarter of the picture, four by four visual tokens. */
export const slotSize = 32;
/** The grid of the visual tokens, on which motions start. */
export const gridStep = 8;
/** Frames of a clip: three latent frames. */
export const clipFrames = 12;
export const framesPerSecond = 8;
/** Frames of one latent frame. */
const latentFrameLength = 4;
/** Pixels a frame; quick is one more. */
const slowest = 2;

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

/** One name for two things in either order. */
export function pairName(a: Noun, b: Noun): string {
  return [a, b].sort().join(' and ');
}

/** One name for a relation and its opposite the other way round. */
export function relationName(a: Noun, relation: Relation, b: Noun): string {
  if (relation === 'left of' || relation === 'above') return `${a} ${relation} ${b}`;
  return `${b} ${relation === 'right of' ? 'left of' : 'above'} ${a}`;
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
      combinations.push(pairName(a.noun, b.noun));
      for (const relation of relationsOf(boxOf(a), boxOf(b))) combinations.push(relationName(a.noun, relation, b.noun));
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
      style: random.pick(options.styles ?? trainedStyles),
      background: random.pick(backgrounds),
      objects: place(random, drawThings(random, options.kind)),
    };
    if (options.split === undefined || splitOf(scene) === options.split) return scene;
  }
}

/** Side of the larger pictures that quality fine-tuning draws, in pixels. */
export const largeSide = 96;

/** Side of a slot in them, and of a thing: a quarter larger. */
export const largeSlotSize = 40;
export const largeObjectSize = 35;

/** Side of a thing in a picture of this side, pixels. */
export function objectSizeAt(side: number): number {
  return side === largeSide ? largeObjectSize : (objectSize * side) / pictureSize;
}

/**
 * A still scene for a picture of {@link largeSide}: drawn at that side, things are a quarter larger than in a small
 * picture and stand on the grid of the tokens, farther apart.
 */
export function enlarged(scene: Scene): Scene {
  const [smallPlaces, largePlaces] = [pictureSize - slotSize, largeSide - largeSlotSize];
  const scale = largeSide / pictureSize;
  const place = (centre: number): number => {
    const steps = Math.round((((centre - slotSize / 2) / smallPlaces) * largePlaces) / gridStep);
    return (steps * gridStep + largeSlotSize / 2) / scale;
  };
  const objects = scene.objects.map((object) => ({
    ...object,
    x: place(object.x),
    y: place(object.y),
    size: largeObjectSize / scale,
  }));
  return { ...scene, objects };
}

type Thing = Pick<SceneObject, 'noun' | 'color'>;

function drawThings(random: SeededRandom, kind: SceneKind): Thing[] {
  const color = (): Color => random.pick(colors);
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

/** Puts things into quarters of the picture, at most four. */
export function place(random: SeededRandom, things: readonly Thing[]): SceneObject[] {
  for (;;) {
    const objects: SceneObject[] = [];
    for (const thing of things) {
      for (let attempt = 0; attempt < 20; attempt++) {
        const [x, y] = [freePlace(random), freePlace(random)];
        const apart = objects.every((o) => Math.max(Math.abs(o.x - x), Math.abs(o.y - y)) >= slotSize);
        if (!apart) continue;
        objects.push({ ...thing, x, y, size: objectSize });
        break;
      }
    }
    if (objects.length === things.length) return objects;
  }
}

/** Either centre of a quarter along one side of the picture. */
function freePlace(random: SeededRandom): number {
  return random.integer(pictureSize / slotSize) * slotSize + slotSize / 2;
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
    const motion: Motion = { kind: options.kind ?? random.pick(motionKinds), speed: slowest + random.integer(2) };
    const moving: SceneObject = {
      noun: a,
      color: painted ? random.pick(colors) : undefined,
      size: sizeOf(motion),
      ...startOf(random, motion),
      motion,
    };
    const objects = [moving];
    if (random.next() < 0.25) {
      const bystander = besides(random, moving, { noun: b, color: painted ? random.pick(colors) : undefined });
      if (bystander) objects.push(bystander);
    }
    const scene: Scene = {
      style: random.pick(options.styles ?? trainedStyles),
      background: random.pick(backgrounds),
      objects,
    };
    if (options.split === undefined || splitOf(scene) === options.split) return scene;
  }
}

/** Side of a thing when its motion starts. */
function sizeOf({ kind }: Motion): number {
  return kind === 'grows' ? 16 : kind === 'shrinks' ? 40 : objectSize;
}

/** Where a motion may start so that it stays in the picture, or enters and leaves it. */
function startOf(random: SeededRandom, { kind, speed }: Motion): { x: number; y: number } {
  const travel = speed * (clipFrames - 1);
  const free = (): number => freePlace(random);
  const near =
    slotSize / 2 + random.integer(Math.floor(Math.max(0, pictureSize - slotSize - travel) / gridStep) + 1) * gridStep;
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
      return { x: free(), y: pictureSize - slotSize / 2 };
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
      return { x: pictureSize - slotSize / 2 - gridStep, y: free() };
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

/** Pixels a frame that something travels: half as many again for what enters or leaves. */
export function travelOf({ kind, speed }: Motion): number {
  return kind === 'enters' || kind === 'leaves' ? 1.5 * speed : speed;
}

/** Whether it takes a thing from one latent frame to the next by a whole visual token. */
export function movesByCells(motion: Motion | undefined): boolean {
  return motion?.kind.startsWith('moves') === true && (motion.speed * latentFrameLength) % gridStep === 0;
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
      // A parabola of 8 frames and 24 (slow) or 32 pixels.
      return { x, y: y - jump(frame % 8, 8 + 8 * motion.speed), size, angle: 0 };
    case 'grows':
      return { x, y, size: size + way * 0.66, angle: 0 };
    case 'shrinks':
      return { x, y, size: size - way * 0.66, angle: 0 };
    case 'spins':
      return { x, y, size, angle: ((motion.speed - 1) * frame * Math.PI) / 8 };
    case 'enters':
    case 'leaves':
      return { x: x + travelOf(motion) * frame, y, size, angle: 0 };
  }
}

/** Poses in the frames of one latent frame, counted from 0. */
export function posesIn(object: SceneObject, latentFrame: number): Pose[] {
  const first = latentFrame * latentFrameLength;
  return Array.from({ length: latentFrameLength }, (_, index) => poseAt(object, first + index));
}

/** One name for poses that lie alike around a point, to a tenth of a pixel or radian. */
export function nameOfPoses(poses: readonly Pose[], { x, y }: { x: number; y: number }): string {
  const values = poses.flatMap((pose) => [pose.x - x, pose.y - y, pose.size, pose.angle % (2 * Math.PI)]);
  return values.map((value) => value.toFixed(1)).join(' ');
}

/** Frames of one latent frame that something moves through, with nothing else in the picture. */
export interface Shot {
  readonly scene: Scene;
  /** Which latent frame of the scene's clip it is, from 0. */
  readonly from: number;
}

/**
 * All shots of things that move, of seen combinations, in the middle of the picture: each thing, colour, style, background
 * and motion once for every way in which a thing lies on the grid of the visual tokens. What clips show of moving things is
 * all there, so any can be composed of them.
 */
export function allShots(): Shot[] {
  const random = new SeededRandom(0);
  const speeds = [slowest, slowest + 1];
  const motions = motionKinds.flatMap((kind) => speeds.map((speed): Motion => ({ kind, speed })));
  const latentFrames = Array.from({ length: clipFrames / latentFrameLength }, (_, index) => index);
  const ways = motions.flatMap((motion) => {
    const start = { size: sizeOf(motion), ...startOf(random, motion), motion };
    return latentFrames.map((from) => ({ from, start }));
  });
  const looks = trainedStyles.flatMap((style) =>
    backgrounds.flatMap((background) =>
      nouns.flatMap((noun) => [undefined, ...colors].map((color) => ({ style, background, noun, color }))),
    ),
  );
  return looks.flatMap(({ style, background, noun, color }) => {
    const seen = new Set<string>();
    return ways.flatMap(({ from, start }): Shot[] => {
      const thing = inTheMiddle({ noun, color, ...start }, from);
      const scene: Scene = { style, background, objects: [thing] };
      const name = nameOfPoses(posesIn(thing, from), { x: 0, y: 0 });
      if (seen.has(name) || splitOf(scene) === 'held out') return [];
      seen.add(name);
      return [{ scene, from }];
    });
  });
}

/** The same whole cells away, so that it is in the middle during a latent frame. */
function inTheMiddle(thing: SceneObject, latentFrame: number): SceneObject {
  const poses = posesIn(thing, latentFrame);
  const way = (values: number[]): number => {
    const middle = (Math.min(...values) + Math.max(...values)) / 2;
    return Math.round((pictureSize / 2 - middle) / gridStep) * gridStep;
  };
  return { ...thing, x: thing.x + way(poses.map(({ x }) => x)), y: thing.y + way(poses.map(({ y }) => y)) };
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
