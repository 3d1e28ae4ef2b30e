import { describe, expect, test } from 'vitest';
import { crossEntropyBackwardReference, crossEntropyReference } from '../../kernels/cross-entropy/reference.js';
import {
  preferenceFiguresReference,
  preferenceReference,
  segmentSumReference,
  squaredErrorReference,
  weightedMeanReference,
} from '../../kernels/losses/reference.js';
import {
  preferenceFigureCount,
  preferenceFigures,
  preferenceForward,
  segmentSumForward,
  squaredErrorForward,
  squaredErrorPartials,
} from '../../kernels/losses/index.js';
import { targetWeights, tokenCrossEntropy } from '../../engine/ops/cross-entropy.js';
import { dpoLoss, meanSquaredError, segmentSum, weightedLosses, weightedMean } from '../../engine/ops/losses.js';
import { Graph, gradients, Program, type Tensor } from '../../engine/graph/index.js';
import { GpuTensor } from '../../engine/tensor.js';
import { checkGradients, expectClose, pseudoRandom, relativeError, runKernel, testDevice } from '../support/kernel.js';
import { readGolden, readGoldenJson } from '../support/golden.js';

const tight = { absolute: 1e-5, relative: 1e-4 };

describe('weighted mean', () => {
  const values = pseudoRandom(301, 1);
  const weights = pseudoRandom(301, 2).map((value, row) => (row % 3 === 0 ? 0 : row % 3 === 1 ? 0.5 : 1 + value * 0.1));

  test.each(['weight-sum', 'count', 7] as const)('divides by %s', async (divideBy) => {
    await checkGradients({
      inputs: { values: { shape: [301], data: values } },
      constants: {
        weights: { shape: [301], data: weights },
        seven: { shape: [1], data: Float32Array.of(7) },
      },
      build: (graph, t, constants) =>
        weightedMean(graph, t.values, constants['weights'], divideBy === 7 ? constants['seven'] : divideBy),
      reference: (v) => Float64Array.of(weightedMeanReference(v.values, weights, divideBy)),
      tolerance: { absolute: 1e-6, relative: 1e-4 },
      forwardTolerance: tight,
    });
  });

  test('is 0, with no gradient, when nothing counts', async () => {
    await checkGradients({
      inputs: { values: { shape: [5], data: pseudoRandom(5, 3) } },
      constants: { weights: { shape: [5], data: new Float32Array(5) } },
      build: (graph, t, constants) => weightedMean(graph, t.values, constants['weights'], 'count'),
      reference: () => Float64Array.of(0),
    });
  });
});

describe('sums of segments', () => {
  test.each([
    [1, 1],
    [3, 5],
    [7, 64],
    [2, 131],
  ])('%i segments of %i', async (segments, rowsPerSegment) => {
    await checkGradients({
      inputs: { values: { shape: [segments * rowsPerSegment], data: pseudoRandom(segments * rowsPerSegment, 4) } },
      build: (graph, t) => segmentSum(graph, t.values, rowsPerSegment, -1.5),
      reference: (v) => segmentSumReference(v.values, rowsPerSegment, -1.5),
      forwardTolerance: tight,
    });
  });

  test('refuses what does not divide', async () => {
    const run = runKernel({
      inputs: { values: { shape: [7], data: pseudoRandom(7, 1) } },
      outputs: { sums: { shape: [2] } },
      calls: (t, traits) => segmentSumForward(traits, { ...t, scale: 1 }),
    });
    await expect(run).rejects.toThrow(/7 values do not divide into 2/);
  });
});

describe('preference loss', () => {
  test.each([1, 3, 70])('gradients for %i pairs', async (pairs) => {
    const logp = (seed: number): Float32Array => pseudoRandom(pairs, seed).map((value) => value * 20 - 40);
    const [referenceChosen, referenceRejected] = [logp(7), logp(8)];
    await checkGradients({
      inputs: { chosen: { shape: [pairs], data: logp(5) }, rejected: { shape: [pairs], data: logp(6) } },
      constants: {
        referenceChosen: { shape: [pairs], data: referenceChosen },
        referenceRejected: { shape: [pairs], data: referenceRejected },
      },
      build: (graph, t, c) =>
        dpoLoss(graph, t.chosen, t.rejected, c['referenceChosen'], c['referenceRejected'], 0.1).loss,
      reference: (v) =>
        Float64Array.of(preferenceReference(v.chosen, v.rejected, referenceChosen, referenceRejected, 0.1).loss),
      forwardTolerance: tight,
      tolerance: tight,
    });
  });

  test('does not overflow at margins of +-1000', async () => {
    const result = await runKernel({
      inputs: {
        chosen: { shape: [2], data: Float32Array.of(1000, -1000) },
        rejected: { shape: [2], data: Float32Array.of(0, 0) },
        referenceChosen: { shape: [2], data: Float32Array.of(0, 0) },
        referenceRejected: { shape: [2], data: Float32Array.of(0, 0) },
      },
      outputs: { margins: { shape: [2] }, loss: { shape: [1] } },
      calls: (t, traits) => preferenceForward(traits, { ...t, beta: 1 }),
    });
    expect([...result.margins]).toEqual([1000, -1000]);
    expect(result.loss[0]).toBeCloseTo(500, 3);
  });
});

