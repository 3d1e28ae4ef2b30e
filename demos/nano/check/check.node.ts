import sharp from 'sharp';
import { loadEmojiDataset } from '../data/dataset.node.js';
import { ConceptChecker, shufflePrompts } from './checker.js';
import type { LabelledPicture, PictureScores } from './checker.js';
import type { Sheet } from './contact-sheet.js';
import { addNoise, blurPicture, quantiseBlocks, shiftPicture } from './degrade.js';

let checker: Promise<ConceptChecker> | undefined;

/** The checker with every picture of the emoji data set as a template, trained and held out; made once. */
export function emojiChecker(): Promise<ConceptChecker> {
  checker ??= loadEmojiDataset().then((dataset) => new ConceptChecker(dataset.items));
  return checker;
}

/** Scores pictures that were drawn for (concept, style) prompts against the emoji data set. */
export async function scorePictures(pictures: readonly LabelledPicture[]): Promise<PictureScores> {
  return (await emojiChecker()).score(pictures);
}

/** Seed of the controls' noise and shuffles. */
const CONTROL_SEED = 7;

/**
 * What the checker says of pictures whose answer is known: the artwork itself (must be right throughout), the artwork
 * blurred, with noise, shifted, and coded coarsely (what a vision tokenizer may do to it), and the artwork under
 * shuffled prompts (the chance level). Tokenizer-reconstructed artwork goes through {@link scorePictures} the same way.
 * @param artwork true pictures with their prompts; the whole data set when left out.
 */
export async function scoreControls(artwork?: readonly LabelledPicture[]): Promise<Record<string, PictureScores>> {
  const pictures = artwork ?? (await loadEmojiDataset()).items;
  const changed = (change: (rgb: Uint8Array, index: number) => Uint8Array): LabelledPicture[] =>
    pictures.map(({ concept, style, rgb }, index) => ({ concept, style, rgb: change(rgb, index) }));
  const controls: Record<string, readonly LabelledPicture[]> = {
    artwork: pictures,
    blurred: changed((rgb) => blurPicture(rgb, 2)),
    noisy: changed((rgb, index) => addNoise(rgb, 32, CONTROL_SEED + index)),
    shifted: changed((rgb) => shiftPicture(rgb, 2, -2)),
    coarselyCoded: changed((rgb) => quantiseBlocks(rgb, 32)),
    shuffledPrompts: shufflePrompts(pictures, CONTROL_SEED),
  };
  const scores: Record<string, PictureScores> = {};
  for (const [name, labelled] of Object.entries(controls)) scores[name] = await scorePictures(labelled);
  return scores;
}

/** The sheet as a PNG file's bytes. */
export async function encodeSheet(sheet: Sheet): Promise<Uint8Array> {
  const { width, height, rgb } = sheet;
  return new Uint8Array(
    await sharp(rgb, { raw: { width, height, channels: 3 } })
      .png()
      .toBuffer(),
  );
}
