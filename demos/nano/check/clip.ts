import { Emu3Error } from '../../../kernels/core/errors.js';
import type { RgbImage } from '../../../tokenizer/index.js';
import { objectSizeAt } from '../world/scene.js';
import type { Background, Color, Noun, Style } from '../world/words.js';
import { foregroundThreshold, knownDistance, type FoundThing, type SceneChecker, type Sight } from './checker.js';
import type { Patch } from './components.js';
import { motionOf, type SeenMotion, type Sighting } from './motion.js';
import { turns } from './templates.js';
import { fineDistance, viewOf, type View } from './window.js';

/** One thing through a clip. */
export interface Track extends SeenMotion {
  /** Undefined together with `style`: nothing known in any frame. */
  readonly noun: Noun | undefined;
  readonly color: Color | undefined;
  readonly style: Style | undefined;
  readonly sightings: readonly Sighting[];
  /** Share of the frames in which it is seen whole where it looks like this thing; zero for nothing known. */
  readonly consistency: number;
}

/** What a clip shows, from its pixels alone. */
export interface ClipSight {
  readonly background: Background;
  readonly style: Style | undefined;
  /** The one that is most of it first. */
  readonly tracks: readonly Track[];
  /** Mean absolute difference of the background's bytes from frame to frame; 0 in the world itself. */
  readonly flicker: number;
}

interface LongSighting extends Sighting {
  readonly thing: FoundThing | undefined;
}

interface Identity {
  readonly noun: Noun;
  readonly color: Color | undefined;
  readonly style: Style;
  readonly size: number;
}

/** A thing is looked for this far from where it was last seen, in its sides, and for so many frames. */
const linkShare = 0.9;
const linkFrames = 3;
/** Sightings of a track that is no flash of noise. */
const leastSightings = 3;
/** Identities that are tried on a whole track. */
const mostIdentities = 4;
/** A thing turns when its turned forms are this much nearer, and so many different ones. */
const turnedRatio = 0.7;
const leastTurns = 3;
/** Less than this share of its usual area is a thing seen in part. */
const wholeShare = 0.7;

/**
 * Says what a clip of the nano world shows: {@link SceneChecker.check} on every frame, patches linked from frame to frame by
 * where they are, each track's motion by the boxes of its patches (`motionOf`), and the one identity that explains its
 * frames best. What stays in its place but is nearer to turned templates spins.
 *
 * On 120 clips, twelve of each motion, thing, motion and direction are right for 100 %, and for 99 % with every frame blurred,
 * coarsely coded and noisy; speeds are right to 0.01 and 0.02 pixels a frame. About 70 ms a clip of 12 frames.
 *
 * @throws Emu3Error `argument` for fewer than 3 frames, `shape` as {@link SceneChecker.check} and for frames of several sizes.
 */
export function watchClip(checker: SceneChecker, frames: readonly RgbImage[]): ClipSight {
  if (frames.length < leastSightings || frames.some(({ width }) => width !== frames[0].width)) {
    throw new Emu3Error(`A clip to watch has ${leastSightings} frames at least, all of one size.`, {
      code: frames.length < leastSightings ? 'argument' : 'shape',
      where: `${frames.length} frames`,
      fix: 'Pass all frames of one clip.',
    });
  }
  const sights: Sight[] = [];
  for (const frame of frames) sights.push(checker.check(frame, { before: sights.at(-1)?.things ?? [] }));
  const side = frames[0].width;
  const size = objectSizeAt(side);
  const tracks = link(sights, size)
    .map((sightings) => describe(checker, sights, sightings, side, size))
    .sort((a, b) => weight(b) - weight(a));
  const style = tracks.find((track) => track.style !== undefined)?.style;
  return { background: sights[0].background, style, tracks, flicker: flickerOf(frames, sights) };
}

function weight({ noun, sightings }: Track): number {
  return (noun === undefined ? 0 : 1000) + sightings.length;
}

