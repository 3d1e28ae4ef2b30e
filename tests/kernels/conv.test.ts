import { describe, expect, test } from 'vitest';
import type { KernelTraits } from '../../kernels/core/types.js';
import {
  convDataGradient,
  convForward,
  convOutputShape,
  convPackWeights,
  convWeightGradient,
  convWeightPartialShape,
  packedWeightShape,
  type ConvGeometry,
} from '../../kernels/conv/index.js';
import { convGradientsReference, convReference } from '../../kernels/conv/reference.js';
import { conv } from '../../engine/ops/conv.js';
import {
  checkGradients,
  dtypesToTest,
  expectClose,
  pseudoRandom,
  roundToDtype,
  runKernel,
  testDevice,
} from '../support/kernel.js';

type Clip = [number, number, number, number, number];

interface Case {
  name: string;
  x: Clip;
  channels: number;
  geometry: ConvGeometry;
}

const same3x3: ConvGeometry = { kernel: [1, 3, 3], stride: [1, 1, 1], before: [0, 1, 1], after: [0, 1, 1] };
const pointwise: ConvGeometry = { kernel: [1, 1, 1], stride: [1, 1, 1], before: [0, 0, 0], after: [0, 0, 0] };
const halving: ConvGeometry = { kernel: [1, 3, 3], stride: [1, 2, 2], before: [0, 0, 0], after: [0, 1, 1] };
const causal4: ConvGeometry = { kernel: [4, 3, 3], stride: [2, 1, 1], before: [2, 1, 1], after: [0, 1, 1] };

const cases: Case[] = [
  { name: 'one of everything', x: [1, 1, 1, 1, 1], channels: 1, geometry: pointwise },
  { name: '3x3 on one pixel', x: [1, 1, 1, 1, 5], channels: 3, geometry: same3x3 },
  { name: '3x3, odd sizes', x: [2, 1, 5, 7, 3], channels: 6, geometry: same3x3 },
  { name: '3x3, one past every tile', x: [1, 1, 9, 17, 17], channels: 33, geometry: same3x3 },
  { name: '3x3, to 17 channels', x: [1, 1, 7, 11, 6], channels: 17, geometry: same3x3 },
  { name: '3x3, of many pixels to few channels', x: [1, 3, 19, 23, 5], channels: 7, geometry: same3x3 },
  { name: 'halving, of many pixels from few channels', x: [2, 1, 24, 26, 3], channels: 10, geometry: halving },
  { name: '3x3, many channels', x: [1, 1, 4, 5, 65], channels: 68, geometry: same3x3 },
  { name: '3x3 to few channels', x: [2, 1, 6, 10, 32], channels: 3, geometry: same3x3 },
  { name: '3x3 from few channels', x: [2, 1, 6, 10, 3], channels: 32, geometry: same3x3 },
  { name: 'pointwise', x: [3, 2, 3, 5, 12], channels: 20, geometry: pointwise },
  { name: 'halving, even sizes', x: [2, 1, 8, 12, 8], channels: 12, geometry: halving },
  { name: 'halving, odd sizes', x: [1, 2, 7, 5, 4], channels: 9, geometry: halving },
  { name: 'causal, kernel 4, stride 2', x: [2, 4, 5, 3, 4], channels: 4, geometry: causal4 },
  {
    name: 'causal 3x1x1',
    x: [1, 3, 4, 3, 4],
    channels: 4,
    geometry: { kernel: [3, 1, 1], stride: [1, 1, 1], before: [2, 0, 0], after: [0, 0, 0] },
  },
  {
    name: 'uneven everything',
    x: [2, 5, 6, 11, 5],
    channels: 7,
    geometry: { kernel: [2, 3, 4], stride: [1, 2, 3], before: [1, 0, 2], after: [0, 2, 1] },
  },
];

/** Every file of the op, chosen by traits; all must be right on every adapter that can compile them. */
const variants: [string, (traits: KernelTraits) => KernelTraits][] = [
  ['as chosen', (traits) => traits],
  ['software without subgroups', (traits) => ({ ...traits, software: true, subgroups: false })],
  ['tiles for GPUs', (traits) => ({ ...traits, software: false })],
];

function sizeOf(x: Clip): { batch: number; time: number; height: number; width: number; channels: number } {
  return { batch: x[0], time: x[1], height: x[2], width: x[3], channels: x[4] };
}

