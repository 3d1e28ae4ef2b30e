import { describe, expect, test } from 'vitest';
import {
  groupNormalize,
  groupPartialShape,
  groupStatistics,
  groupStatisticsShape,
} from '../../kernels/group-norm/index.js';
import { groupNormReference } from '../../kernels/group-norm/reference.js';
import { Graph, Program, type Tensor } from '../../engine/graph/index.js';
import { bandedStatistics, groupNorm } from '../../engine/ops/group-norm.js';
import { GpuTensor } from '../../engine/tensor.js';
import {
  checkGradients,
  dtypesToTest,
  expectClose,
  pseudoRandom,
  roundToDtype,
  runKernel,
  testDevice,
} from '../support/kernel.js';

const layouts = [
  { frames: 1, pixels: 1, channels: 1, groups: 1 },
  { frames: 2, pixels: 3, channels: 6, groups: 2 },
  { frames: 3, pixels: 65, channels: 32, groups: 32 },
  { frames: 1, pixels: 131, channels: 66, groups: 33 },
  { frames: 2, pixels: 4099, channels: 9, groups: 3 },
];

/** Uneven values with a mean far from zero, which differs between channels, pixels and frames. */
function values(count: number, channels: number): Float32Array {
  return pseudoRandom(count, 11).map((value, index) => value * (1 + (index % channels)) + 20 + (index % 7));
}

describe('group-norm', () => {
  test.each([true, false])('matches the reference (software: %s)', async (software) => {
    for (const dtype of await dtypesToTest()) {
      for (const layout of layouts) {
        for (const silu of [false, true]) {
          const { channels } = layout;
          const count = layout.frames * layout.pixels * channels;
          const x = roundToDtype(values(count, channels), dtype);
          const weight = roundToDtype(pseudoRandom(channels, 2), dtype);
          const bias = roundToDtype(pseudoRandom(channels, 3), dtype);
          const result = await runKernel({
            inputs: {
              x: { shape: [count], data: x, dtype },
              weight: { shape: [channels], data: weight, dtype },
              bias: { shape: [channels], data: bias, dtype },
            },
            outputs: {
              partial: { shape: groupPartialShape(layout) },
              statistics: { shape: groupStatisticsShape(layout) },
              out: { shape: [count], dtype },
            },
            calls: (t, traits) => [
              ...groupStatistics({ ...traits, software }, { ...t, layout, epsilon: 1e-6 }),
              groupNormalize({ ...traits, software }, { ...t, layout, silu }),
            ],
          });
          const expected = groupNormReference(x, weight, bias, layout, { epsilon: 1e-6, silu });
          const tolerance = dtype === 'f16' ? 2e-3 : 2e-5;
          // One pixel of one channel has no variance: what rounding leaves is divided by the square root of epsilon.
          const absolute = count === 1 ? 2e-2 : tolerance;
          expectClose(
            result.out,
            expected,
            { absolute, relative: tolerance },
            `${dtype} ${JSON.stringify({ ...layout, silu })}`,
          );
        }
      }
    }
  });

  test.each([
    { shape: [2, 1, 2, 3, 8], groups: 4, silu: false },
    { shape: [1, 2, 3, 3, 6], groups: 6, silu: true },
    { shape: [1, 1, 10, 13, 4], groups: 2, silu: true },
  ])('gradients of $shape in $groups groups (SiLU: $silu)', async ({ shape, groups, silu }) => {
    const [batch, time, height, width, channels] = shape;
    const layout = { frames: batch * time, pixels: height * width, channels, groups };
    const count = batch * time * height * width * channels;
    await checkGradients({
      inputs: {
        x: { shape, data: pseudoRandom(count, 1).map((value, index) => value + 0.1 * (index % channels)) },
        weight: { shape: [channels], data: pseudoRandom(channels, 2) },
        bias: { shape: [channels], data: pseudoRandom(channels, 3) },
      },
      build: (graph, t) => groupNorm(graph, t.x, { weight: t.weight, bias: t.bias, groups, epsilon: 1e-6, silu }),
      reference: ({ x, weight, bias }) => groupNormReference(x, weight, bias, layout, { epsilon: 1e-6, silu }),
    });
  });

  test('normalises bands by the statistics of the whole', async () => {
    const device = await testDevice();
    const [height, width, channels, groups] = [6, 5, 12, 3];
    const whole = pseudoRandom(height * width * channels, 4).map((value, index) => value + 0.01 * index);
    const layout = { frames: 1, pixels: height * width, channels, groups };
    const graph = new Graph(device.traits);
    const bind = (label: string, shape: number[], data: Float32Array): Tensor =>
      graph.bind(GpuTensor.from(device, shape, 'f32', data, label));
    const affine = { weight: pseudoRandom(channels, 5), bias: pseudoRandom(channels, 6) };
    const weight = bind('weight', [channels], affine.weight);
    const bias = bind('bias', [channels], affine.bias);
    const row = width * channels;
    const bands = [3, 2, 1].map((rows, index) => {
      const start = [0, 3, 5][index];
      return bind(`band ${index}`, [1, 1, rows, width, channels], whole.slice(start * row, (start + rows) * row));
    });
    const statistics = bandedStatistics(graph, bands, { groups, epsilon: 1e-6 });
    const outputs = bands.map((x) => groupNorm(graph, x, { weight, bias, groups, epsilon: 1e-6, statistics }));
    const program = await Program.compile(device, graph, { label: 'bands', outputs });
    program.run();
    const parts = await Promise.all(outputs.map((out) => program.output(out).readFloat32()));
    const expected = groupNormReference(whole, affine.weight, affine.bias, layout, { epsilon: 1e-6 });
    expectClose(
      parts.flatMap((part) => [...part]),
      expected,
      { absolute: 1e-5 },
      'normalised bands',
    );
  });

  test('refuses groups that do not divide the channels, and wrong sizes', async () => {
    const { traits } = await testDevice();
    const f32 = (...shape: number[]): { shape: number[]; dtype: 'f32' } => ({ shape, dtype: 'f32' });
    const layout = { frames: 1, pixels: 4, channels: 6, groups: 4 };
    const call =
      (x: number[], groups: number, partial = [1, 1, 2, 6]) =>
      () =>
        groupStatistics(traits, {
          x: f32(...x),
          partial: f32(...partial),
          statistics: f32(1),
          layout: { ...layout, groups },
          epsilon: 1e-6,
        });
    expect(call([4, 6], 3)).not.toThrow();
    expect(call([4, 6], 4)).toThrow(/6 channels cannot be divided into 4 groups/);
    expect(call([4, 5], 3)).toThrow(/1 x 4 x 6/);
    expect(call([4, 6], 3, [1, 2, 2, 6])).toThrow(/partial is \[1, 2, 2, 6\] where 1 chunks/);
  });
});
