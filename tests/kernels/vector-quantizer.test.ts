import { describe, expect, test } from 'vitest';
import {
  clearCodeCounts,
  codebookBackward,
  codebookLookup,
  countCodes,
  quantizeForward,
  quantizeSplits,
  reviveCodes,
} from '../../kernels/vector-quantizer/index.js';
import {
  codebookLossReference,
  countCodesReference,
  quantizeReference,
  revivalLatent,
} from '../../kernels/vector-quantizer/reference.js';
import { codebookLoss, commitmentLoss, quantize, straightThrough } from '../../engine/ops/vector-quantizer.js';
import { meanSquaredError, weightedLosses } from '../../engine/ops/losses.js';
import {
  checkGradients,
  dtypesToTest,
  expectClose,
  pseudoRandom,
  roundToDtype,
  runKernel,
  runKernelTyped,
  testDevice,
} from '../support/kernel.js';
import { readGolden } from '../support/golden.js';

async function quantizeOnGpu(
  latents: Float32Array,
  codebook: Float32Array,
  dimension: number,
  software: boolean,
  dtype: 'f32' | 'f16' = 'f32',
): Promise<{ codes: Float32Array; quantized: Float32Array }> {
  const device = await testDevice();
  const traits = { ...device.traits, software };
  const count = latents.length / dimension;
  const size = codebook.length / dimension;
  const splits = quantizeSplits(traits, count, size);
  return runKernel({
    inputs: {
      latents: { shape: [count, dimension], data: latents, dtype },
      codebook: { shape: [size, dimension], data: codebook },
    },
    outputs: {
      splitDistance: { shape: [splits * count] },
      splitCode: { shape: [splits * count], dtype: 'u32' },
      codes: { shape: [count], dtype: 'u32' },
      quantized: { shape: [count, dimension] },
    },
    calls: (t) => quantizeForward(traits, t),
  });
}