function count(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

describe('conv', () => {
  for (const [variant, traitsOf] of variants) {
    test.each(cases)(`${variant}: $name matches the reference`, async ({ x, channels, geometry }) => {
      for (const dtype of await dtypesToTest()) {
        const out = convOutputShape('test', sizeOf(x), channels, geometry);
        const weightShape = [channels, x[4], ...geometry.kernel];
        const xData = roundToDtype(pseudoRandom(count(x), 1), dtype);
        const weightData = roundToDtype(pseudoRandom(count(weightShape), 2), dtype);
        const biasData = roundToDtype(pseudoRandom(channels, 3), dtype);
        const outGradient = pseudoRandom(count(out), 4);
        const traits = traitsOf((await testDevice()).traits);
        const partial = convWeightPartialShape(traits, {
          x: { shape: x, dtype },
          outGradient: { shape: out, dtype: 'f32' },
          weightShape,
        });
        const result = await runKernel({
          inputs: {
            x: { shape: x, data: xData, dtype },
            weight: { shape: weightShape, data: weightData, dtype },
            bias: { shape: [channels], data: biasData, dtype },
            outGradient: { shape: out, data: outGradient },
          },
          outputs: {
            packed: { shape: packedWeightShape(weightShape, false), dtype },
            transposed: { shape: packedWeightShape(weightShape, true), dtype },
            out: { shape: out, dtype },
            xGradient: { shape: x },
            partial: { shape: partial },
            weightGradient: { shape: weightShape },
          },
          calls: (t) => [
            convPackWeights(traits, { weight: t.weight, packed: t.packed, transposed: false }),
            convPackWeights(traits, { weight: t.weight, packed: t.transposed, transposed: true }),
            convForward(traits, { x: t.x, weight: t.packed, bias: t.bias, out: t.out, geometry }),
            convDataGradient(traits, {
              outGradient: t.outGradient,
              weight: t.transposed,
              xGradient: t.xGradient,
              geometry,
            }),
            ...convWeightGradient(traits, { ...t, geometry }),
          ],
        });
        const shapes = { x, out };
        const expected = convReference(xData, weightData, biasData, shapes, geometry);
        const gradients = convGradientsReference(xData, weightData, outGradient, shapes, geometry);
        const rounding = dtype === 'f16' ? 1e-3 : 1e-5;
        expectClose(result.out, expected, { absolute: 3e-5 + rounding, relative: rounding }, `${dtype} output`);
        expectClose(result.xGradient, gradients.x, { absolute: 3e-5, relative: 1e-5 }, `${dtype} x gradient`);
        expectClose(
          result.weightGradient,
          gradients.weight,
          { absolute: 3e-5, relative: 1e-5 },
          `${dtype} weight gradient`,
        );
      }
    });
  }

  test('sums many splits of the weight gradient, the same bits each time', async () => {
    const x: Clip = [4, 1, 64, 48, 8];
    const weightShape = [12, 8, 3, 3];
    const out = convOutputShape('test', sizeOf(x), 12, same3x3);
    const xData = pseudoRandom(count(x), 1);
    const outGradient = pseudoRandom(count(out), 4);
    const { traits } = await testDevice();
    const partial = convWeightPartialShape(traits, {
      x: { shape: x, dtype: 'f32' },
      outGradient: { shape: out, dtype: 'f32' },
      weightShape,
    });
    expect(partial[0]).toBeGreaterThan(1);
    const run = (): Promise<Record<'partial' | 'weightGradient', Float32Array>> =>
      runKernel({
        inputs: { x: { shape: x, data: xData }, outGradient: { shape: out, data: outGradient } },
        outputs: { partial: { shape: partial }, weightGradient: { shape: weightShape } },
        calls: (t) => convWeightGradient(traits, { ...t, geometry: same3x3 }),
      });
    const [first, second] = [await run(), await run()];
    expect(second.weightGradient).toEqual(first.weightGradient);
    const expected = convGradientsReference(
      xData,
      new Float64Array(count(weightShape)),
      outGradient,
      { x, out },
      same3x3,
    );
    expectClose(first.weightGradient, expected.weight, { absolute: 2e-4, relative: 1e-5 }, 'weight gradient');
  });

  test.each([
    { name: '3x3 from a 2-D weight', x: [2, 1, 4, 3, 4] as Clip, weight: [6, 4, 3, 3], geometry: same3x3, bias: true },
    { name: 'halving without bias', x: [1, 1, 6, 6, 3] as Clip, weight: [4, 3, 3, 3], geometry: halving, bias: false },
    { name: 'causal', x: [1, 4, 3, 2, 4] as Clip, weight: [4, 4, 4, 3, 3], geometry: causal4, bias: true },
  ])('gradients of $name', async ({ x, weight, geometry, bias }) => {
    const out = convOutputShape('test', sizeOf(x), weight[0], geometry);
    const inputs = {
      x: { shape: x, data: pseudoRandom(count(x), 1) },
      weight: { shape: weight, data: pseudoRandom(count(weight), 2) },
      ...(bias ? { bias: { shape: [weight[0]], data: pseudoRandom(weight[0], 3) } } : {}),
    };
    await checkGradients<string>({
      inputs,
      build: (graph, t) => conv(graph, t.x, t.weight, bias ? t.bias : undefined, geometry),
      reference: (values) =>
        convReference(values.x, values.weight, bias ? values.bias : undefined, { x, out }, geometry),
    });
  });

  test('refuses operands that do not fit together', async () => {
    const { traits } = await testDevice();
    const f32 = (...shape: number[]): { shape: number[]; dtype: 'f32' } => ({ shape, dtype: 'f32' });
    const packed = f32(...packedWeightShape([5, 4, 3, 3], false));
    const call =
      (x: number[], out: number[], geometry = same3x3) =>
      () =>
        convForward(traits, { x: f32(...x), weight: packed, out: f32(...out), geometry });
    expect(call([1, 1, 6, 6, 4], [1, 1, 6, 6, 5])).not.toThrow();
    expect(call([1, 6, 6, 4], [1, 1, 6, 6, 5])).toThrow(/batch, time, height, width, channels/);
    expect(call([1, 1, 6, 6, 4], [1, 1, 6, 5, 5])).toThrow(/geometry makes \[1, 1, 6, 6, 5\]/);
    expect(call([1, 1, 6, 6, 16], [1, 1, 6, 6, 5])).toThrow(/packed/);
    expect(call([1, 1, 6, 6, 4], [1, 1, 6, 6, 5], { ...same3x3, before: [0, 3, 1] })).toThrow(/do not fit together/);
    expect(() => packedWeightShape([5, 4, 3], false)).toThrow(/Co, Ci/);
  });
});
