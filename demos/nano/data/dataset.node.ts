import { coarseDistance, pictureDistance, pictureFeatures } from './features.js';
import type { PictureFeatures } from './features.js';
import { listEmoji, renderIcon, STYLES } from './artwork.node.js';
import type { EmojiEntry, Style } from './artwork.node.js';
import { makeCaptions } from './captions.js';
import { CONCEPTS } from './concepts.js';
import type { Concept } from './concepts.js';
import { hashString, SeededRandom } from '../world/random.js';

/** Seed of the choices below: which pairs and which artwork to hold out. */
export const DATASET_SEED = 20240927;
/** One concept in five loses one of its two pictures to evaluation: a tenth of all pictures. */
const CONCEPTS_PER_HELD_OUT_PAIR = 5;
/** Concepts whose pictures the tokenizer never sees; in both styles, so twice as many pictures. */
const TOKENIZER_HELD_OUT_CONCEPTS = 60;
/** Below this distance two pictures of one style count as the same artwork (see `pictureDistance`). */
export const NEAR_DUPLICATE_DISTANCE = 0.12;
/** Coarse distances above this cannot hide a near duplicate: a cheap test that spares most fine comparisons. */
const COARSE_CUTOFF = 0.5;
/** Emojibase groups that show things: animals, food, travel, activities, objects. */
const GROUPS_OF_THINGS = new Set([3, 4, 5, 6, 7]);

/** One picture of the emoji data set with its captions. */
export interface EmojiItem {
  /** Unique: `icon/style`, for example `tiger-face/noto`. */
  id: string;
  /** The concept's name without its article, for example `tiger face`; unique among concepts. */
  concept: string;
  /** The concept's noun phrase with its article, for example `a tiger face`. */
  phrase: string;
  style: Style;
  /** `heldout` pictures are for evaluation only; their concept is always trained on in the other style. */
  split: 'train' | 'heldout';
  /** 64 x 64 RGB bytes on white, rows from the top. Shared: copy before changing. */
  rgb: Uint8Array;
  /** Captions without repeats; the first is the canonical one that evaluation uses. */
  captions: string[];
}

/** A picture for the tokenizer, which needs no caption. */
export interface ArtworkItem {
  /** `icon/style`. */
  id: string;
  style: Style;
  /** 64 x 64 RGB bytes on white. Shared: copy before changing. */
  rgb: Uint8Array;
}

export interface EmojiDataset {
  /** Every concept in both styles, concept by concept, `fluent` before `noto`. */
  items: EmojiItem[];
  concepts: readonly Concept[];
  /** Artwork that neither model trains on: for the reconstruction PSNR. No concept of `items` is among it. */
  tokenizerHeldout: ArtworkItem[];
  /**
   * Artwork the tokenizer trains on: the training pictures of `items` and every other emoji of both packages, without
   * the held-out pairs and `tokenizerHeldout`, and, but for concepts of `items`, without near duplicates of these.
   */
  tokenizerTraining: ArtworkItem[];
}

let dataset: Promise<EmojiDataset> | undefined;

/**
 * Draws and splits the emoji data set. Deterministic: the list of concepts is fixed, the splits come from
 * {@link DATASET_SEED}. Takes about ten seconds the first time; later calls return the same object.
 * @throws Emu3Error `missing` when an artwork package lacks a concept's icon.
 */
export function loadEmojiDataset(): Promise<EmojiDataset> {
  dataset ??= buildDataset();
  return dataset;
}

/** The pictures of `tokenizerTraining` alone, 64 x 64 RGB bytes each. */
export async function tokenizerTrainingImages(): Promise<Uint8Array[]> {
  return (await loadEmojiDataset()).tokenizerTraining.map((item) => item.rgb);
}

