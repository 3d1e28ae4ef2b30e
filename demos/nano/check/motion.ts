import type { MotionKind } from '../world/words.js';
import { objectSize } from '../world/scene.js';
import { longerSide, type Patch } from './components.js';

/** What is seen of one thing in one frame. */
export interface Sighting {
  readonly frame: number;
  readonly patch: Patch;
}

/** How a thing moves, by the box of what is seen of it. */
export interface SeenMotion {
  /** Undefined: it stands still. */
  readonly kind: MotionKind | undefined;
  readonly direction: 'left' | 'right' | 'up' | 'down' | undefined;
  /** Pixels a frame in that direction; zero without one. */
  readonly speed: number;
  /** The world's measure of speed, whatever the motion: 2 is slow, 3 is quick, zero is still. */
  readonly pace: number;
}

/** Shares of a thing's usual side. */
const travelShare = 0.25;
/** A path this many times as long as it is wide goes to and fro. */
const returnRatio = 1.8;
/** Sizes at the end and at the beginning of a line through them. */
const growth = 1.25;
/** Pixels a frame that things grow by for each step of the pace. */
const growthOfPace = 0.66;
/** Below this share of its largest width or height a thing at the border is cut off by it. */
const cutShare = 0.6;
/** How near to the border a thing ends that goes beyond it, pixels of a picture of 64. */
const borderReach = 1.5;

/** Classes the motion of a thing that does not turn: see `watchClip` for what turns. */
export function motionOf(sightings: readonly Sighting[], frames: number, side: number, size: number): SeenMotion {
  const still: SeenMotion = { kind: undefined, direction: undefined, speed: 0, pace: 0 };
  if (sightings.length < 3) return still;
  return crossing(sightings, frames, side) ?? within(sightings, size) ?? still;
}

/** What enters or leaves. */
function crossing(sightings: readonly Sighting[], frames: number, side: number): SeenMotion | undefined {
  const reach = (borderReach * side) / 64;
  const [first, last] = [sightings[0], sightings[sightings.length - 1]];
  const whole = Math.max(...sightings.map(({ patch }) => patch.right - patch.left));
  const isCut = ({ patch }: Sighting, atBorder: boolean): boolean =>
    atBorder && patch.right - patch.left < cutShare * whole;
  const atLeft = first.patch.left <= reach;
  if (atLeft && (first.frame > 0 || isCut(first, true))) {
    // The edge in front is seen all the way.
    const speed = slope(sightings, ({ patch }) => patch.right);
    if (speed > 0) return { kind: 'enters', direction: 'right', speed, pace: crossingPace(speed, side) };
  }
  const atRight = last.patch.right >= side - reach;
  if (atRight && (last.frame < frames - 1 || isCut(last, true))) {
    const speed = slope(sightings, ({ patch }) => patch.left);
    if (speed > 0) return { kind: 'leaves', direction: 'right', speed, pace: crossingPace(speed, side) };
  }
  return undefined;
}

/** What enters or leaves goes half as fast again as what moves. */
function crossingPace(speed: number, side: number): number {
  return (speed * 64) / side / 1.5;
}

/** What stays in the picture. */
function within(sightings: readonly Sighting[], size: number): SeenMotion | undefined {
  const frames = sightings[sightings.length - 1].frame - sightings[0].frame;
  const scale = objectSize / size;
  const across = slope(sightings, ({ patch }) => (patch.left + patch.right) / 2);
  const down = slope(sightings, ({ patch }) => (patch.top + patch.bottom) / 2);
  const heights = sightings.map(({ patch }) => (patch.top + patch.bottom) / 2);
  const range = Math.max(...heights) - Math.min(...heights);
  const path = heights.slice(1).reduce((sum, height, index) => sum + Math.abs(height - heights[index]), 0);
  if (range > 2 * travelShare * size && path > returnRatio * range) {
    // A jump is 8 pixels high and 8 for each step of the pace.
    return { kind: 'bounces', direction: undefined, speed: 0, pace: (range * scale - 8) / 8 };
  }
  const way = Math.max(Math.abs(across), Math.abs(down)) * frames;
  const change = scaleChange(sightings);
  // What grows at the border seems to travel a little, and the other way round.
  if (way < travelShare * size * 2 && (change > growth || change < 1 / growth)) {
    const pace = (Math.abs(slope(sightings, longerSideOf)) * scale) / growthOfPace;
    return { kind: change > 1 ? 'grows' : 'shrinks', direction: undefined, speed: 0, pace };
  }
  if (way < travelShare * size) return undefined;
  if (Math.abs(across) >= Math.abs(down)) {
    const direction = across > 0 ? 'right' : 'left';
    return { kind: `moves ${direction}`, direction, speed: Math.abs(across), pace: Math.abs(across) * scale };
  }
  const direction = down > 0 ? 'down' : 'up';
  return { kind: `moves ${direction}`, direction, speed: Math.abs(down), pace: Math.abs(down) * scale };
}

function longerSideOf({ patch }: Sighting): number {
  return longerSide(patch);
}

/** Size at the end over size at the beginning, by a line through the sizes. */
function scaleChange(sightings: readonly Sighting[]): number {
  const sizeOf = ({ patch }: Sighting): number => Math.sqrt((patch.right - patch.left) * (patch.bottom - patch.top));
  const mean = sightings.reduce((sum, sighting) => sum + sizeOf(sighting), 0) / sightings.length;
  const half = (slope(sightings, sizeOf) * (sightings[sightings.length - 1].frame - sightings[0].frame)) / 2;
  return (mean + half) / Math.max(1, mean - half);
}

/** Of the least-squares line through the values, a frame. */
function slope(sightings: readonly Sighting[], valueOf: (sighting: Sighting) => number): number {
  const count = sightings.length;
  const middle = sightings.reduce((sum, { frame }) => sum + frame, 0) / count;
  let [product, square] = [0, 0];
  for (const sighting of sightings) {
    product += (sighting.frame - middle) * valueOf(sighting);
    square += (sighting.frame - middle) ** 2;
  }
  return square === 0 ? 0 : product / square;
}