function link(sights: readonly Sight[], size: number): LongSighting[][] {
  const tracks: LongSighting[][] = [];
  sights.forEach(({ things, unknown }, frame) => {
    const seen: LongSighting[] = [
      ...things.map((thing) => ({ frame, patch: thing.patch, thing })),
      ...unknown.map((patch) => ({ frame, patch, thing: undefined })),
    ];
    const pairs = tracks
      .flatMap((track) => {
        const last = track[track.length - 1];
        if (frame - last.frame > linkFrames) return [];
        return seen.map((sighting) => ({ track, sighting, gap: gapOf(last.patch, sighting.patch) }));
      })
      .filter(({ gap }) => gap < linkShare * size)
      .sort((a, b) => a.gap - b.gap);
    const taken = new Set<LongSighting | LongSighting[]>();
    for (const { track, sighting } of pairs) {
      if (taken.has(track) || taken.has(sighting)) continue;
      taken.add(track).add(sighting);
      track.push(sighting);
    }
    for (const sighting of seen) if (!taken.has(sighting)) tracks.push([sighting]);
  });
  return tracks.filter((track) => track.length >= leastSightings);
}

/** Distance of the centres of two patches in pixels. */
function gapOf(a: Patch, b: Patch): number {
  return Math.hypot((a.left + a.right - b.left - b.right) / 2, (a.top + a.bottom - b.top - b.bottom) / 2);
}

function describe(
  checker: SceneChecker,
  sights: readonly Sight[],
  sightings: readonly LongSighting[],
  side: number,
  size: number,
): Track {
  const motion = motionOf(sightings, sights.length, side, size);
  const whole = wholeOf(sightings, motion);
  const fits = identitiesOf(whole).map((identity) => fitIdentity(checker, sights, whole, identity, motion));
  fits.sort((a, b) => a.distance - b.distance);
  const [best] = fits;
  if (best === undefined) {
    return { ...motion, noun: undefined, color: undefined, style: undefined, sightings, consistency: 0 };
  }
  const { noun, color, style } = best.identity;
  const turned: SeenMotion = { kind: 'spins', direction: undefined, speed: 0, pace: best.turnsAFrame + 1 };
  return { ...(best.spins ? turned : motion), noun, color, style, sightings, consistency: best.consistency };
}

/** The sightings that show the thing whole. */
function wholeOf(sightings: readonly LongSighting[], { kind }: SeenMotion): readonly LongSighting[] {
  if (kind === 'grows' || kind === 'shrinks') return sightings;
  const areas = sightings.map(({ patch }) => patch.area).sort((a, b) => a - b);
  const crosses = kind === 'enters' || kind === 'leaves';
  const usual = areas[crosses ? areas.length - 1 : Math.floor(areas.length / 2)];
  return sightings.filter(({ patch }) => patch.area >= wholeShare * usual);
}

/** What single frames take the thing for, the surest first. */
function identitiesOf(sightings: readonly LongSighting[]): Identity[] {
  const votes = new Map<string, { identity: Identity; sum: number; best: number }>();
  for (const { thing } of sightings) {
    if (thing === undefined) continue;
    const { noun, color, style, box, score } = thing;
    const key = `${style} ${String(color)} ${noun}`;
    const vote = votes.get(key);
    const identity = vote !== undefined && vote.best >= score ? vote.identity : { noun, color, style, size: box.width };
    votes.set(key, { identity, sum: (vote?.sum ?? 0) + score - 0.5, best: Math.max(score, vote?.best ?? 0) });
  }
  const ordered = [...votes.values()].sort((a, b) => b.sum - a.sum);
  return ordered.slice(0, mostIdentities).map(({ identity }) => identity);
}

interface Fit {
  readonly identity: Identity;
  /** Mean over the frames. */
  readonly distance: number;
  readonly spins: boolean;
  /** Sixteenths of a circle, either way. */
  readonly turnsAFrame: number;
  readonly consistency: number;
}