describe('figures of pairs', () => {
  test.each([true, false])('add up over steps (software: %s)', async (software) => {
    for (const pairs of [1, 3, 70, 257]) {
      const margins = pseudoRandom(pairs, 1).map((value, pair) => (pair % 5 === 2 ? 0 : value));
      const [chosen, rejected] = [pseudoRandom(pairs, 2), pseudoRandom(pairs, 3)].map((x) => x.map((v) => v * 90));
      const before = Float32Array.of(1, 2, 3, 4);
      const { figures } = await runKernel({
        inputs: {
          margins: { shape: [pairs], data: margins },
          chosen: { shape: [pairs], data: chosen },
          rejected: { shape: [pairs], data: rejected },
        },
        outputs: { figures: { shape: [preferenceFigureCount], initial: before } },
        calls: (t, traits) => preferenceFigures({ ...traits, software }, t),
      });
      const expected = preferenceFiguresReference(margins, chosen, rejected).map((sum, index) => sum + before[index]);
      expectClose(figures, expected, { absolute: 1e-3 }, `${pairs} pairs`);
      expect(figures[1]).toBe(expected[1]);
    }
  });

  test('refuses tensors of other sizes', async () => {
    const run = runKernel({
      inputs: {
        margins: { shape: [3], data: pseudoRandom(3, 1) },
        chosen: { shape: [3], data: pseudoRandom(3, 1) },
        rejected: { shape: [2], data: pseudoRandom(2, 1) },
      },
      outputs: { figures: { shape: [4] } },
      calls: (t, traits) => preferenceFigures(traits, t),
    });
    await expect(run).rejects.toThrow(/rejected must hold 3/);
  });
});

describe('squared error', () => {
  test.each([[1], [3, 5], [7, 129]])('shape %i %i', async (...shape: number[]) => {
    const count = shape.reduce((product, size) => product * size, 1);
    const target = pseudoRandom(count, 10);
    await checkGradients({
      inputs: { prediction: { shape, data: pseudoRandom(count, 9) } },
      constants: { target: { shape, data: target } },
      build: (graph, t, c) => meanSquaredError(graph, t.prediction, c['target'], 0.25),
      reference: (v) => Float64Array.of(squaredErrorReference(v.prediction, target, 0.25)),
      forwardTolerance: tight,
      tolerance: tight,
    });
  });

  test('the split for GPUs gives the same loss', async () => {
    const [a, b] = [pseudoRandom(10_007, 1), pseudoRandom(10_007, 2)];
    const device = await testDevice();
    const traits = { ...device.traits, software: false };
    const { loss } = await runKernel({
      inputs: { a: { shape: [10_007], data: a }, b: { shape: [10_007], data: b } },
      outputs: { partial: { shape: [squaredErrorPartials(traits)] }, loss: { shape: [1] } },
      calls: (t) => squaredErrorForward(traits, { ...t, scale: 2 }),
    });
    expectClose(loss, [squaredErrorReference(a, b, 2)], { relative: 1e-5 }, 'loss');
  });
});

test('losses add up with their coefficients', async () => {
  await checkGradients({
    inputs: {
      a: { shape: [1], data: Float32Array.of(1.5) },
      b: { shape: [1], data: Float32Array.of(-2) },
      c: { shape: [1], data: Float32Array.of(3) },
    },
    build: (graph, t) =>
      weightedLosses(graph, [
        [1, t.a],
        [0.25, t.b],
        [-2, t.c],
      ]),
    reference: (v) => Float64Array.of(v.a[0] + 0.25 * v.b[0] - 2 * v.c[0]),
  });
});

interface RecordedLosses {
  loss_mean: number;
  weighted: {
    vision_weight: number;
    vision_id_range: [number, number];
    loss_div_sum_w: number;
    loss_div_count: number;
  };
}

