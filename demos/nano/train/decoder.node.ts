import type { Device } from '../../../engine/device.js';
import { VisionDecoderTrainer, type DecoderBatch } from '../../../engine/train/vision-decoder-trainer.js';
import { Emu3Error } from '../../../kernels/core/errors.js';
import { diskFolder, loadVisionTokenizer } from '../../../loader/index.node.js';
import { clipsOf } from '../../../loader/pipeline/pixels.js';
import { Artwork, squareImage } from '../world/draw.node.js';
import { SeededRandom } from '../world/random.js';
import { clipFrames, pictureSize } from '../world/scene.js';
import { canonicalCodes, canonicalTable } from './canonical.js';
import { corpusMaker } from './corpus.node.js';
import { decoderRecipe, seed } from './recipe.js';
import { openRun } from './run-folder.node.js';
import { exportVisionTokenizer, type TrainStageOptions } from './tokenizer.node.js';

export interface DecoderStageOptions extends TrainStageOptions {
  /** Folder in which the corpora's tokens are kept between stages. */
  cache: string;
  /** Told what is being made ready before the first step. */
  onPreparing?: (what: string) => void;
}

/**
 * Trains the decoder of a finished vision tokenizer on what the transformer will write: canonical codes as often as the
 * encoder's own, and whole clips, of which the tokenizer's own training sees no third latent frame. No code changes its
 * meaning. Writes the tokenizer as a hub folder. Resumes.
 *
 * @throws Emu3Error `missing` without a tokenizer to start from.
 */
export async function trainNanoDecoder(device: Device, options: DecoderStageOptions): Promise<void> {
  const { from, cache, onPreparing, onMetrics, checkpointEvery, signal } = options;
  if (from === undefined) {
    throw new Emu3Error('There is no vision tokenizer whose decoder to train.', {
      code: 'missing',
      where: decoderRecipe.name,
      fix: 'Train the tokenizer first, or give --from a model folder.',
    });
  }
  const steps = options.steps ?? decoderRecipe.steps;
  const artwork = await Artwork.load();
  const { config, weights, tokenizer } = await loadVisionTokenizer(device, diskFolder(from), { training: true });
  const corpusOf = await corpusMaker({ tokenizer, weights, artwork }, { seed, cache, onPreparing, signal });
  const corpora = {
    stills: await corpusOf('stills', decoderRecipe.scenes.stills),
    clips: await corpusOf('clips', decoderRecipe.scenes.clips),
    shots: await corpusOf('shots', decoderRecipe.scenes.shots),
  };
  const table = canonicalTable(corpora);
  await tokenizer.destroy();
  const { batch, maximumNorm, hyper } = decoderRecipe;
  const trainer = await VisionDecoderTrainer.create(device, config, weights, {
    shapes: [
      { batch, frames: 1, height: pictureSize, width: pictureSize },
      { batch: 1, frames: clipFrames, height: pictureSize, width: pictureSize },
    ],
    schedule: decoderRecipe.schedule(steps),
    maximumNorm,
    beta2: hyper.beta2,
  });
  const { position, train } = await openRun(options.run, decoderRecipe.name, trainer, {
    store: weights.parameters,
    config: { config, decoderRecipe, steps, seed, from },
  });
  const draws = new SeededRandom(position ? Number(position.randomState) : seed + decoderRecipe.seedOffset);
  const next = (): DecoderBatch => {
    const isClip = trainer.step % decoderRecipe.clipEvery === 0;
    const kind = isClip ? 'clips' : 'stills';
    const items = Array.from({ length: isClip ? 1 : batch }, () => draws.pick(corpora[kind]));
    const frames = items.flatMap(({ scene }) => (isClip ? artwork.clip(scene) : [artwork.picture(scene)]));
    // What is given comes from the encoder, what follows from the transformer: any number of latent frames, or none.
    const codes = items.flatMap((item) => [...canonicalCodes(item, table, draws.integer(item.latentFrames + 1))]);
    const pixels = clipsOf(frames.map(squareImage)).data;
    return { shape: isClip ? 1 : 0, codes: Uint32Array.from(codes), pixels };
  };
  const save = async (): Promise<{ dataPosition: null; randomState: number }> => ({
    dataPosition: null,
    randomState: draws.save(),
  });
  await train({ steps, next, onMetrics, checkpointEvery, save, signal });
  trainer.destroy();
  await exportVisionTokenizer(options.output, config, weights);
  weights.destroy();
}
