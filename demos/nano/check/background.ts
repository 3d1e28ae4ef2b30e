import { backgroundPaints, backgrounds, type Background } from '../world/words.js';
import { labOf, type LabPicture } from './lab.js';

/** A picture as it differs from its background: zero where there is nothing. */
export interface Foreground extends LabPicture {
  readonly background: Background;
  /** Distance from the background, CIELAB units, [side, side]. */
  readonly distance: Float32Array;
  /** Mean distance of the background's own pixels. */
  readonly noise: number;
}

type Lab = [number, number, number];

const paintsLab = backgrounds.map((background): { background: Background; lab: Lab } => {
  const [red, green, blue] = backgroundPaints[background];
  return { background, lab: labOf(red, green, blue) };
});

/** Pixels this near to a background paint speak for it, more the nearer they are; CIELAB units. */
const paintReach = 25;
/** Pixels this near to the background's shade are averaged to find the shade itself. */
const shadeReach = 12;
const shadeRounds = 3;

/**
 * Finds the background paint that most of the picture is near to, and the shade it really has there, which is taken off
 * everywhere.
 */
export function takeOffBackground(picture: LabPicture): Foreground {
  const { side, planes } = picture;
  const pixels = side * side;
  const votes = paintsLab.map(({ lab }) => {
    let sum = 0;
    for (let pixel = 0; pixel < pixels; pixel++)
      sum += Math.max(0, 1 - distanceAt(planes, pixels, pixel, lab) / paintReach);
    return sum;
  });
  const { background, lab } = paintsLab[votes.indexOf(Math.max(...votes))];
  let shade = lab;
  // The first round reaches further, as the shade may be off.
  for (let round = 0; round < shadeRounds; round++) {
    shade = meanNear(planes, pixels, shade, round === 0 ? paintReach : shadeReach) ?? shade;
  }
  const difference = new Float32Array(planes.length);
  const distance = new Float32Array(pixels);
  let [noise, count] = [0, 0];
  for (let pixel = 0; pixel < pixels; pixel++) {
    for (let plane = 0; plane < 3; plane++) {
      difference[plane * pixels + pixel] = planes[plane * pixels + pixel] - shade[plane];
    }
    distance[pixel] = distanceAt(planes, pixels, pixel, shade);
    if (distance[pixel] > shadeReach) continue;
    noise += distance[pixel];
    count += 1;
  }
  return { side, planes: difference, background, distance, noise: noise / Math.max(1, count) };
}

/** Written out, as this is most of the checker's work. */
function distanceAt(planes: Float32Array, pixels: number, pixel: number, lab: Lab): number {
  const lightness = planes[pixel] - lab[0];
  const a = planes[pixels + pixel] - lab[1];
  const b = planes[2 * pixels + pixel] - lab[2];
  return Math.sqrt(lightness * lightness + a * a + b * b);
}

function meanNear(planes: Float32Array, pixels: number, shade: Lab, reach: number): Lab | undefined {
  const sum: Lab = [0, 0, 0];
  let count = 0;
  for (let pixel = 0; pixel < pixels; pixel++) {
    if (distanceAt(planes, pixels, pixel, shade) > reach) continue;
    for (let plane = 0; plane < 3; plane++) sum[plane] += planes[plane * pixels + pixel];
    count += 1;
  }
  return count === 0 ? undefined : [sum[0] / count, sum[1] / count, sum[2] / count];
}
