import { join } from 'node:path';
import type { Device } from '../../../engine/device.js';
import { VisionWeights } from '../../../engine/models/vision/index.js';
import type { StepMetrics } from '../../../engine/train/loop.js';
import { VisionTrainer, type VisionBatch } from '../../../engine/train/vision-trainer.js';
import { Emu3Error } from '../../../kernels/core/errors.js';
import {
  diskFolder,
  loadVisionTokenizer,
  parseVisionConfig,
  replaceFile,
  visionTensorShapes,
  writeModel,
  type Emu3VisionVQConfig,
  type TensorToWrite,
} from '../../../loader/index.node.js';
import { clipsOf } from '../../../loader/pipeline/pixels.js';
import { Artwork, squareImage } from '../world/draw.node.js';
import { SeededRandom } from '../world/random.js';
import {
  clipFrames,
  drawClip,
  drawScene,
  gridStep,
  largeObjectSize,
  largeSlotSize,
  objectSize,
  pictureSize,
  sceneKinds,
  type Scene,
} from '../world/scene.js';
import { initialiseVision } from './initialise.js';
import { mergeCodebook } from './merge-codebook.js';
import { seed, visionConfig, visionRecipe } from './recipe.js';
import { openRun } from './run-folder.node.js';

export interface TrainStageOptions {
  /** Folder of the model to start from; undefined starts from random weights. */
  from: string | undefined;
  /** Folder of checkpoints and curves. */
  run: string;
  /** Folder the finished model is written to. */
  output: string;
  steps?: number | undefined;
  checkpointEvery?: number;
  onMetrics: (metrics: StepMetrics, secondsPerStep: number) => void;
  signal?: AbortSignal | undefined;
}

/** Trains the nano vision tokenizer on pictures and clips of the world and writes it as a hub folder. Resumes. */
export async function trainNanoTokenizer(device: Device, options: TrainStageOptions): Promise<void> {
  const steps = options.steps ?? visionRecipe.steps;
  const artwork = await Artwork.load();
  const random = new SeededRandom(seed);
  const { config, weights } = await startWeights(device, options.from, random);

  // A tokenizer that has a codebook keeps it.
  const quantizeFrom = options.from === undefined ? Math.floor(steps * visionRecipe.quantizeFrom) : 0;
  const trainer = await VisionTrainer.create(device, config, weights, {
    shapes: [
      { batch: visionRecipe.batch, frames: 1, height: pictureSize, width: pictureSize },
      { batch: 1, frames: visionRecipe.clipFrames, height: pictureSize, width: pictureSize },
    ],
    schedule: visionRecipe.schedule(steps),
    maximumNorm: visionRecipe.maximumNorm,
    hyper: visionRecipe.hyper,
    reviveEvery: visionRecipe.reviveEvery,
    reviveBelow: 1,
    reviveUntil: Math.floor(steps * visionRecipe.reviveUntil),
    quantizeFrom,
    seed,
  });
  const { onMetrics, checkpointEvery, signal } = options;
  const { position, train } = await openRun(
    options.run,
    visionRecipe.name,
    trainer,
    {
      store: weights.parameters,
      extra: { shapes: weights.statistics.shapes, read: (name) => weights.read(name) },
      config: { visionConfig: config, visionRecipe, steps, seed, from: options.from ?? null },
    },
    (name, data) => weights.write(name, data),
  );
  if (position) {
    for (const name of weights.batchesTracked.keys()) weights.setBatchesTracked(name, position.step);
    const { counts } = position.dataPosition as { counts: number[] };
    trainer.restoreCodeCounts(Uint32Array.from(counts));
  }
  const draws = new SeededRandom(position ? Number(position.randomState) : random.nextUint32());

  const next = (): VisionBatch => {
    const { batch, clipEvery } = visionRecipe;
    if (trainer.step >= quantizeFrom && trainer.step % clipEvery === 0) {
      return { shape: 1, pixels: pixelsOf(drawClipFrames(artwork, draws)) };
    }
    return { shape: 0, pixels: pixelsOf(Array.from({ length: batch }, () => drawPicture(artwork, draws))) };
  };
  const save = async (): Promise<{ dataPosition: { counts: number[] }; randomState: number }> => ({
    dataPosition: { counts: [...(await trainer.codeCounts())] },
    randomState: draws.save(),
  });
  await train({ steps, next, onMetrics, checkpointEvery, save, signal });
  // Codes used since the codebook settled.
  const counts = await trainer.codeCounts();
  trainer.destroy();
  const trained = { size: config.codebook_size, dimension: config.embed_dim, values: await weights.read(codebookName) };
  const codebook = mergeCodebook(trained, counts, visionRecipe.mergedCodes);
  await exportVisionTokenizer(options.output, { ...config, codebook_size: codebook.size }, weights, codebook.values);
  weights.destroy();
}

