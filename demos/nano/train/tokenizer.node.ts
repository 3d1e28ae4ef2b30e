import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Device } from '../../../engine/device.js';
import { VisionWeights } from '../../../engine/models/vision/index.js';
import { runTraining, type StepMetrics } from '../../../engine/train/loop.js';
import { VisionTrainer } from '../../../engine/train/vision-trainer.js';
import { replaceFile, visionTensorShapes, writeModel, type TensorToWrite } from '../../../loader/index.node.js';
import { augment } from '../data/augment.js';
import { tokenizerTrainingImages } from '../data/dataset.node.js';
import { SeededRandom } from '../data/random.js';
import { initialiseVision } from './initialise.js';
import { seed, visionAugmentation, visionConfig, visionRecipe } from './recipe.js';
import { LossCurve, resumeRun, saveRun, type RunState } from './run-folder.node.js';

export interface TrainStageOptions {
  /** Folder of checkpoints and curves. */
  run: string;
  /** Folder the finished model is written to. */
  output: string;
  steps?: number | undefined;
  checkpointEvery?: number;
  onMetrics: (metrics: StepMetrics, secondsPerStep: number) => void;
  signal?: AbortSignal | undefined;
}

/** Trains the nano vision tokenizer on emoji artwork and writes it as a hub folder. Resumes from the run folder. */
export async function trainNanoTokenizer(device: Device, options: TrainStageOptions): Promise<void> {
  const steps = options.steps ?? visionRecipe.steps;
  const pictures = await tokenizerTrainingImages();
  const shapes = visionTensorShapes(visionConfig);
  const weights = VisionWeights.create(device, shapes, { training: true });
  const random = new SeededRandom(seed);
  initialiseVision(shapes, (name, values) => weights.write(name, values), weights.names, random);

  const size = Math.sqrt(pictures[0].length / 3);
  const trainer = await VisionTrainer.create(device, visionConfig, weights, {
    batch: visionRecipe.batch,
    frames: 1,
    height: size,
    width: size,
    schedule: visionRecipe.schedule(steps),
    maximumNorm: visionRecipe.maximumNorm,
    hyper: visionRecipe.hyper,
    reviveEvery: 50,
    reviveBelow: 1,
    reviveUntil: Math.floor(steps * visionRecipe.reviveUntil),
    quantizeFrom: Math.floor(steps * visionRecipe.quantizeFrom),
    seed,
  });
  const runState: RunState = {
    store: weights.parameters,
    extra: { shapes: weights.statistics.shapes, read: (name) => weights.read(name) },
    optimization: trainer.optimization,
    config: JSON.parse(
      JSON.stringify({ visionConfig, visionRecipe, visionAugmentation, steps, seed }),
    ) as RunState['config'],
  };
  const curve = new LossCurve(options.run, 'tokenizer-curve');
  const position = await resumeRun(options.run, runState, (name, data) => weights.write(name, data));
  if (position) {
    trainer.resumeAt(position.step);
    for (const name of weights.batchesTracked.keys()) weights.setBatchesTracked(name, position.step);
    const { counts } = position.dataPosition as { counts: number[] };
    trainer.restoreCodeCounts(Uint32Array.from(counts));
    const kept = await readFile(join(options.run, 'tokenizer-curve.json'), 'utf8').catch(() => '[]');
    curve.continueFrom(JSON.parse(kept) as StepMetrics[], position.step);
  }
  const draws = new SeededRandom(position ? Number(position.randomState) : random.nextUint32());

  const next = (): Float32Array => {
    const batch = new Float32Array(visionRecipe.batch * size * size * 3);
    for (let index = 0; index < visionRecipe.batch; index++) {
      const picture = augment(pictures[draws.integer(pictures.length)], draws, visionAugmentation);
      const base = index * picture.length;
      for (let at = 0; at < picture.length; at++) batch[base + at] = (picture[at] / 255 - 0.5) / 0.5;
    }
    return batch;
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
      const counts = [...(await trainer.codeCounts())];
      await saveRun(options.run, runState, {
        step: trainer.step,
        dataPosition: { counts },
        randomState: draws.save(),
      });
      await curve.save();
    },
    signal: options.signal,
  });
  await exportVisionTokenizer(options.output, weights);
  trainer.destroy();
  weights.destroy();
}

/** Writes the tokenizer as config.json and model.safetensors (bf16), with the hub's names. */
async function exportVisionTokenizer(folder: string, weights: VisionWeights): Promise<void> {
  const config = {
    architectures: ['Emu3VisionVQModel'],
    model_type: 'Emu3VisionVQ',
    ...visionConfig,
    torch_dtype: 'bfloat16',
  };
  const shapes = visionTensorShapes(visionConfig);
  const tensors: TensorToWrite[] = [];
  for (const name of weights.names) {
    tensors.push({ name, dtype: 'BF16', shape: shapes.get(name) ?? [], values: await weights.read(name) });
  }
  for (const [name, count] of weights.batchesTracked) {
    tensors.push({ name, dtype: 'I64', shape: [], values: BigInt64Array.of(BigInt(count)) });
  }
  await writeModel(folder, tensors, { metadata: { format: 'pt' } });
  const text = `${JSON.stringify(config, undefined, 2)}\n`;
  await replaceFile(join(folder, 'config.json'), [new TextEncoder().encode(text)]);
}