interface RecordedPreference {
  beta: number;
  policy_chosen_logps: number[];
  policy_rejected_logps: number[];
  ref_chosen_logps: number[];
  ref_rejected_logps: number[];
  dpo_logits: number[];
  dpo_loss: number;
}

async function evaluate(
  build: (graph: Graph, bind: (data: Float32Array | Int32Array, shape: number[]) => Tensor) => Tensor[],
): Promise<Float32Array[]> {
  const device = await testDevice();
  const graph = new Graph(device.traits);
  const owned: GpuTensor[] = [];
  const outputs = build(graph, (data, shape) => {
    const tensor = GpuTensor.from(device, shape, data instanceof Int32Array ? 'i32' : 'f32', data, 'input');
    owned.push(tensor);
    return graph.bind(tensor);
  });
  const program = await Program.compile(device, graph, { label: 'recorded losses', outputs });
  program.run();
  const values: Float32Array[] = [];
  for (const output of outputs) values.push(await program.output(output).readFloat32());
  program.destroy();
  for (const tensor of owned) tensor.destroy();
  return values;
}

describe('recorded PyTorch losses', () => {
  test('token losses and the three averages', async () => {
    const batch = readGolden('train/batch.safetensors');
    const losses = readGoldenJson('train/losses.json') as RecordedLosses;
    const [sequences, length, vocabulary] = batch['logits'].shape;
    const shifted = new Int32Array(sequences * length).fill(-100);
    for (let s = 0; s < sequences; s++) {
      for (let t = 0; t + 1 < length; t++) shifted[s * length + t] = batch['labels'].data[s * length + t + 1];
    }
    const { vision_id_range: visionRange, vision_weight: vision } = losses.weighted;
    const rows = shifted.length;
    const ones = Float32Array.from(shifted, (id) => (id < 0 ? 0 : 1));
    const logitsData = Float32Array.from(batch['logits'].data);
    const [tokens, mean, divSum, divCount, gradient] = await evaluate((graph, bind) => {
      const logits = bind(logitsData, [rows, vocabulary]);
      const targets = bind(shifted, [rows]);
      const { loss } = tokenCrossEntropy(graph, logits, targets);
      const weights = targetWeights(graph, targets, { visionRange, vision, text: 1 });
      const byWeight = weightedMean(graph, loss, weights, 'weight-sum');
      const found = gradients(graph, [[byWeight, bind(Float32Array.of(1), [1])]], [logits]).get(logits);
      if (found === undefined) throw new Error('the logits have no gradient');
      return [
        loss,
        weightedMean(graph, loss, bind(ones, [rows]), 'count'),
        byWeight,
        weightedMean(graph, loss, weights, 'count'),
        found,
      ];
    });
    for (let s = 0; s < sequences; s++) {
      const row = batch['token_ce'].data.slice(s * (length - 1), (s + 1) * (length - 1));
      expectClose(tokens.subarray(s * length, (s + 1) * length - 1), row, { absolute: 1e-4 }, `token_ce of row ${s}`);
    }
    expect(Math.abs(mean[0] - losses.loss_mean)).toBeLessThan(1e-5);
    expect(Math.abs(divSum[0] - losses.weighted.loss_div_sum_w)).toBeLessThan(1e-5);
    expect(Math.abs(divCount[0] - losses.weighted.loss_div_count)).toBeLessThan(1e-5);
    const weights = Float64Array.from(shifted, (id) =>
      id < 0 ? 0 : id >= visionRange[0] && id <= visionRange[1] ? vision : 1,
    );
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    const expected = crossEntropyBackwardReference(
      logitsData,
      shifted,
      weights.map((weight) => weight / total),
      vocabulary,
    );
    expect(relativeError(gradient, expected)).toBeLessThan(1e-5);
    expect(crossEntropyReference(logitsData, shifted, vocabulary).loss.length).toBe(rows);
  });

  test('preference loss', async () => {
    const recorded = readGoldenJson('train/dpo.json') as RecordedPreference;
    const [loss, margins] = await evaluate((graph, bind) => {
      const bindList = (list: number[]): Tensor => bind(Float32Array.from(list), [list.length]);
      const result = dpoLoss(
        graph,
        bindList(recorded.policy_chosen_logps),
        bindList(recorded.policy_rejected_logps),
        bindList(recorded.ref_chosen_logps),
        bindList(recorded.ref_rejected_logps),
        recorded.beta,
      );
      return [result.loss, result.margins];
    });
    expect(Math.abs(loss[0] - recorded.dpo_loss)).toBeLessThan(1e-5);
    expectClose(margins, recorded.dpo_logits, { absolute: 1e-5 }, 'margins');
  });
});
