import { movesByCells, splitOf, type Scene } from '../world/scene.js';
import type { SeededRandom } from '../world/random.js';
import { colors, nouns } from '../world/words.js';
import {
  canonicalCodes,
  canonicalTable,
  composedCodes,
  contentsOf,
  placeInSlot,
  type CanonicalTable,
} from './canonical.js';
import { drawTrainingScene, type Corpora, type CorpusKind, type TokenizedScene } from './corpus.node.js';

export interface DrawingOptions {
  /**
   * In this share of the drawings of several things, those with full captions, one slot reads as another thing than the
   * caption says and is not learned: what stands in a slot is to follow from the caption and not from the other things,
   * so that things can stand together that never did. The pictures read so show no held-out combination either.
   */
  strangers: number;
  /** Share of the films that begin with one or two latent frames of the encoder's codes, which are not learned. */
  continued: number;
  /**
   * Share of the films in which other codes stand for all codes, each time others, and of which the first latent frame is not
   * learned: things that move by whole cells, so that the rest is the same farther on and there is nothing else to know.
   */
  disguised: number;
  /** Share of the films that end with their first latent frame: the ways in which things begin are many, the rest follows. */
  begun: number;
  /**
   * Share of the films that are told in part, of those with a beginning that is given: the caption tells of what moves and
   * not of what stands beside it. Else what a caption leaves out would be gone from the frames that follow.
   */
  toldInPart: number;
}

/** A picture or clip in the codes to draw. */
export type Drawn = Pick<TokenizedScene, 'scene' | 'codes' | 'side' | 'latentFrames'>;

/** What is read in place of a drawing's own codes, and which of those are learned nonetheless; cells count in raster order. */
export interface Reading {
  readonly codes: Uint16Array;
  readonly isLearned: (cell: number) => boolean;
  /** Without noise, where what is read is all there is to know. */
  readonly isExact?: boolean;
}

/** A clip to film, as it is read where that is otherwise. */
interface Film {
  readonly film: Drawn;
  /** What its caption tells of. */
  readonly told: Scene;
  readonly reading?: Reading;
}

/** Scenes drawn at most until one can be composed. */
const composeAttempts = 4;

/**
 * A new picture or clip of the corpora's parts in canonical codes, as there are more than a corpus holds; else one of the
 * corpus.
 *
 * @param fits says of which scenes alone.
 */
export function composedDrawing(
  corpora: Pick<Corpora, 'stills' | 'clips'>,
  table: CanonicalTable,
  kind: 'stills' | 'clips',
  random: SeededRandom,
  fits: (scene: Scene) => boolean = () => true,
): Drawn {
  const { side, latentFrames } = corpora[kind][0];
  for (let attempt = 0; attempt < composeAttempts; attempt++) {
    let scene = drawTrainingScene(kind, random);
    while (!fits(scene)) scene = drawTrainingScene(kind, random);
    const codes = composedCodes({ scene, side, latentFrames }, table);
    if (codes) return { scene, side, latentFrames, codes };
  }
  const fitting = corpora[kind].filter(({ scene }) => fits(scene));
  return canonicalDrawing(random.pick(fitting.length > 0 ? fitting : corpora[kind]), table);
}

function canonicalDrawing(item: TokenizedScene, table: CanonicalTable): Drawn {
  return { ...item, codes: canonicalCodes(item, table) };
}

/** Pictures and clips to learn drawing from: in canonical codes, new ones composed of what corpora show. */
export class Drawings {
  private readonly table: CanonicalTable;

  /** @param codebookSize entries among which disguises are chosen. */
  constructor(
    private readonly corpora: Corpora,
    private readonly codebookSize: number,
    private readonly options: DrawingOptions,
  ) {
    this.table = canonicalTable(corpora);
  }

  /** As {@link composedDrawing}. */
  composed(kind: 'stills' | 'clips', random: SeededRandom, fits?: (scene: Scene) => boolean): Drawn {
    return composedDrawing(this.corpora, this.table, kind, random, fits);
  }

  /** One of a corpus. */
  picked(kind: CorpusKind, random: SeededRandom): Drawn {
    return canonicalDrawing(random.pick(this.corpora[kind]), this.table);
  }

  /** The same picture with another thing in place of one, now and then, where things stand together that may. */
  stranger({ scene, side, latentFrames }: Drawn, random: SeededRandom): Reading | undefined {
    const { objects } = scene;
    if (objects.length < 2 || random.next() >= this.options.strangers) return undefined;
    const place = random.integer(objects.length);
    for (let attempt = 0; attempt < composeAttempts; attempt++) {
      const other = { noun: random.pick(nouns), color: random.next() < 0.5 ? undefined : random.pick(colors) };
      if (other.noun === objects[place].noun) continue;
      const changed = { ...scene, objects: objects.map((each, at) => (at === place ? { ...each, ...other } : each)) };
      if (splitOf(changed) !== 'seen') continue;
      const codes = composedCodes({ scene: changed, side, latentFrames }, this.table);
      if (!codes) continue;
      const isLearned = (cell: number): boolean =>
        placeInSlot(objects[place], Math.floor(cell / side), cell % side, side) === undefined;
      return { codes, isLearned };
    }
    return undefined;
  }

  /** A clip, by chance of one of the sorts that the options tell of. */
  film(random: SeededRandom): Film {
    const { continued, disguised, begun } = this.options;
    const chance = random.next();
    if (chance < continued) return this.continued(random);
    if (chance < continued + disguised) return this.disguised(random);
    const film = this.composed('clips', random);
    if (chance >= continued + disguised + begun) return { film, told: film.scene };
    return { film: { ...film, codes: film.codes.slice(0, film.side ** 2), latentFrames: 1 }, told: film.scene };
  }

  /** A clip of the corpus whose first one or two latent frames are given, and what its caption tells of. */
  begun(random: SeededRandom): { item: TokenizedScene; given: number; told: Scene } {
    const item = random.pick(this.corpora.clips);
    return { item, given: 1 + random.integer(2), told: this.toldOf(item.scene, random) };
  }

  private continued(random: SeededRandom): Film {
    const { item, given, told } = this.begun(random);
    const codes = canonicalCodes(item, this.table, given);
    const reading = { codes, isLearned: (cell: number) => cell >= given * item.side ** 2 };
    return { film: canonicalDrawing(item, this.table), told, reading };
  }

  private disguised(random: SeededRandom): Film {
    const film = this.composed('clips', random, ({ objects: [{ motion }] }) => movesByCells(motion));
    const disguises = random.shuffled(Array.from({ length: this.codebookSize }, (_, code) => code));
    const codes = film.codes.map((code) => disguises[code]);
    const isLearned = (cell: number): boolean => cell >= film.side ** 2;
    const reading = { codes, isLearned, isExact: true };
    return { film: { ...film, codes }, told: this.toldOf(film.scene, random), reading };
  }

  /** What the caption tells of, of a film whose beginning is given. */
  private toldOf(scene: Scene, random: SeededRandom): Scene {
    const isInPart = random.next() < this.options.toldInPart;
    return isInPart ? { ...scene, objects: scene.objects.filter(({ motion }) => motion) } : scene;
  }
}

/** Tells which cells of a picture or clip show a thing, in raster order. */
export function thingsOf(drawn: Drawn): (cell: number) => boolean {
  const contents = contentsOf(drawn);
  return (cell) => contents[cell].shows !== 'background';
}
