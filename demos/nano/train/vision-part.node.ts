import type { Device } from '../../../engine/device.js';
import { VisionPartTrainer, type VisionPartBatch } from '../../../engine/train/vision-part-trainer.js';
import { Emu3Error } from '../../../kernels/core/errors.js';
import { diskFolder, loadVisionTokenizer } from '../../../loader/index.node.js';
import { clipsOf } from '../../../loader/pipeline/pixels.js';
import { Artwork, squareImage } from '../world/draw.node.js';
import { SeededRandom } from '../world/random.js';
import { clipFrames, pictureSize } from '../world/scene.js';
import { canonicalCodes, canonicalTable } from './canonical.js';
import { corpusMaker, keepVotes } from './corpus.node.js';
import { composedDrawing } from './drawings.js';
import { seed, type VisionPartStage } from './recipe.js';
import { openRun } from './run-folder.node.js';
import { exportVisionTokenizer, type TrainStageOptions } from './tokenizer.node.js';

export interface VisionPartOptions extends TrainStageOptions {
  /** Folder in which the corpora's tokens are kept between stages. */
  cache: string;
  /** Told what is being made ready before the first step. */
  onPreparing?: (what: string) => void;
}

/**
 * Trains one part of a finished vision tokenizer. Its decoder learns what the transformer will write: canonical codes as
 * often as the encoder's own, and whole clips, of which the tokenizer's own training sees no third latent frame. Its
 * encoder learns the canonical codes of ever new pictures and clips. Writes the tokenizer as a hub folder. Resumes.
 *
 * @throws Emu3Error `missing` without a tokenizer to start from.
 */
export async function trainNanoVisionPart(
  device: Device,
  stage: VisionPartStage,
  options: VisionPartOptions,
): Promise<void> {
  const { from, cache, onPreparing, onMetrics, checkpointEvery, signal } = options;
  if (from === undefined) {
    throw new Emu3Error('There is no vision tokenizer of which to train a part.', {
      code: 'missing',
      where: stage.name,
      fix: 'Train the tokenizer first, or give --from a model folder.',
    });
  }
  const steps = options.steps ?? stage.steps;
  const artwork = await Artwork.load();
  const { config, weights, tokenizer } = await loadVisionTokenizer(device, diskFolder(from), { training: true });
  const corpusOf = await corpusMaker(
    { tokenizer, weights, artwork },
    { seed, cache, folder: from, onPreparing, signal },
  );
  const corpora = {
    stills: await corpusOf('stills', stage.scenes.stills),
    clips: await corpusOf('clips', stage.scenes.clips),
    shots: await corpusOf('shots', stage.scenes.shots),
  };
  const table = canonicalTable(corpora);
  await tokenizer.destroy();
  const { trained, batch, maximumNorm, hyper } = stage;
  const trainer = await VisionPartTrainer.create(device, config, weights, {
    trained,
    shapes: [
      { batch, frames: 1, height: pictureSize, width: pictureSize },
      { batch: 1, frames: clipFrames, height: pictureSize, width: pictureSize },
    ],
    schedule: stage.schedule(steps),
    maximumNorm,
    beta2: hyper.beta2,
  });
  const { position, train } = await openRun(options.run, stage.name, trainer, {
    store: weights.parameters,
    config: { config, stage, steps, seed, from },
  });
  const draws = new SeededRandom(position ? Number(position.randomState) : seed + stage.seedOffset);
  const next = (): VisionPartBatch => {
    const isClip = trainer.step % stage.clipEvery === 0;
    const kind = isClip ? 'clips' : 'stills';
    const items = Array.from({ length: isClip ? 1 : batch }, () => {
      if (trained.part === 'encoder') return composedDrawing(corpora, table, kind, draws);
      const item = draws.pick(corpora[kind]);
      // What is given comes from the encoder, what follows from the transformer: any number of latent frames, or none.
      return { ...item, codes: canonicalCodes(item, table, draws.integer(item.latentFrames + 1)) };
    });
    const frames = items.flatMap(({ scene }) => (isClip ? artwork.clip(scene) : [artwork.picture(scene)]));
    const codes = items.flatMap((item) => [...item.codes]);
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
  const isNamed = trained.part === 'encoder' || corpora.stills.some(({ votes }) => votes);
  if (isNamed) await keepVotes(options.output, corpora);
  weights.destroy();
}
