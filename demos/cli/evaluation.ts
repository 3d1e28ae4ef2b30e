import type { VisionTokenizer } from '../../engine/models/vision/index.js';
import { throwIfAborted } from '../../kernels/core/errors.js';
import type { Emu3 } from '../../loader/pipeline/emu3.js';
import type { SamplingOptions } from '../../loader/pipeline/generate.js';
import { imagesOf } from '../../loader/pipeline/pixels.js';
import { scorePictures } from '../nano/check/check.node.js';
import { shufflePrompts, type LabelledPicture, type PictureScores } from '../nano/check/checker.js';
import { psnr, ssim } from '../nano/check/metrics.js';
import { PICTURE_SIZE } from '../nano/data/artwork.node.js';
import { loadEmojiDataset, type EmojiItem } from '../nano/data/dataset.node.js';
import { SeededRandom } from '../nano/world/random.js';
import { withProgress } from './progress.js';
import type { Terminal } from './terminal.js';

export interface EvaluationOptions {
  /** Prompts over trained pairs. */
  prompts: number;
  /** Prompts over held-out pairs; default all. */
  heldOut?: number | undefined;
  /** Of the choice of prompts and of the pictures. */
  seed: number;
  /** Pictures drawn or reconstructed side by side. */
  batch: number;
  sampling: SamplingOptions & { guidance?: number; negativePrompt?: string };
}

/** What the checker says, by group of pictures. The groups below `drawn` are controls. */
export interface Evaluation {
  seed: number;
  prompts: { trained: number; heldOut: number };
  scores: Record<'drawn' | 'artwork' | 'reconstructed' | 'shuffledPrompts', SplitScores>;
  /** The tokenizer on artwork that neither network was trained on. PSNR in dB over bytes, means over pictures. */
  reconstruction: { pictures: number; psnr: number; lowestPsnr: number; ssim: number };
  /** Codes in use over the artwork above; perplexity is e to the entropy of their frequencies. */
  codebook: { pictures: number; size: number; used: number; perplexity: number };
  drawing: { tokens: number; seconds: number; tokensPerSecond: number };
}

export interface SplitScores {
  trained: PictureScores;
  heldOut: PictureScores;
}

interface Drawn extends LabelledPicture {
  split: EmojiItem['split'];
}

const channels = 3;
const shuffleSeed = 1;

/**
 * Scores a model of the nano family: draws the canonical captions of some trained and all held-out (concept, style)
 * pairs and asks the checker what they show; runs the same check on the artwork itself, on the artwork through the
 * vision tokenizer, and on the drawn pictures under shuffled prompts (the chance level).
 */
export async function evaluate(
  terminal: Terminal,
  emu3: Emu3,
  options: EvaluationOptions,
): Promise<{ evaluation: Evaluation; pictures: Record<'trained' | 'heldOut', Uint8Array[]> }> {
  terminal.err('rendering the artwork ...\n');
  const { items, tokenizerHeldout } = await loadEmojiDataset();
  const random = new SeededRandom(options.seed);
  const draw = (split: EmojiItem['split'], count?: number): EmojiItem[] =>
    random.shuffled(items.filter((item) => item.split === split)).slice(0, count);
  const trained = draw('train', options.prompts);
  const chosen = [...trained, ...draw('heldout', options.heldOut)];

  const { drawn, drawing } = await drawPictures(terminal, emu3, chosen, options);
  const { vision } = emu3;
  const seen = await reconstruct(terminal, vision, 'artwork', chosen, options.batch);
  const unseen = await reconstruct(terminal, vision, 'unseen artwork', tokenizerHeldout, options.batch);
  const reconstructed = chosen.map((item, index) => ({ ...item, rgb: seen.pictures[index] }));

  terminal.err('scoring ...\n');
  const psnrs = tokenizerHeldout.map(({ rgb }, index) => psnr(rgb, unseen.pictures[index]));
  const ssims = tokenizerHeldout.map(({ rgb }, index) => ssim(rgb, unseen.pictures[index], PICTURE_SIZE));
  const evaluation: Evaluation = {
    seed: options.seed,
    prompts: { trained: trained.length, heldOut: chosen.length - trained.length },
    scores: {
      drawn: await scoreSplits(drawn, (group) => group),
      artwork: await scoreSplits(chosen, (group) => group),
      reconstructed: await scoreSplits(reconstructed, (group) => group),
      shuffledPrompts: await scoreSplits(drawn, (group) => shufflePrompts(group, shuffleSeed)),
    },
    reconstruction: {
      pictures: psnrs.length,
      psnr: mean(psnrs),
      lowestPsnr: Math.min(...psnrs),
      ssim: mean(ssims),
    },
    codebook: {
      pictures: chosen.length + psnrs.length,
      ...codebookUsage([...seen.codes, ...unseen.codes], vision.config.codebook_size),
    },
    drawing,
  };
  const ofSplit = (split: EmojiItem['split']): Uint8Array[] =>
    drawn.filter((picture) => picture.split === split).map(({ rgb }) => rgb);
  return { evaluation, pictures: { trained: ofSplit('train'), heldOut: ofSplit('heldout') } };
}