/** Tries one identity on all frames of a track that show the thing whole. */
function fitIdentity(
  checker: SceneChecker,
  sights: readonly Sight[],
  whole: readonly LongSighting[],
  identity: Identity,
  motion: SeenMotion,
): Fit {
  const mayTurn = motion.kind === undefined;
  const rows = whole.map((sighting) => {
    const { foreground } = sights[sighting.frame];
    const views = checker.templates.turnsOf(identity, foreground.background);
    const size = sighting.thing !== undefined && !mayTurn ? sighting.thing.box.width : identity.size;
    const places = placesAround(sighting, size).map((place) => viewOf(foreground, place));
    const distances = (mayTurn ? views : views.slice(0, 1)).map((view) => nearest(places, view));
    const turn = distances.indexOf(Math.min(...distances));
    return { sighting, upright: distances[0], turned: distances[turn], turn };
  });
  const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
  const upright = mean(rows.map((row) => row.upright));
  const turned = mean(rows.map((row) => row.turned));
  const spins = mayTurn && turned < turnedRatio * upright && new Set(rows.map(({ turn }) => turn)).size >= leastTurns;
  const consistent = rows.filter(({ sighting: { thing }, turned: turnedDistance, upright: uprightDistance }) => {
    const distance = spins ? turnedDistance : uprightDistance;
    const isSame = thing === undefined || (thing.noun === identity.noun && checker.isOfColor(thing, identity.color));
    return distance <= knownDistance && (isSame || distance <= 2 * (1 - thing.score));
  });
  const seen = rows.map(({ turn, sighting: { frame } }) => ({ turn, frame }));
  return {
    identity,
    distance: spins ? turned : upright,
    spins,
    turnsAFrame: medianTurn(seen),
    consistency: consistent.length / rows.length,
  };
}

/** The median of the turns from one frame to the next, the shorter way round. */
function medianTurn(seen: readonly { turn: number; frame: number }[]): number {
  const steps = seen.slice(1).flatMap(({ turn, frame }, index) => {
    const before = seen[index];
    const step = Math.abs(turn - before.turn) % turns;
    return frame === before.frame + 1 ? [Math.min(step, turns - step)] : [];
  });
  steps.sort((a, b) => a - b);
  return steps[Math.floor(steps.length / 2)] ?? 0;
}

function placesAround({ patch, thing }: LongSighting, size: number): { x: number; y: number; size: number }[] {
  const middle = { x: (patch.left + patch.right) / 2, y: (patch.top + patch.bottom) / 2 };
  const found = thing === undefined ? [] : [{ x: thing.box.x, y: thing.box.y, size }];
  const steps = [-0.08, 0, 0.08];
  const around = steps.flatMap((down) =>
    steps.map((right) => ({ x: middle.x + right * size, y: middle.y + down * size, size })),
  );
  return [...found, ...around];
}

function nearest(views: readonly View[], template: View): number {
  return Math.min(...views.map((view) => fineDistance(view, template)));
}

/** Bytes that are background in both of two frames, compared. */
function flickerOf(frames: readonly RgbImage[], sights: readonly Sight[]): number {
  let [sum, count] = [0, 0];
  for (let frame = 1; frame < frames.length; frame++) {
    const [before, now] = [sights[frame - 1].foreground.distance, sights[frame].foreground.distance];
    for (let pixel = 0; pixel < now.length; pixel++) {
      if (before[pixel] > foregroundThreshold / 2 || now[pixel] > foregroundThreshold / 2) continue;
      for (let channel = 0; channel < 3; channel++) {
        const at = pixel * 3 + channel;
        sum += Math.abs(frames[frame].rgb[at] - frames[frame - 1].rgb[at]);
      }
      count += 3;
    }
  }
  return count === 0 ? 0 : sum / count;
}
