import type { Foreground } from './background.js';
import type { Template } from './templates.js';
import { coarseDistance, fineDistance, viewOf, type Place, type View } from './window.js';

/** The template that explains a place best, and where. */
export interface Match {
  readonly template: Template;
  readonly place: Place;
  /** See `fineDistance`. */
  readonly distance: number;
  /** Of the nearest template with another noun. */
  readonly nextNoun: number;
}

/** Templates that the coarse views pass on to the fine comparison, and the nearest of so many nouns among them at least. */
const shortlist = 12;
const leastNouns = 4;
/** The first search moves by a tenth of the size around the middle of the patch, the second by a twentieth. */
const firstStep = 0.1;
const secondStep = 0.05;
const climbs = 3;

/** Matches some places with all templates, over small shifts, and then over small changes of size. */
export function matchPlaces(foreground: Foreground, templates: readonly Template[], starts: readonly Place[]): Match {
  const views = new ViewCache(foreground);
  const candidates = starts.flatMap(({ x, y, size }) =>
    [-1, 0, 1].flatMap((down) =>
      [-1, 0, 1].map((right) => ({ x: x + right * firstStep * size, y: y + down * firstStep * size, size })),
    ),
  );
  const seen = candidates.map((place) => ({ place, view: views.at(place) }));
  const coarse = templates.map((template) => {
    let best = { template, place: candidates[0], distance: Infinity };
    for (const { place, view } of seen) {
      const distance = coarseDistance(view, template.view);
      if (distance < best.distance) best = { template, place, distance };
    }
    return best;
  });
  coarse.sort((a, b) => a.distance - b.distance);
  const nouns = [...new Set(coarse.map(({ template }) => template.noun))].slice(0, leastNouns);
  const ofNouns = nouns.map((noun) => coarse.find(({ template }) => template.noun === noun) ?? coarse[0]);
  const chosen = [...new Set([...coarse.slice(0, shortlist), ...ofNouns])];
  const fine = chosen.map(({ template, place }) => climb(views, template, place));
  fine.sort((a, b) => a.distance - b.distance);
  const next = fine.find(({ template }) => template.noun !== fine[0].template.noun);
  return { ...fine[0], nextNoun: next?.distance ?? 2 };
}

/** The place that one of the templates explains best by its coarse view, or undefined without places. */
export function likeliestPlace(
  foreground: Foreground,
  templates: readonly Template[],
  places: readonly Place[],
): Place | undefined {
  let best: { place: Place; distance: number } | undefined;
  for (const place of places) {
    const view = viewOf(foreground, place);
    for (const template of templates) {
      const distance = coarseDistance(view, template.view);
      if (best === undefined || distance < best.distance) best = { place, distance };
    }
  }
  return best?.place;
}

/** Walks from a place to better ones near it. */
function climb(
  views: ViewCache,
  template: Template,
  start: Place,
): { template: Template; place: Place; distance: number } {
  let place = start;
  let distance = fineDistance(views.at(place), template.view);
  for (let round = 0; round < climbs; round++) {
    const step = secondStep * start.size;
    const { x, y, size } = place;
    const neighbours = [
      { x: x - step, y, size },
      { x: x + step, y, size },
      { x, y: y - step, size },
      { x, y: y + step, size },
      { x, y, size: size - step },
      { x, y, size: size + step },
    ];
    let better = false;
    for (const next of neighbours) {
      const nextDistance = fineDistance(views.at(next), template.view);
      if (nextDistance >= distance) continue;
      [place, distance, better] = [next, nextDistance, true];
    }
    if (!better) break;
  }
  return { template, place, distance };
}

/** Views of a picture, each made once. */
class ViewCache {
  private readonly foreground: Foreground;
  private readonly views = new Map<number, View>();

  constructor(foreground: Foreground) {
    this.foreground = foreground;
  }

  at(place: Place): View {
    // Hundredths of a pixel side by side in one whole number.
    const [x, y, size] = [place.x, place.y, place.size].map((value) => Math.round(value * 100));
    const key = (x * 1e5 + y) * 1e5 + size;
    let view = this.views.get(key);
    if (view === undefined) {
      view = viewOf(this.foreground, place);
      this.views.set(key, view);
    }
    return view;
  }
}
