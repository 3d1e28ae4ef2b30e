import type { KernelTraits } from '../../kernels/core/index.js';
import type { Tensor } from '../../engine/graph/index.js';
import { targetWeights, tokenCrossEntropy } from '../../engine/ops/cross-entropy.js';
import { embedding } from '../../engine/ops/embedding.js';
import { meanSquaredError, weightedMean } from '../../engine/ops/losses.js';
import { codebookLoss, commitmentLoss, quantize } from '../../engine/ops/vector-quantizer.js';
import { adamwStep, initialOptimizerState, optimizerStateLength } from '../../engine/train/optimizer.js';
import type { Workbench } from '../workbench.js';
import { largeSizes, type KernelCase, type LanguageSizes } from './types.js';

function tokenLoss(bench: Workbench, rows: number, sizes: LanguageSizes): Tensor[] {
  const { graph } = bench;
  const logits = bench.values([rows, sizes.vocabulary]);
  const targets = bench.integers([rows], sizes.vocabulary, 'i32');
  const { loss } = tokenCrossEntropy(graph, logits, targets);
  const weights = targetWeights(graph, targets, {
    visionRange: [sizes.vocabulary - sizes.visionIds, sizes.vocabulary - 1],
    vision: 0.5,
    text: 1,
  });
  const mean = weightedMean(graph, loss, weights, 'weight-sum');
  return [mean, ...bench.gradients(mean, [logits])];
}

function optimizerStep(bench: Workbench, parameters: number): [] {
  const constant = (value: number, elements = parameters): Tensor =>
    bench.given([elements], 'f32', new Float32Array(elements).fill(value));
  const state = initialOptimizerState({
    schedule: { kind: 'cosine', peak: 1e-4, final: 1e-5, warmupSteps: 10, totalSteps: 1000 },
    maximumNorm: 1,
  });
  const block = {
    parameters: bench.values([parameters]),
    gradients: bench.values([parameters]),
    firstMoment: constant(0),
    secondMoment: constant(1e-4),
    decayMask: constant(1, parameters / 64),
  };
  adamwStep(bench.graph, [block], bench.given([optimizerStateLength], 'f32', state));
  return [];
}

function nearestCodes(name: string, vectors: number, codes: number, channels: number): KernelCase {
  return {
    op: 'nearest code',
    sizes: `${name}, ${vectors} latents, ${codes} codes of ${channels}`,
    build: (bench) => {
      const found = quantize(bench.graph, bench.values([vectors, channels]), bench.values([codes, channels]));
      return [found.codes, found.quantized];
    },
  };
}

/** Losses, embedding, codebook and optimiser. */
export function trainingCases(
  traits: KernelTraits,
  nano: LanguageSizes,
  training: { rows: number; parameters: number; codes: number },
): KernelCase[] {
  const { rows, parameters, codes } = training;
  const parametersInWhole = Math.ceil(parameters / 64) * 64;
  const largeRows = traits.software ? 16 : 128;
  return [
    {
      op: 'cross-entropy with gradients',
      sizes: `nano training, ${rows} x ${nano.vocabulary}`,
      build: (bench) => tokenLoss(bench, rows, nano),
    },
    {
      op: 'cross-entropy with gradients',
      sizes: `8B, ${largeRows} x ${largeSizes.vocabulary}`,
      build: (bench) => tokenLoss(bench, largeRows, largeSizes),
    },
    {
      op: 'embedding with gradients',
      sizes: `nano training, ${rows} of ${nano.vocabulary} x ${nano.hidden}`,
      build: (bench) => {
        const table = bench.values([nano.vocabulary, nano.hidden]);
        const out = embedding(bench.graph, bench.integers([rows], nano.vocabulary), table);
        return [out, ...bench.gradients(out, [table])];
      },
    },
    {
      op: 'clipping and AdamW',
      sizes: `nano, ${parametersInWhole} parameters`,
      build: (bench) => optimizerStep(bench, parametersInWhole),
    },
    nearestCodes('nano tokenizer', 256, codes, 8),
    nearestCodes('full-width tokenizer', 4096, 32768, 4),
    {
      op: 'codebook and commitment loss with gradients',
      sizes: `nano tokenizer, 256 latents, ${codes} codes of 8`,
      build: (bench) => {
        const [latents, codebook] = [bench.values([256, 8]), bench.values([codes, 8])];
        const found = quantize(bench.graph, latents, codebook);
        const first = codebookLoss(bench.graph, latents, codebook, found);
        const second = commitmentLoss(bench.graph, latents, found.quantized, 0.25);
        return [first, second, ...bench.gradients(first, [codebook]), ...bench.gradients(second, [latents])];
      },
    },
    {
      op: 'squared error with gradients',
      sizes: 'nano tokenizer, 4 x 64 x 64 x 3',
      build: (bench) => {
        const [made, wanted] = [bench.values([4, 1, 64, 64, 3]), bench.values([4, 1, 64, 64, 3])];
        const loss = meanSquaredError(bench.graph, made, wanted);
        return [loss, ...bench.gradients(loss, [made])];
      },
    },
  ];
}
