import type { Device } from '../../../engine/device.js';
import type { VisionTokenizer, VisionWeights } from '../../../engine/models/vision/index.js';
import { runTraining } from '../../../engine/train/loop.js';
import { VisionDecoderTrainer, type DecoderBatch } from '../../../engine/train/vision-decoder-trainer.js';
import { Emu3Error } from '../../../kernels/core/errors.js';
import { diskFolder, loadVisionTokenizer } from '../../../loader/index.node.js';
import { clipsOf } from '../../../loader/pipeline/pixels.js';
import { Artwork, squareImage } from '../world/draw.node.js';
import { SeededRandom } from '../world/random.js';
import { clipFrames, pictureSize } from '../world/scene.js';
import { codesFingerprint, tokenizedCorpus, type CorpusKind, type TokenizedScene } from './corpus.node.js';
import { decoderRecipe, seed } from './recipe.js';
import { LossCurve, resumeRun, saveRun, type RunState } from './run-folder.node.js';
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
  const { from, run, signal } = options;
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
  const corpora = await makeCorpora({ tokenizer, weights, artwork }, options);
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
  const runState: RunState = {
    store: weights.parameters,
    optimization: trainer.optimization,
    config: JSON.parse(JSON.stringify({ config, decoderRecipe, steps, seed, from })) as RunState['config'],
  };
  const curve = new LossCurve(run, `${decoderRecipe.name}-curve`);
  const position = await resumeRun(run, runState);
  if (position) {
    trainer.resumeAt(position.step);
    await curve.continueFrom(position.step);
  }
  const draws = new SeededRandom(position ? Number(position.randomState) : seed + decoderRecipe.seedOffset);
  const next = (): DecoderBatch => {
    const isClip = trainer.step % decoderRecipe.clipEvery === 0;
    const items = Array.from({ length: isClip ? 1 : batch }, () => draws.pick(corpora[isClip ? 'clips' : 'stills']));
    const frames = items.flatMap(({ scene }) => (isClip ? artwork.clip(scene) : [artwork.picture(scene)]));
    const codes = items.flatMap((item) => [...(draws.next() < 0.5 ? item.canonical : item.codes)]);
    const pixels = clipsOf(frames.map(squareImage)).data;
    return { shape: isClip ? 1 : 0, codes: Uint32Array.from(codes), pixels };
  };
  await runTraining(trainer, {
    steps,
    next,
    metricsEvery: 10,
    onMetrics: (metrics, seconds) => {
      curve.add(metrics);
      options.onMetrics(metrics, seconds);
    },
    checkpointEvery: options.checkpointEvery ?? 100,
    checkpoint: async () => {
      await saveRun(run, runState, { step: trainer.step, dataPosition: null, randomState: draws.save() });
      await curve.save();
    },
    signal,
  });
  trainer.destroy();
  await exportVisionTokenizer(options.output, config, weights);
  weights.destroy();
}

async function makeCorpora(
  { tokenizer, weights, artwork }: { tokenizer: VisionTokenizer; weights: VisionWeights; artwork: Artwork },
  { cache, onPreparing, signal }: DecoderStageOptions,
): Promise<Record<'stills' | 'clips', TokenizedScene[]>> {
  const fingerprint = await codesFingerprint(weights);
  const made = async (kind: CorpusKind, count: number): Promise<TokenizedScene[]> => {
    const onProgress = (done: number, all: number): void => onPreparing?.(`${done} of ${all} ${kind}`);
    return tokenizedCorpus(tokenizer, artwork, fingerprint, { kind, count, seed, cache, signal, onProgress });
  };
  return {
    stills: await made('stills', decoderRecipe.scenes.stills),
    clips: await made('clips', decoderRecipe.scenes.clips),
  };
}
