import { describe, expect, test } from 'vitest';
import { batchNormLayout, runningStatistics, updateRunningStatistics } from '../../kernels/batch-norm/index.js';
import { batchNormReference, updateRunningReference } from '../../kernels/batch-norm/reference.js';
import { groupNormalize, groupPartialShape, groupStatistics } from '../../kernels/group-norm/index.js';
import { Graph, Program } from '../../engine/graph/index.js';
import { batchNorm } from '../../engine/ops/batch-norm.js';
import { GpuTensor } from '../../engine/tensor.js';
import { checkGradients, expectClose, pseudoRandom, runKernel, testDevice } from '../support/kernel.js';

const shapes: number[][] = [
  [2, 1],
  [1, 3, 5, 7, 4],
  [2, 2, 9, 9, 33],
];

function count(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

function inputsOf(shape: readonly number[]): Record<'x' | 'weight' | 'bias' | 'mean' | 'variance', Float32Array> {
  const channels = shape[shape.length - 1];
  return {
    x: pseudoRandom(count(shape), 1).map((value, index) => value + (index % channels)),
    weight: pseudoRandom(channels, 2),
    bias: pseudoRandom(channels, 3),
    mean: pseudoRandom(channels, 4),
    variance: pseudoRandom(channels, 5).map((value) => 1.5 + value),
  };
}

describe('batch-norm', () => {
  test.each([true, false])('matches the reference in both modes (software: %s)', async (software) => {
    for (const shape of shapes) {
      const channels = shape[shape.length - 1];
      const { x, weight, bias, mean, variance } = inputsOf(shape);
      const layout = batchNormLayout({ shape, dtype: 'f32' });
      const result = await runKernel({
        inputs: {
          x: { shape, data: x },
          weight: { shape: [channels], data: weight },
          bias: { shape: [channels], data: bias },
          fixedMean: { shape: [channels], data: mean },
          fixedVariance: { shape: [channels], data: variance },
        },
        outputs: {
          partial: { shape: groupPartialShape(layout) },
          statistics: { shape: [3, 1, channels] },
          fixed: { shape: [3, 1, channels] },
          runningMean: { shape: [channels], initial: mean },
          runningVariance: { shape: [channels], initial: variance },
          trained: { shape },
          evaluated: { shape },
        },
        calls: (t, deviceTraits) => {
          const traits = { ...deviceTraits, software };
          const affine = { x: t.x, weight: t.weight, bias: t.bias, layout, silu: false };
          const running = { runningMean: t.fixedMean, runningVariance: t.fixedVariance };
          return [
            ...groupStatistics(traits, { ...t, layout, epsilon: 1e-5 }),
            updateRunningStatistics(traits, { ...t, layout, momentum: 0.1 }),
            groupNormalize(traits, { ...affine, statistics: t.statistics, out: t.trained }),
            runningStatistics(traits, { ...running, statistics: t.fixed, epsilon: 1e-5 }),
            groupNormalize(traits, { ...affine, statistics: t.fixed, out: t.evaluated }),
          ];
        },
      });
      const tolerance = { absolute: 2e-5, relative: 2e-5 };
      const label = `[${shape.join(', ')}]`;
      const running = { mean, variance };
      const updated = updateRunningReference(x, running, 0.1);
      expectClose(result.runningMean, updated.mean, tolerance, `running mean ${label}`);
      expectClose(result.runningVariance, updated.variance, tolerance, `running variance ${label}`);
      expectClose(result.trained, batchNormReference(x, weight, bias, 1e-5), tolerance, `training ${label}`);
      expectClose(
        result.evaluated,
        batchNormReference(x, weight, bias, 1e-5, running),
        tolerance,
        `evaluation ${label}`,
      );
    }
  });

  test.each([true, false])('gradients of the op (training: %s)', async (training) => {
    const shape = [2, 2, 3, 2, 5];
    const { x, weight, bias, mean, variance } = inputsOf(shape);
    const running = { mean, variance };
    await checkGradients({
      inputs: { x: { shape, data: x }, weight: { shape: [5], data: weight }, bias: { shape: [5], data: bias } },
      constants: { mean: { shape: [5], data: mean }, variance: { shape: [5], data: variance } },
      build: (graph, t, constants) =>
        batchNorm(graph, t.x, {
          weight: t.weight,
          bias: t.bias,
          runningMean: constants.mean,
          runningVariance: constants.variance,
          training,
          epsilon: 1e-5,
        }),
      reference: (values) =>
        batchNormReference(values.x, values.weight, values.bias, 1e-5, training ? undefined : running),
    });
  });

  test('every run in training moves the running statistics once', async () => {
    const device = await testDevice();
    const shape = [6, 3];
    const { x, weight, bias, mean, variance } = inputsOf(shape);
    const tensor = (data: Float32Array, size: readonly number[], label: string): GpuTensor =>
      GpuTensor.from(device, size, 'f32', data, label);
    const owned = {
      x: tensor(x, shape, 'x'),
      weight: tensor(weight, [3], 'weight'),
      bias: tensor(bias, [3], 'bias'),
      mean: tensor(mean, [3], 'running mean'),
      variance: tensor(variance, [3], 'running variance'),
    };
    const graph = new Graph(device.traits);
    const out = batchNorm(graph, graph.bind(owned.x), {
      weight: graph.bind(owned.weight),
      bias: graph.bind(owned.bias),
      runningMean: graph.bind(owned.mean),
      runningVariance: graph.bind(owned.variance),
      training: true,
      epsilon: 1e-5,
    });
    const program = await Program.compile(device, graph, { label: 'batch-norm', outputs: [out] });
    program.run();
    program.run();
    const once = updateRunningReference(x, { mean, variance }, 0.1);
    const twice = updateRunningReference(x, once, 0.1);
    expectClose(await owned.mean.readFloat32(), twice.mean, { absolute: 1e-5 }, 'running mean');
    expectClose(await owned.variance.readFloat32(), twice.variance, { absolute: 1e-5 }, 'running variance');
    program.destroy();
    for (const each of Object.values(owned)) each.destroy();
  });

  test('refuses to train on one value per channel', async () => {
    const { traits } = await testDevice();
    const f32 = (...shape: number[]): { shape: number[]; dtype: 'f32' } => ({ shape, dtype: 'f32' });
    const layout = batchNormLayout(f32(1, 4));
    const running = { runningMean: f32(4), runningVariance: f32(4) };
    expect(() =>
      updateRunningStatistics(traits, { statistics: f32(3, 1, 4), ...running, layout, momentum: 0.1 }),
    ).toThrow(/more than one value per channel/);
    expect(() => batchNormLayout(f32())).toThrow(/no axes/);
  });
});