describe('nearest code', () => {
  test.each([true, false])('matches the reference (software tiles: %s)', async (software) => {
    for (const dtype of await dtypesToTest()) {
      if (dtype !== 'f32' && dtype !== 'f16') continue;
      for (const [count, size, dimension] of [
        [1, 1, 1],
        [7, 5, 3],
        [65, 129, 4],
        [129, 512, 4],
        [33, 1000, 7],
        [9, 300, 32],
      ]) {
        const latents = roundToDtype(pseudoRandom(count * dimension, 1), dtype);
        const codebook = pseudoRandom(size * dimension, 2);
        const expected = quantizeReference(latents, codebook, dimension);
        const label = `${dtype} [${count}, ${dimension}] in ${size}`;
        expect(Math.min(...expected.border), `${label}: the case must not hang on rounding`).toBeGreaterThan(1e-6);
        const result = await quantizeOnGpu(latents, codebook, dimension, software, dtype);
        expect(result.codes, label).toEqual(Float32Array.from(expected.codes));
        expectClose(result.quantized, expected.quantized, { absolute: 0 }, label);
      }
    }
  });

  test.each([true, false])(
    'the first index wins a tie, within and across splits (software tiles: %s)',
    async (software) => {
      // Every row of the codebook occurs again and again, so each latent is tied between 64 rows far apart.
      const rows = pseudoRandom(8 * 4, 3);
      const codebook = Float32Array.from({ length: 512 * 4 }, (_, i) => rows[i % rows.length]);
      const latents = pseudoRandom(19 * 4, 4);
      const { codes } = await quantizeOnGpu(latents, codebook, 4, software);
      expect(codes).toEqual(Float32Array.from(quantizeReference(latents, rows, 4).codes));
    },
  );

  test('codes of the recorded latents are exact', async () => {
    const codebook = readGolden('vq/model.safetensors')['quantize.embedding.weight'];
    const [, dimension] = codebook.shape;
    for (const file of ['image', 'batch', 'odd', 'video']) {
      const { latent, codes } = readGolden(`vq/${file}.safetensors`);
      const [height, width] = codes.shape.slice(-2);
      const area = height * width;
      // [.., d, h, w] -> [.., h, w, d]
      const channelsLast = Float32Array.from({ length: latent.data.length }, (_, i) => {
        const channel = i % dimension;
        const place = Math.floor(i / dimension) % area;
        return latent.data[Math.floor(i / (dimension * area)) * dimension * area + channel * area + place];
      });
      const result = await quantizeOnGpu(channelsLast, Float32Array.from(codebook.data), dimension, true);
      expect([...result.codes], file).toEqual([...codes.data]);
    }
  });

  test('looks codes up, with zeros for codes beyond the codebook', async () => {
    for (const dtype of await dtypesToTest()) {
      const codebook = pseudoRandom(6 * 3, 5);
      const { quantized } = await runKernel({
        inputs: {
          codes: { shape: [4], data: Uint32Array.of(5, 0, 6, 2), dtype: 'u32' },
          codebook: { shape: [6, 3], data: codebook },
        },
        outputs: { quantized: { shape: [2, 2, 3], dtype } },
        calls: (t, traits) => codebookLookup(traits, t),
      });
      const rounded = roundToDtype(codebook, dtype);
      const expected = [5, 0, 6, 2].flatMap((code) => [0, 1, 2].map((j) => (code < 6 ? rounded[code * 3 + j] : 0)));
      expectClose(quantized, expected, { absolute: 1e-3 }, dtype);
    }
  });

  test('refuses shapes that do not fit', async () => {
    await expect(quantizeOnGpu(pseudoRandom(66, 1), pseudoRandom(66, 2), 33, true)).rejects.toThrow(/codebook must be/);
    const run = runKernel({
      inputs: {
        codes: { shape: [4], data: new Uint32Array(4), dtype: 'u32' },
        codebook: { shape: [6, 3], data: pseudoRandom(18, 5) },
      },
      outputs: { quantized: { shape: [4, 4] } },
      calls: (t, traits) => codebookLookup(traits, t),
    });
    await expect(run).rejects.toThrow(/latents must be \[.., 3\]/);
  });
});

