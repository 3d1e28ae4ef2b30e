import { createHash } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { throwIfAborted } from '../../../kernels/core/errors.js';
import type { VisionTokenizer } from '../../../engine/models/vision/index.js';
import { replaceFile } from '../../../loader/index.node.js';
import type { Artwork } from '../world/draw.node.js';
import { hashString, SeededRandom } from '../world/random.js';
import { clipFrames, drawClip, drawScene, pictureSize, sceneKinds, type Scene, type SceneKind } from '../world/scene.js';

/** A picture or clip in tokens, and everything there is to know about it. */
export interface TokenizedScene {
  readonly scene: Scene;
  /** Codebook entries, [latentFrames][height][width]. */
  readonly codes: Uint16Array;
  readonly latentFrames: number;
  /** Tokens along one side. */
  readonly side: number;
}

export interface CorpusOptions {
  kind: 'stills' | 'clips';
  count: number;
  seed: number;
  /** Side of the pictures in pixels; default 64. */
  pixels?: number;
  /** Folder in which the codes are kept, so that a resumed run does not make them again. */
  cache: string;
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
export function corpusScene(kind: CorpusOptions['kind'], seed: number, index: number): Scene {
  const random = new SeededRandom(hashString(`${kind} ${seed} ${index}`));
  if (kind === 'clips') return drawClip(random, { split: 'seen' });
  return drawScene(random, { kind: stillKinds[random.integer(stillKinds.length)], split: 'seen' });
}

/** Draws a corpus of seen combinations and turns it into tokens, or takes the tokens from the cache. */
export async function tokenizedCorpus(
  vision: VisionTokenizer,
  artwork: Artwork,
  fingerprint: string,
  options: CorpusOptions,
): Promise<TokenizedScene[]> {
  const { kind, count, seed, pixels = pictureSize, cache, onProgress, signal } = options;
  const side = pixels / 8;
  const frames = kind === 'clips' ? clipFrames : 1;
  const latentFrames = kind === 'clips' ? clipFrames / 4 : 1;
  const length = latentFrames * side * side;
  const scenes = Array.from({ length: count }, (_, index) => corpusScene(kind, seed, index));
  const key = createHash('sha256').update(JSON.stringify([fingerprint, kind, pixels, scenes])).digest('hex');
  const path = join(cache, `${kind}-${key.slice(0, 16)}.codes`);
  const kept = await readFile(path).catch(() => undefined);
  let codes: Uint16Array;
  if (kept?.length === count * length * 2) {
    codes = new Uint16Array(kept.buffer.slice(kept.byteOffset, kept.byteOffset + kept.length));
  } else {
    codes = new Uint16Array(count * length);
    const perBatch = kind === 'clips' ? 4 : 16;
    for (let from = 0; from < count; from += perBatch) {
      throwIfAborted(signal, 'corpus');
      const batch = Math.min(perBatch, count - from);
      const values = frames * pixels * pixels * 3;
      const data = new Float32Array(batch * values);
      for (let at = 0; at < batch; at++) {
        for (let frame = 0; frame < frames; frame++) {
          const rgb = artwork.picture(scenes[from + at], frame, pixels);
          const base = at * values + frame * rgb.length;
          for (let index = 0; index < rgb.length; index++) data[base + index] = (rgb[index] / 255 - 0.5) / 0.5;
        }
      }
      const encoded = await vision.encode({ batch, frames, height: pixels, width: pixels, data }, signal);
      codes.set(encoded.codes, from * length);
      onProgress?.(from + batch, count);
    }
    await mkdir(cache, { recursive: true });
    await replaceFile(path, [new Uint8Array(codes.buffer)]);
  }
  return scenes.map((scene, index) => ({
    scene,
    codes: codes.subarray(index * length, (index + 1) * length),
    latentFrames,
    side,
  }));
}