async function buildDataset(): Promise<EmojiDataset> {
  const emoji: Record<Style, EmojiEntry[]> = { fluent: listEmoji('fluent'), noto: listEmoji('noto') };
  const artwork: Artwork[] = [];
  for (const style of STYLES) {
    const icons = new Set([...CONCEPTS.map((concept) => concept.icon), ...emoji[style].map((entry) => entry.icon)]);
    artwork.push(...(await Promise.all([...icons].map((icon) => drawArtwork(style, icon)))));
  }
  const heldOutPairs = chooseHeldOutPairs();
  const items = await makeItems(emoji, heldOutPairs);
  const heldOutIcons = chooseTokenizerHeldOut(emoji, artwork);
  const isHeldOut = (item: Artwork): boolean => heldOutPairs.has(item.id) || heldOutIcons.has(item.icon);
  const heldOut = artwork.filter(isHeldOut);
  const trainedIds = new Set(items.filter((item) => item.split === 'train').map((item) => item.id));
  const training = artwork.filter(
    (item) => !isHeldOut(item) && (trainedIds.has(item.id) || !hasNearDuplicate(item, heldOut)),
  );
  return {
    items,
    concepts: CONCEPTS,
    tokenizerHeldout: artwork.filter((item) => heldOutIcons.has(item.icon)).map(plainItem),
    tokenizerTraining: training.map(plainItem),
  };
}

/** A picture while the data set is being put together. */
interface Artwork extends ArtworkItem {
  icon: string;
  features: PictureFeatures;
}

async function drawArtwork(style: Style, icon: string): Promise<Artwork> {
  const rgb = await renderIcon(style, icon);
  return { id: `${icon}/${style}`, icon, style, rgb, features: pictureFeatures(rgb) };
}

function plainItem({ id, style, rgb }: Artwork): ArtworkItem {
  return { id, style, rgb };
}

async function makeItems(emoji: Record<Style, EmojiEntry[]>, heldOutPairs: Set<string>): Promise<EmojiItem[]> {
  const tagsOf = new Map(emoji.fluent.map((entry) => [entry.icon, [entry.label.toLowerCase(), ...entry.tags]]));
  const items: EmojiItem[] = [];
  for (const concept of CONCEPTS) {
    for (const style of STYLES) {
      const id = `${concept.icon}/${style}`;
      items.push({
        id,
        concept: concept.name,
        phrase: concept.phrase,
        style,
        split: heldOutPairs.has(id) ? 'heldout' : 'train',
        rgb: await renderIcon(style, concept.icon),
        captions: makeCaptions(concept, style, tagsOf.get(concept.icon) ?? []),
      });
    }
  }
  return items;
}

/** A fifth of the concepts lose one of their two pictures, the styles taking turns: a tenth of all pictures. */
function chooseHeldOutPairs(): Set<string> {
  const random = new SeededRandom(DATASET_SEED);
  const count = Math.round(CONCEPTS.length / CONCEPTS_PER_HELD_OUT_PAIR / 2) * 2;
  const chosen = random.shuffled(CONCEPTS.map((concept) => concept.icon)).slice(0, count);
  return new Set(chosen.map((icon, index) => `${icon}/${STYLES[index % STYLES.length] ?? 'fluent'}`));
}

/**
 * Icons of things that both packages have and that are no concept, in an order drawn from the seed. Only artwork without
 * a near duplicate in its style qualifies, so that nothing in training gives the picture away.
 */
function chooseTokenizerHeldOut(emoji: Record<Style, EmojiEntry[]>, artwork: readonly Artwork[]): Set<string> {
  const concepts = new Set(CONCEPTS.map((concept) => concept.icon));
  const byId = new Map(artwork.map((item) => [item.id, item]));
  const things = emoji.fluent.filter((entry) => GROUPS_OF_THINGS.has(entry.group) && !concepts.has(entry.icon));
  const random = new SeededRandom(DATASET_SEED ^ hashString('tokenizer'));
  const chosen = new Set<string>();
  for (const { icon } of random.shuffled(things)) {
    if (chosen.size === TOKENIZER_HELD_OUT_CONCEPTS) break;
    const pictures = STYLES.map((style) => byId.get(`${icon}/${style}`));
    const distinct = pictures.every((picture) => picture !== undefined && !hasNearDuplicate(picture, artwork));
    if (distinct) chosen.add(icon);
  }
  return chosen;
}

function hasNearDuplicate(picture: Artwork, others: readonly Artwork[]): boolean {
  return others.some(
    (other) =>
      other.style === picture.style &&
      other.id !== picture.id &&
      coarseDistance(picture.features, other.features) < COARSE_CUTOFF &&
      pictureDistance(picture.features, other.features) < NEAR_DUPLICATE_DISTANCE,
  );
}