async function scoreSplits(
  pictures: readonly Drawn[],
  change: (group: readonly Drawn[]) => readonly LabelledPicture[],
): Promise<SplitScores> {
  const ofSplit = (split: EmojiItem['split']): Promise<PictureScores> =>
    scorePictures(change(pictures.filter((picture) => picture.split === split)));
  return { trained: await ofSplit('train'), heldOut: await ofSplit('heldout') };
}

async function drawPictures(
  terminal: Terminal,
  emu3: Emu3,
  items: readonly EmojiItem[],
  { batch, sampling, seed }: EvaluationOptions,
): Promise<{ drawn: Drawn[]; drawing: Evaluation['drawing'] }> {
  const { signal } = terminal;
  const drawn: Drawn[] = [];
  const started = performance.now();
  let tokens = 0;
  const elapsed = (): number => (performance.now() - started) / 1000;
  await withProgress(terminal, 'drawing'.padEnd(15), items.length, async (bar) => {
    for (let from = 0; from < items.length; from += batch) {
      const group = items.slice(from, from + batch);
      const requests = group.map(({ captions }, index) => ({
        ...sampling,
        prompt: captions[0],
        seed: (seed + from + index) % 2 ** 32,
        ratio: '1:1',
      }));
      const pictures = await emu3.generateBatch(requests, { signal, onToken: () => (tokens += 1) });
      group.forEach(({ concept, style, split }, index) => {
        drawn.push({ concept, style, split, rgb: pictures[index].image.rgb });
      });
      bar.update(drawn.length, `${(tokens / elapsed()).toFixed(1)} tokens/s`);
    }
  });
  const seconds = elapsed();
  return { drawn, drawing: { tokens, seconds, tokensPerSecond: tokens / seconds } };
}

/** Square RGB pictures through the vision tokenizer and back. */
async function reconstruct(
  terminal: Terminal,
  vision: VisionTokenizer,
  label: string,
  items: readonly { rgb: Uint8Array }[],
  perBatch: number,
): Promise<{ pictures: Uint8Array[]; codes: Uint32Array[] }> {
  const pictures: Uint8Array[] = [];
  const codes: Uint32Array[] = [];
  await withProgress(terminal, label.padEnd(15), items.length, async (bar) => {
    for (let from = 0; from < items.length; from += perBatch) {
      throwIfAborted(terminal.signal, 'eval');
      const group = items.slice(from, from + perBatch);
      const values = PICTURE_SIZE * PICTURE_SIZE * channels;
      const data = new Float32Array(group.length * values);
      group.forEach(({ rgb }, index) => {
        for (let at = 0; at < values; at++) data[index * values + at] = (rgb[at] / 255 - 0.5) / 0.5;
      });
      const pixels = { batch: group.length, frames: 1, height: PICTURE_SIZE, width: PICTURE_SIZE, data };
      const encoded = await vision.encode(pixels, terminal.signal);
      codes.push(encoded.codes);
      const decoded = await vision.decode(encoded, true, terminal.signal);
      pictures.push(...imagesOf(decoded).map(({ rgb }) => rgb));
      bar.update(pictures.length);
    }
  });
  return { pictures, codes };
}

function codebookUsage(codes: readonly Uint32Array[], size: number): Omit<Evaluation['codebook'], 'pictures'> {
  const counts = new Float64Array(size);
  for (const group of codes) for (const code of group) counts[code] += 1;
  const total = counts.reduce((sum, count) => sum + count, 0);
  let entropy = 0;
  for (const count of counts) if (count > 0) entropy -= (count / total) * Math.log(count / total);
  return { size, used: counts.filter((count) => count > 0).length, perplexity: Math.exp(entropy) };
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
