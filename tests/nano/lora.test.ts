import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { trainLanguage, type LanguageStageOptions } from '../../demos/nano/train/language.node.js';
import { qualityStage, type LanguageStage } from '../../demos/nano/train/recipe.js';
import type { LoraTraining } from '../../demos/nano/train/stage-model.node.js';
import { SequenceScorer, withAdapters, type ModelWeights } from '../../engine/models/transformer/index.js';
import type { StepMetrics } from '../../engine/train/loop.js';
import {
  diskFolder,
  latestCheckpoint,
  loadAdapters,
  loadQuantizedTransformer,
  loadTrainingCheckpoint,
  loadTransformer,
  parseTransformerConfig,
  type Emu3Config,
} from '../../loader/index.node.js';
import { Emu3 } from '../../loader/pipeline/emu3.js';
import { writeTinyModel } from '../cli/support.js';
import { expectError, inTemporaryFolder, rejection } from '../loader/support.js';
import { relativeError } from '../support/compare.js';
import { testDevice } from '../support/gpu.js';

/** A stage that takes moments: few pictures, short sequences. */
const stage: LanguageStage = {
  name: 'rehearsal',
  steps: 20,
  batch: 1,
  length: 256,
  documents: { ...qualityStage.documents, fullCaptions: 0, mixture: { draw: 1 } },
  scenes: { stills: 16 },
  visionWeight: 0.5,
  seedOffset: 9,
  schedule: (totalSteps) => ({ kind: 'cosine', peak: 1e-2, final: 1e-3, warmupSteps: 1, totalSteps }),
  maximumNorm: 1,
  hyper: { weightDecay: 0 },
};

const lora: LoraTraining = { rank: 4, alpha: 8, weights: 'q4' };

/** Trains on the model in `folder/base`. With `stop` training is stopped after that step, as by Ctrl-C. */
async function train(
  folder: string,
  run: string,
  options: Partial<LanguageStageOptions> & { stop?: number } = {},
): Promise<StepMetrics[]> {
  const { stop, ...rest } = options;
  const base = join(folder, 'base');
  const metrics: StepMetrics[] = [];
  const controller = new AbortController();
  await trainLanguage(await testDevice(), stage, {
    run: join(folder, run),
    output: join(folder, run, 'model'),
    from: base,
    vision: join(base, 'vision_tokenizer'),
    cache: join(folder, 'corpora'),
    lora,
    checkpointEvery: 3,
    onMetrics: (figures) => {
      metrics.push(figures);
      if (figures.step === stop) controller.abort();
    },
    signal: controller.signal,
    ...rest,
  });
  return metrics;
}

async function logitsOf(folder: string, weights: ModelWeights): Promise<Float32Array> {
  const device = await testDevice();
  const config = await configOf(folder);
  const ids = Uint32Array.from({ length: 40 }, (_, index) => (index * 37) % 330);
  const scorer = await SequenceScorer.create(device, config, weights, { batch: 1, length: ids.length });
  const { logits } = await scorer.score({ ids });
  scorer.destroy();
  return logits;
}

async function configOf(folder: string): Promise<Emu3Config> {
  return parseTransformerConfig(await readFile(join(folder, 'config.json'), 'utf8'), folder);
}

describe('a stage with adapters', () => {
  it('trains them alone, resumes to the bit, and ends with the merged model and the adapters', async () => {
    await inTemporaryFolder(async (folder) => {
      const device = await testDevice();
      const base = await writeTinyModel(join(folder, 'base'), 64, 256);
      const before = await readFile(join(base, 'model.safetensors'));
      const whole = await train(folder, 'whole');
      const product = join(folder, 'whole', 'model');
      expect(whole.map(({ step }) => step)).toEqual([10, 20]);
      expect(whole[1].loss).toBeLessThan(whole[0].loss);

      expectError(await rejection(train(folder, 'halved', { stop: 10 })), 'aborted');
      expect(await readdir(join(folder, 'halved'))).not.toContain('model');
      expect((await train(folder, 'halved')).at(-1)).toEqual(whole[1]);
      for (const file of ['model.safetensors', join('adapter', 'adapter_model.safetensors')]) {
        const resumed = await readFile(join(folder, 'halved', 'model', file));
        expect(resumed.equals(await readFile(join(product, file))), file).toBe(true);
      }
      expect((await readFile(join(base, 'model.safetensors'))).equals(before)).toBe(true);

      const checkpoint = await loadTrainingCheckpoint((await latestCheckpoint(join(folder, 'whole'))) ?? '');
      expect(checkpoint.trainer.step).toBe(20);
      const names = [...checkpoint.weights.keys()];
      expect(names).toHaveLength(2 * 7 * 2);
      expect(names.filter((name) => !name.startsWith('base_model.model.'))).toEqual([]);

      // The merged model in bf16 is the packed base with the adapters beside it, to its rounding.
      const packed = (await loadQuantizedTransformer(device, diskFolder(base), { format: 'q4' })).parameters;
      const { adapters, baseModel } = await loadAdapters(device, diskFolder(join(product, 'adapter')), packed.shapes);
      expect(baseModel).toBe(base);
      expect(adapters.options).toMatchObject({ rank: 4, alpha: 8 });
      const merged = (await loadTransformer(device, diskFolder(product))).parameters;
      const adapted = await logitsOf(base, withAdapters(packed, adapters));
      expect(relativeError(await logitsOf(product, merged), adapted)).toBeLessThan(1e-2);
      expect(relativeError(adapted, await logitsOf(base, packed))).toBeGreaterThan(5e-2);
      for (const part of [packed, adapters, merged]) part.destroy();
      const emu3 = await Emu3.load({ device, folder: diskFolder(product) });
      expect((await emu3.generate({ prompt: 'a tiger', seed: 1 })).codes).toHaveLength(64);
      await emu3.destroy();

      for (const other of [
        { lora: { ...lora, rank: 2 } },
        { lora: { ...lora, weights: 'q8' as const } },
        { lora: undefined },
      ]) {
        expectError(await rejection(train(folder, 'halved', other)), 'config', 'another configuration');
      }
      // Adapters go with the weights they were trained on.
      await writeFile(join(base, 'model.safetensors'), await readFile(join(product, 'model.safetensors')));
      expectError(await rejection(train(folder, 'halved')), 'config', 'another configuration');
    });
  });

  it('needs a model to start from', async () => {
    await inTemporaryFolder(async (folder) => {
      expectError(await rejection(train(folder, 'run', { from: undefined })), 'argument', '--lora of rehearsal');
      expect(await readdir(folder)).toEqual([]);
    });
  });
});
