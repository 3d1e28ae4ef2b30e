import { createHash } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Emu3Error, throwIfAborted } from '../../../kernels/core/errors.js';
import { spatialFactor, type VisionTokenizer, type VisionWeights } from '../../../engine/models/vision/index.js';
import { replaceFile } from '../../../loader/index.node.js';
import { clipsOf, imagesOf } from '../../../loader/pipeline/pixels.js';
import { meanSquaredError } from '../check/metrics.js';
import { squareImage, type Artwork } from '../world/draw.node.js';
import { hashString, SeededRandom } from '../world/random.js';
import {
  allShots,
  clipFrames,
  drawClip,
  drawScene,
  enlarged,
  largeSide,
  pictureSize,
  sceneKinds,
  splitOf,
  type Scene,
  type SceneKind,
  type Shot,
} from '../world/scene.js';

/** A picture or clip in tokens, and everything there is to know about it. */
export interface TokenizedScene {
  readonly scene: Scene;
  /** Codebook entries, [latentFrames][height][width]. */
  readonly codes: Uint16Array;
  /** The codes that count where a thing's canonical code is chosen, if others; see {@link keepVotes}. */
  readonly votes?: Uint16Array | undefined;
  readonly latentFrames: number;
  /** Tokens along one side. */
  readonly side: number;
  /** Its first latent frame: of a shot, which one of its clip it is; of all others 0. */
  readonly from: number;
}

type DrawnKind = 'stills' | 'large stills' | 'clips';

/** Shots are all there are, or as many of them as asked for; the others are drawn by chance. */
export type CorpusKind = DrawnKind | 'shots';

/** What documents are made of. */
export type Corpora = Readonly<Record<CorpusKind, readonly TokenizedScene[]>>;

interface CorpusOptions {
  kind: CorpusKind;
  count: number;
  seed: number;
  /** Folder in which the codes are kept, so that a resumed run does not make them again. */
  cache: string;
  /** Folder of the tokenizer, in which there may be votes. */
  folder: string;
  /** Told how many are there. */
  onProgress?: (done: number, count: number) => void;
  signal?: AbortSignal | undefined;
}

/** How often each kind of still is drawn: the more there is to tell apart, the more often. */
const stillKinds: readonly SceneKind[] = [
  ...sceneKinds,
  ...(['color', 'two', 'count', 'count', 'position', 'position', 'binding', 'binding'] as const),
];

/** Scene number `index` of a corpus: it depends on the seed and the index alone. */
export function corpusScene(kind: DrawnKind, seed: number, index: number): Scene {
  return drawTrainingScene(kind, new SeededRandom(hashString(`${kind} ${seed} ${index}`)));
}

/** A scene of seen combinations. */
export function drawTrainingScene(kind: DrawnKind, random: SeededRandom): Scene {
  if (kind === 'clips') return drawClip(random, { split: 'seen' });
  for (;;) {
    const still = drawScene(random, { kind: random.pick(stillKinds), split: 'seen' });
    const scene = kind === 'stills' ? still : enlarged(still);
    // On the larger picture's grid things may come to stand askew in a held-out way.
    if (splitOf(scene) === 'seen') return scene;
  }
}

/** Makes corpora with one tokenizer, each as {@link tokenizedCorpus} does; `onPreparing` is told how many are there. */
export async function corpusMaker(
  { tokenizer, weights, artwork }: { tokenizer: VisionTokenizer; weights: VisionWeights; artwork: Artwork },
  {
    onPreparing,
    ...options
  }: Pick<CorpusOptions, 'seed' | 'cache' | 'folder' | 'signal'> & {
    onPreparing?: ((what: string) => void) | undefined;
  },
): Promise<(kind: CorpusKind, count: number) => Promise<TokenizedScene[]>> {
  const fingerprint = await codesFingerprint(weights);
  return (kind, count) => {
    const onProgress = (done: number, all: number): void => onPreparing?.(`${done} of ${all} ${kind}`);
    return tokenizedCorpus(tokenizer, artwork, fingerprint, { ...options, kind, count, onProgress });
  };
}