async function startWeights(
  device: Device,
  from: string | undefined,
  random: SeededRandom,
): Promise<{ config: Emu3VisionVQConfig; weights: VisionWeights }> {
  if (from !== undefined) {
    const folder = diskFolder(from);
    compareConfigs(parseVisionConfig(await folder.readText('config.json'), from), from);
    const { config, weights, tokenizer } = await loadVisionTokenizer(device, folder, { training: true });
    await tokenizer.destroy();
    return { config, weights };
  }
  const shapes = visionTensorShapes(visionConfig);
  const weights = VisionWeights.create(device, shapes, { training: true });
  initialiseVision(shapes, (name, values) => weights.write(name, values), weights.names, random);
  return { config: visionConfig, weights };
}

/** @throws Emu3Error `config` when the tokenizer to go on from is another one than the recipe's; it may have other codes. */
function compareConfigs(found: Emu3VisionVQConfig, where: string): void {
  for (const [field, value] of Object.entries(visionConfig)) {
    if (field === 'codebook_size') continue;
    const other = found[field as keyof Emu3VisionVQConfig];
    if (JSON.stringify(other) === JSON.stringify(value)) continue;
    throw new Emu3Error(`The tokenizer has ${field} ${JSON.stringify(other)}, the recipe ${JSON.stringify(value)}.`, {
      code: 'config',
      where,
      fix: 'Start from a tokenizer of the recipe, or from nothing.',
    });
  }
}

/** As the model will see them: [pictures, height, width, 3]. */
function pixelsOf(pictures: readonly Uint8Array<ArrayBuffer>[]): Float32Array {
  return clipsOf(pictures.map(squareImage)).data;
}

/** A scene; or a frame of a clip, in which things stand off the grid; or one thing of any size, for larger pictures. */
function drawPicture(artwork: Artwork, random: SeededRandom): Uint8Array<ArrayBuffer> {
  const chance = random.next();
  if (chance < 0.1) return artwork.picture(drawClip(random, { split: 'seen' }), random.integer(clipFrames));
  const kind = random.pick(sceneKinds);
  if (chance > 0.2) return artwork.picture(drawScene(random, { kind, split: 'seen' }));
  return artwork.picture(
    resized(drawScene(random, { kind: random.next() < 0.5 ? 'single' : 'color', split: 'seen' }), random),
  );
}

/** The thing as large pictures have it, in its place on the grid; or of any size at any place. */
function resized(scene: Scene, random: SeededRandom): Scene {
  const asInLarge = random.next() < 0.5;
  const size = asInLarge ? largeObjectSize : random.between(objectSize * 0.6, objectSize * 1.6);
  const reach = (asInLarge ? largeSlotSize : size) / 2;
  const place = (): number => {
    const steps = random.between(0, (pictureSize - 2 * reach) / gridStep);
    return reach + (asInLarge ? Math.round(steps) : steps) * gridStep;
  };
  return { ...scene, objects: scene.objects.map((object) => ({ ...object, size, x: place(), y: place() })) };
}

/** Consecutive frames of a clip, from the start of a latent frame. */
function drawClipFrames(artwork: Artwork, random: SeededRandom): Uint8Array<ArrayBuffer>[] {
  const frames = artwork.clip(drawClip(random, { split: 'seen' }));
  const first = random.next() < 0.5 ? 0 : clipFrames - visionRecipe.clipFrames;
  return frames.slice(first, first + visionRecipe.clipFrames);
}

const codebookName = 'quantize.embedding.weight';

/** Writes the tokenizer as config.json and model.safetensors (bf16), with the hub's names; the codebook may be another. */
export async function exportVisionTokenizer(
  folder: string,
  vision: Emu3VisionVQConfig,
  weights: VisionWeights,
  codebook?: Float32Array,
): Promise<void> {
  const config = {
    architectures: ['Emu3VisionVQModel'],
    model_type: 'Emu3VisionVQ',
    ...vision,
    torch_dtype: 'bfloat16',
  };
  const shapes = visionTensorShapes(vision);
  const tensors: TensorToWrite[] = [];
  for (const name of weights.names) {
    const values = name === codebookName && codebook ? codebook : await weights.read(name);
    tensors.push({ name, dtype: 'BF16', shape: shapes.get(name) ?? [], values });
  }
  for (const [name, count] of weights.batchesTracked) {
    tensors.push({ name, dtype: 'I64', shape: [], values: BigInt64Array.of(BigInt(count)) });
  }
  await writeModel(folder, tensors, { metadata: { format: 'pt' } });
  const text = `${JSON.stringify(config, undefined, 2)}\n`;
  await replaceFile(join(folder, 'config.json'), [new TextEncoder().encode(text)]);
}
