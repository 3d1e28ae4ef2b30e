import type { RgbImage } from '../../../tokenizer/index.js';
import { watchClip } from '../check/clip.js';
import type { SeededRandom } from '../world/random.js';
import { drawClip, drawScene, sceneKinds, type Scene, type SceneKind, type Split } from '../world/scene.js';
import type { Style } from '../world/words.js';
import { sceneOfClip, sceneOfSight } from './oracle.js';
import { clipOf, pictureOf, type Group, type SuiteContext } from './suite.js';

/** Pictures or clips: what of a group is drawn, shown as frames, and seen in them by the checker. */
export interface Medium {
  readonly name: 'pictures' | 'clips';
  draw(group: Group, random: SeededRandom): Scene;
  /** One frame for a picture. */
  show(scene: Scene): readonly RgbImage[];
  see(frames: readonly RgbImage[]): Scene;
}

export function pictureMedium(context: SuiteContext): Medium {
  return {
    name: 'pictures',
    draw: (group, random) => drawStill(group, random.pick(sceneKinds), random),
    show: (scene) => [pictureOf(context, scene)],
    see: ([image]) => sceneOfSight(context.checker.check(image), context.side),
  };
}

export function clipMedium(context: SuiteContext): Medium {
  return {
    name: 'clips',
    draw: (group, random) => drawClip(random, ofGroup(group)),
    show: (scene) => clipOf(context, scene),
    see: (frames) => sceneOfClip(watchClip(context.checker, frames)),
  };
}

/** A still scene of a group: painted where it is a single thing that is to be held out, which by itself it cannot be. */
export function drawStill(group: Group, kind: SceneKind, random: SeededRandom): Scene {
  return drawScene(random, { kind: group === 'held out' && kind === 'single' ? 'color' : kind, ...ofGroup(group) });
}

function ofGroup(group: Group): { split: Split; styles?: readonly Style[] } {
  return group === 'twemoji' ? { split: 'seen', styles: ['twemoji'] } : { split: group };
}