/** Of all that decides a tokenizer's codes: its decoder may be trained on without the corpora being made again. */
async function codesFingerprint(weights: VisionWeights): Promise<string> {
  const hash = createHash('sha256');
  for (const name of weights.names) {
    if (/^(decoder|post_quant_conv)\./.test(name)) continue;
    const values = await weights.read(name);
    hash.update(name).update(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  }
  return hash.digest('hex');
}

/** Draws a corpus of seen combinations and turns it into tokens, or takes the tokens from the cache. */
async function tokenizedCorpus(
  vision: VisionTokenizer,
  artwork: Artwork,
  fingerprint: string,
  options: CorpusOptions,
): Promise<TokenizedScene[]> {
  const { kind, count: asked, seed, cache, folder, onProgress, signal } = options;
  if (asked === 0) return [];
  const pixels = kind === 'large stills' ? largeSide : pictureSize;
  const side = pixels / spatialFactor(vision.config);
  const perLatent = vision.config.temporal_downsample_factor;
  const frames = { stills: 1, 'large stills': 1, clips: clipFrames, shots: perLatent }[kind];
  const latentFrames = Math.ceil(frames / perLatent);
  const length = latentFrames * side * side;
  const shown: readonly Shot[] =
    kind === 'shots'
      ? new SeededRandom(seed).shuffled(allShots()).slice(0, asked)
      : Array.from({ length: asked }, (_, index) => ({ scene: corpusScene(kind, seed, index), from: 0 }));
  const count = shown.length;
  const votes = await readVotes(folder, kind, count * length);
  const scenes = (codes: Uint16Array): TokenizedScene[] => {
    const part = (all: Uint16Array, at: number): Uint16Array => all.subarray(at * length, (at + 1) * length);
    return shown.map((each, at) => {
      return { ...each, codes: part(codes, at), votes: votes && part(votes, at), latentFrames, side };
    });
  };
  // Shots are there for their votes alone.
  if (votes && kind === 'shots') return scenes(votes);
  const key = createHash('sha256')
    .update(JSON.stringify([fingerprint, kind, shown]))
    .digest('hex');
  const path = join(cache, `${kind.replace(' ', '-')}-${key.slice(0, 16)}.codes`);
  const kept = await readFile(path).catch(() => undefined);
  let codes: Uint16Array;
  if (kept?.length === count * length * 2) {
    codes = new Uint16Array(kept.buffer.slice(kept.byteOffset, kept.byteOffset + kept.length));
  } else {
    codes = new Uint16Array(count * length);
    const perBatch = kind === 'clips' ? 4 : 16;
    for (let from = 0; from < count; from += perBatch) {
      throwIfAborted(signal, 'corpus');
      const group = shown.slice(from, from + perBatch);
      const images = group.flatMap(({ scene, from: latentFrame }) => {
        const first = latentFrame * perLatent;
        return Array.from({ length: frames }, (_, at) => squareImage(artwork.picture(scene, first + at, pixels)));
      });
      const encoded = await vision.encode(clipsOf(images, frames), signal);
      codes.set(encoded.codes, from * length);
      onProgress?.(from + group.length, count);
    }
    await mkdir(cache, { recursive: true });
    await replaceFile(path, [new Uint8Array(codes.buffer)]);
  }
  return scenes(codes);
}

/** Kinds whose votes a tokenizer keeps: pictures of another size are not what its encoder learned. */
const votingKinds = ['stills', 'shots'] as const;

function votesPath(folder: string, kind: CorpusKind): string {
  return join(folder, `votes-${kind}.codes`);
}

/**
 * Keeps beside a tokenizer the codes that chose the canonical ones, u16 little-endian, [scenes][height][width] in the order
 * of the corpus. An encoder that learned canonical codes gives others here and there; what a transformer has learned to draw
 * must not change with that.
 */
export async function keepVotes(
  folder: string,
  corpora: Readonly<Record<(typeof votingKinds)[number], readonly TokenizedScene[]>>,
): Promise<void> {
  for (const kind of votingKinds) {
    const votes = corpora[kind].map((item) => new Uint8Array(Uint16Array.from(item.votes ?? item.codes).buffer));
    await replaceFile(votesPath(folder, kind), votes);
  }
}

/** The first so many codes of what {@link keepVotes} kept, or undefined. @throws Emu3Error `format` if there are fewer. */
async function readVotes(folder: string, kind: CorpusKind, length: number): Promise<Uint16Array | undefined> {
  const path = votesPath(folder, kind);
  const bytes = await readFile(path).catch(() => undefined);
  if (bytes === undefined) return undefined;
  if (bytes.length < length * 2) {
    throw new Emu3Error(`${bytes.length / 2} codes are there, and ${length} are needed.`, {
      code: 'format',
      where: path,
      fix: 'Train the encoder on as many scenes, or delete the file to choose canonical codes anew.',
    });
  }
  return new Uint16Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + length * 2));
}

/**
 * The share of pictures whose tokens show them best: those that the vision tokenizer gives back with the least squared
 * error. Emu3 fine-tunes on the best-scored pictures (arXiv 2409.18869); where all artwork is good, what sets pictures
 * apart is what their tokens keep of them.
 */
export async function bestScored(
  vision: VisionTokenizer,
  artwork: Artwork,
  items: readonly TokenizedScene[],
  share: number,
  signal: AbortSignal | undefined,
): Promise<TokenizedScene[]> {
  const perBatch = 8;
  const errors: { item: TokenizedScene; error: number }[] = [];
  for (let from = 0; from < items.length; from += perBatch) {
    const group = items.slice(from, from + perBatch);
    const [{ side }] = group;
    const codes = Uint32Array.from(group.flatMap((item) => [...item.codes]));
    const clip = { batch: group.length, frames: 1, height: side, width: side, codes };
    const images = imagesOf(await vision.decode(clip, true, signal));
    group.forEach((item, index) => {
      const truth = artwork.picture(item.scene, 0, images[index].width);
      errors.push({ item, error: meanSquaredError(truth, images[index].rgb) });
    });
  }
  errors.sort((a, b) => a.error - b.error);
  return errors.slice(0, Math.ceil(errors.length * share)).map(({ item }) => item);
}
