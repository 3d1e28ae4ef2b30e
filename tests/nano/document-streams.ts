/** Streams of training documents over small corpora with made-up codes. */
import { expect } from 'vitest';
import { corpusScene, type Corpora, type TokenizedScene } from '../../demos/nano/train/corpus.node.js';
import { DocumentStream, type DocumentKind } from '../../demos/nano/train/documents.js';
import { fullCaption } from '../../demos/nano/world/captions.js';
import { ignoredTarget, type PackedBatch } from '../../engine/train/packing.js';
import { buildTokenizerJson, textTokenizerFromJson } from '../../tokenizer/index.js';

export const codebook = 32;
const nano = buildTokenizerJson(['a red car moves right. is there an apple? ASSISTANT: yes'], {
  vocabularySize: 340 + codebook,
  visualCount: codebook,
});
export const { special } = nano;
export const text = textTokenizerFromJson(nano.json);
export const shape = { batch: 2, length: 900 };

/** A tokenizer that has a token for each word, as the nano model's has. */
export const wordTokenizer = textTokenizerFromJson(
  buildTokenizerJson(
    Array.from({ length: 40 }, (_, index) => `${fullCaption(corpusScene('stills', 9, index))}, yes, one?`),
    { vocabularySize: 900 + codebook, visualCount: codebook },
  ).json,
);

/** Scenes with made-up codes: what stands in documents does not depend on what codes look like. */
function corpus(kind: 'stills' | 'large stills' | 'clips', side: number, latentFrames: number): TokenizedScene[] {
  const grid = (seed: number): Uint16Array =>
    Uint16Array.from({ length: latentFrames * side * side }, (_, at) => (at + seed) % codebook);
  return Array.from({ length: 12 }, (_, index) => ({
    scene: corpusScene(kind, 9, index),
    from: 0,
    codes: grid(index),
    latentFrames,
    side,
  }));
}

export const corpora: Corpora = {
  stills: corpus('stills', 4, 1),
  'large stills': corpus('large stills', 6, 1),
  clips: corpus('clips', 4, 3),
  shots: [],
};

export const plain = {
  captionDropout: 0,
  fullCaptions: 0,
  contextNoise: { share: 0, highest: 0 },
  strangers: 0,
  continued: 0,
  disguised: 0,
  begun: 0,
  toldInPart: 0,
  beginWeight: 1,
  thingWeight: 1,
  textWeight: 0.25,
  questions: 2,
  answerWeight: 1,
  conclusionWeight: 1,
  letters: 0,
};

export function streamOf(kinds: readonly DocumentKind[], options: object = {}, random = 11): DocumentStream {
  const mixture = Object.fromEntries(kinds.map((kind) => [kind, 1]));
  return new DocumentStream(corpora, text, { ...plain, ...options, mixture }, { random, waiting: [] });
}

/** Codes of each whole drawing of so many in a batch: as they are read, which are learned, and what they weigh. */
export function codesOf(
  { ids, targets, weights }: PackedBatch,
  count: number,
): { read: number[]; learned: boolean[]; weights: number[] }[] {
  const places = Array.from(ids.keys()).filter((at) => ids[at] >= special.visualStart);
  expect(places.length % count).toBe(0);
  return Array.from({ length: places.length / count }, (_, index) => {
    const own = places.slice(index * count, (index + 1) * count);
    return {
      read: own.map((at) => ids[at] - special.visualStart),
      learned: own.map((at) => targets[at - 1] !== ignoredTarget),
      weights: own.map((at) => weights[at - 1]),
    };
  });
}