describe('codebook training', () => {
  const [count, size, dimension] = [37, 19, 4];
  const latents = pseudoRandom(count * dimension, 6);
  const codebook = pseudoRandom(size * dimension, 7);
  const { codes, quantized } = quantizeReference(latents, codebook, dimension);

  test('the codebook loss moves the codebook only', async () => {
    await checkGradients({
      inputs: { codebook: { shape: [size, dimension], data: codebook } },
      constants: { latents: { shape: [count, dimension], data: latents } },
      build: (graph, t, c) => codebookLoss(graph, c['latents'], t.codebook, quantize(graph, c['latents'], t.codebook)),
      reference: (v) => Float64Array.of(codebookLossReference(latents, v.codebook, codes, dimension)),
      tolerance: { absolute: 1e-6, relative: 1e-4 },
    });
  });

  test('the commitment loss moves the latents only, by beta', async () => {
    await checkGradients({
      inputs: { latents: { shape: [count, dimension], data: latents } },
      constants: { codebook: { shape: [size, dimension], data: codebook } },
      build: (graph, t, c) =>
        commitmentLoss(graph, t.latents, quantize(graph, t.latents, c['codebook']).quantized, 0.25),
      reference: (v) => Float64Array.of(0.25 * codebookLossReference(v.latents, codebook, codes, dimension)),
      tolerance: { absolute: 1e-6, relative: 1e-4 },
    });
  });

  test('the gradient passes the quantiser unchanged', async () => {
    const target = pseudoRandom(count * dimension, 8);
    await checkGradients({
      inputs: { latents: { shape: [count, dimension], data: latents } },
      constants: {
        codebook: { shape: [size, dimension], data: codebook },
        target: { shape: [count, dimension], data: target },
      },
      build: (graph, t, c) => {
        const chosen = quantize(graph, t.latents, c['codebook']);
        const through = straightThrough(graph, t.latents, chosen.quantized);
        return weightedLosses(graph, [
          [1, meanSquaredError(graph, through, c['target'])],
          [1, commitmentLoss(graph, t.latents, chosen.quantized, 0.25)],
        ]);
      },
      // z + stopgrad(q - z): moves with z, from the value of q at the point of differentiation.
      reference: (v) => {
        let sum = 0;
        for (let i = 0; i < target.length; i++) sum += (v.latents[i] + (quantized[i] - latents[i]) - target[i]) ** 2;
        return Float64Array.of(
          sum / target.length + 0.25 * codebookLossReference(v.latents, codebook, codes, dimension),
        );
      },
      tolerance: { absolute: 1e-6, relative: 1e-4 },
    });
  });

  test.each([true, false])('counts and scatters the same in two runs (software tiles: %s)', async (software) => {
    const [many, few, wide] = [1001, 65, 5];
    const points = pseudoRandom(many * wide, 9);
    const book = pseudoRandom(few * wide, 10);
    const chosen = Uint32Array.from({ length: many }, (_, p) => (p * p + 3) % (few - 1));
    const run = () =>
      runKernelTyped({
        inputs: {
          latents: { shape: [many, wide], data: points },
          codebook: { shape: [few, wide], data: book },
          codes: { shape: [many], data: chosen, dtype: 'u32' },
          lossGradient: { shape: [1], data: Float32Array.of(0.5) },
        },
        outputs: { counts: { shape: [few], dtype: 'u32' }, codebookGradient: { shape: [few, wide] } },
        calls: (t, traits) => [
          clearCodeCounts({ ...traits, software }, t),
          countCodes({ ...traits, software }, { codes: t.codes, counts: t.counts }),
          codebookBackward({ ...traits, software }, t),
        ],
      });
    const result = await run();
    expect(result.counts).toEqual(countCodesReference(chosen, few));
    const expected = new Float64Array(few * wide);
    chosen.forEach((code, p) => {
      for (let j = 0; j < wide; j++) {
        expected[code * wide + j] += ((0.5 * 2) / (many * wide)) * (book[code * wide + j] - points[p * wide + j]);
      }
    });
    expectClose(result.codebookGradient, expected, { absolute: 1e-8, relative: 1e-5 }, 'gradient');
    expect((await run()).codebookGradient).toEqual(result.codebookGradient);
  });

  test('codes that are not used take a latent of the batch, the same for the same seed', async () => {
    const counts = Uint32Array.from({ length: size }, (_, code) => code % 4);
    const result = await runKernelTyped({
      inputs: {
        latents: { shape: [count, dimension], data: latents },
        state: { shape: [1], data: Uint32Array.of(42), dtype: 'u32' },
      },
      outputs: {
        counts: { shape: [size], dtype: 'u32', initial: counts },
        codebook: { shape: [size, dimension], initial: codebook },
        revived: { shape: [size], dtype: 'u32' },
      },
      calls: (t, traits) => reviveCodes(traits, { ...t, minimumCount: 2 }),
    });
    const sources = new Set<number>();
    for (let code = 0; code < size; code++) {
      const dead = code % 4 < 2;
      const from = revivalLatent(42, code, count);
      const source = dead ? latents : codebook;
      const place = (dead ? from : code) * dimension;
      if (dead) sources.add(from);
      expect(result.codebook.subarray(code * dimension, (code + 1) * dimension), `code ${code}`).toEqual(
        source.subarray(place, place + dimension),
      );
      expect(result.revived[code]).toBe(dead ? 1 : 0);
    }
    expect([...result.counts].every((value) => value === 0)).toBe(true);
    expect(sources.size).toBeGreaterThan(5);
  });
});
