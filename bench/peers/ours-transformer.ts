import { Decoder } from '../../engine/decode/index.js';
import type { Device } from '../../engine/device.js';
import { ParameterStore } from '../../engine/parameters.js';
import { TransformerTrainer } from '../../engine/train/transformer-trainer.js';
import type { Job } from './contender.js';
import {
  adamw,
  comparedSteps,
  firstToken,
  initialWeights,
  trainingTokens,
  transformerConfig,
  type Decoding,
  type TrainingStep,
  type TransformerSizes,
} from './transformer.js';

/** Training as {@link TransformerTrainer} does it. */
export async function trainingJob(device: Device, problem: TrainingStep): Promise<Job> {
  const { sizes, batch, length } = problem;
  const store = createStore(device, sizes, true);
  const { learningRate, ...hyper } = adamw;
  const trainer = await TransformerTrainer.create(device, transformerConfig(sizes), store, {
    batch,
    length,
    visionWeight: { first: 0, last: sizes.vocabulary, weight: 1 },
    schedule: { kind: 'constant', peak: learningRate },
    hyper,
    seed: 1,
  });
  const initial = await trainer.optimization.snapshot();
  const rows = batch * length;
  const packed = {
    batch,
    length,
    ...trainingTokens(problem),
    positions: Uint32Array.from({ length: rows }, (_, row) => row % length),
    start: new Uint32Array(rows),
    weights: new Float32Array(rows).fill(1),
    documents: batch,
  };
  return {
    run: async (times) => {
      for (let time = 0; time < times; time++) trainer.train([packed]);
      await device.finish();
    },
    result: async () => {
      writeWeights(store, sizes);
      trainer.optimization.restore(initial);
      const losses: number[] = [];
      while (losses.length < comparedSteps) {
        trainer.train([packed]);
        losses.push((await trainer.metrics()).loss);
      }
      return Float32Array.from(losses);
    },
    destroy: () => {
      trainer.destroy();
      store.destroy();
    },
  };
}

/** Decoding as {@link Decoder} does it, all ids read at the end. */
export async function decodingJob(device: Device, { sizes, tokens }: Decoding): Promise<Job> {
  const store = createStore(device, sizes, false);
  const decoder = await Decoder.create(device, transformerConfig(sizes), store, {
    sequences: 1,
    guided: false,
    capacity: tokens,
  });
  const sequences = [{ prompt: [firstToken], sampling: { seed: 1, temperature: 0 } }];
  const decode = async (): Promise<Float32Array> => {
    const ids: number[] = [];
    for await (const block of decoder.decode({ sequences, newTokens: tokens, blockSteps: tokens })) {
      ids.push(...block.ids[0]);
    }
    return Float32Array.from(ids);
  };
  return {
    run: async (times) => {
      for (let time = 0; time < times; time++) await decode();
    },
    result: decode,
    destroy: () => {
      decoder.destroy();
      store.destroy();
    },
  };
}

function createStore(device: Device, sizes: TransformerSizes, training: boolean): ParameterStore {
  const shapes = new Map([...initialWeights(sizes)].map(([name, { shape }]) => [name, shape]));
  const store = ParameterStore.create(device, shapes, { training });
  writeWeights(store, sizes);
  return store;
}

function writeWeights(store: ParameterStore, sizes: TransformerSizes): void {
  for (const [name, { values }] of initialWeights(sizes)) store.tensor(name).write(values);
}
