import { pretrainStages, visionRecipe } from '../../demos/nano/train/recipe.js';
import type { Device } from '../../engine/device.js';
import type { PackedBatch } from '../../engine/train/packing.js';
import { TransformerTrainer } from '../../engine/train/transformer-trainer.js';
import { VisionTrainer } from '../../engine/train/vision-trainer.js';
import type { Workload } from '../run-workloads.js';
import { firstVisionId, type NanoModel } from './nano.js';

/** Steps of one timed run, so that the host runs ahead of the GPU as in a training. */
const steps = 2;

/** Optimiser steps of the transformer, with the recipe's batch, dropout and clipping; tokens are random. */
export async function transformerTraining(device: Device, model: NanoModel): Promise<Workload> {
  const { config, parameters } = model;
  const { batch, length, schedule } = pretrainStages[0];
  const first = firstVisionId(model);
  const trainer = await TransformerTrainer.create(device, config, parameters, {
    ...pretrainStages[0],
    schedule: schedule(1000),
    visionWeight: { first, last: config.vocab_size - 1, weight: 0.5 },
    seed: 1,
  });
  const packed = randomBatch(batch, length, config.vocab_size);
  return {
    section: 'train',
    name: `transformer, ${batch} x ${length} tokens a step`,
    products: [
      { unit: 'steps', count: steps },
      { unit: 'tokens', count: steps * batch * length },
    ],
    programs: [
      { program: trainer.program, runs: steps },
      { program: trainer.optimization.program, runs: steps },
    ],
    run: async () => {
      for (let step = 0; step < steps; step++) trainer.train([packed]);
      await device.finish();
    },
    destroy: async () => trainer.destroy(),
  };
}

/** Documents of half a sequence each, as long as a caption with its picture. */
function randomBatch(batch: number, length: number, vocabulary: number): PackedBatch {
  const rows = batch * length;
  const document = length / 2;
  const within = Uint32Array.from({ length: rows }, (_, row) => row % length);
  const ids = within.map((_, row) => (row * 7919) % vocabulary);
  const targets = Int32Array.from(ids, (_, row) => ids[(row + 1) % rows]);
  return {
    batch,
    length,
    ids,
    positions: within.map((at) => at % document),
    start: within.map((at) => Math.floor(at / document) * document),
    targets,
    weights: new Float32Array(rows).fill(1),
    documents: 2 * batch,
  };
}

/** Optimiser steps of the vision tokenizer with the recipe's batch of 64 x 64 pictures. */
export async function visionTraining(device: Device, model: NanoModel): Promise<Workload> {
  const { batch, schedule, maximumNorm, hyper } = visionRecipe;
  const size = 64;
  const trainer = await VisionTrainer.create(device, model.visionConfig, model.visionWeights, {
    shapes: [{ batch, frames: 1, height: size, width: size }],
    maximumNorm,
    hyper,
    schedule: schedule(1000),
    reviveEvery: 0,
    reviveBelow: 1,
    reviveUntil: 0,
    seed: 1,
  });
  const pixels = Float32Array.from({ length: batch * size * size * 3 }, (_, index) => Math.sin(index * 0.37));
  return {
    section: 'train',
    name: `vision tokenizer, ${batch} pictures of ${size} x ${size} a step`,
    products: [
      { unit: 'steps', count: steps },
      { unit: 'pictures', count: steps * batch },
    ],
    programs: [
      { program: trainer.program(), runs: steps },
      { program: trainer.optimization.program, runs: steps },
    ],
    run: async () => {
      for (let step = 0; step < steps; step++) trainer.train({ shape: 0, pixels });
      await device.finish();
    },
    destroy: async () => trainer.destroy(),
  };
}
