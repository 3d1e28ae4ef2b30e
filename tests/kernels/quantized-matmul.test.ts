import { describe, expect, test } from 'vitest';
import type { KernelCall } from '../../kernels/core/define.js';
import type { DType, KernelTraits } from '../../kernels/core/types.js';
import { quantizedShapes, type QuantizationFormat } from '../../kernels/quantize/index.js';
import { quantizedMatmul, quantizedMatmulInputGradient } from '../../kernels/quantized-matmul/index.js';
import {
  quantizedMatmulInputGradientReference,
  quantizedMatmulReference,
} from '../../kernels/quantized-matmul/reference.js';
import { fusedReference } from '../../kernels/matmul/reference.js';
import { dequantizeReference } from '../../kernels/quantize/reference.js';
import { quantizedLinear } from '../../engine/ops/quantized-linear.js';
import { fusionInputs, fusions, type TestFusion } from '../support/fusion.js';
import {
  checkGradients,
  dtypesToTest,
  expectClose,
  pseudoRandom,
  roundToDtype,
  runKernel,
  testDevice,
} from '../support/kernel.js';

/** The files there are: each is made to run on whatever adapter the tests have. */
const variants: Record<string, Partial<KernelTraits>> = {
  software: { software: true, subgroups: false },
  'software, subgroups': { software: true, subgroups: true },
  gpu: { software: false, subgroups: false },
  'gpu, subgroups': { software: false, subgroups: true },
};
const formats: QuantizationFormat[] = ['q4', 'q8'];

/** Rows, outputs, inputs. */
const shapes: [number, number, number][] = [
  [1, 1, 32],
  [1, 5, 96],
  [1, 67, 160],
  [1, 35, 1056],
  [2, 33, 32],
  [3, 17, 64],
  [4, 1, 160],
  [5, 16, 96],
  [6, 15, 32],
  [7, 4, 288],
  [8, 13, 96],
  [9, 65, 160],
  [17, 66, 96],
  [67, 129, 32],
];

async function adapterHas(traits: Partial<KernelTraits>): Promise<boolean> {
  return traits.subgroups !== true || (await testDevice()).traits.subgroups;
}

/** Any bit pattern is a weight, so these cover all levels; scales are halves of either sign between 2^-8 and 2^-4. */
function packedWeight(format: QuantizationFormat, n: number, k: number) {
  const shapes = quantizedShapes(format, [n, k]);
  const bits = (values: Float32Array): number[] => [...values].map((value) => Math.floor((value + 1) * 0x7fffffff));
  const half = (value: number): number => (value & 0x8fff) | 0x2000;
  const groups = k / 32;
  const data = Uint32Array.from(bits(pseudoRandom(shapes.data[0] * shapes.data[1], n + k)));
  const scales = Uint32Array.from(bits(pseudoRandom(shapes.scales[0] * shapes.scales[1], n + k + 1)), (value, word) => {
    const last = groups % 2 === 1 && word % shapes.scales[1] === shapes.scales[1] - 1;
    return half(value & 0xffff) + (last ? 0 : half(value >>> 16) * 0x10000);
  });
  return { shapes, data, scales };
}

/** `n` counts rows of the weight: twice the outputs of a gated product. */
async function check(
  [m, n, k]: readonly [number, number, number],
  format: QuantizationFormat,
  traits: Partial<KernelTraits>,
  types: readonly [DType, DType] = ['f32', 'f32'],
  change: Partial<Pick<KernelCall, 'overrides' | 'grid'>> = {},
  fusion: TestFusion = {},
): Promise<Float32Array> {
  const weight = packedWeight(format, n, k);
  const [typeX, typeOut] = types;
  const x = pseudoRandom(Math.max(m, 8) * k, 1).subarray(0, m * k);
  const outShape = [m, fusion.gated ? Math.floor(n / 2) : n] as const;
  const { inputs, of, reference } = fusionInputs(fusion, k, outShape, typeX);
  const { out } = await runKernel({
    inputs: {
      x: { shape: [m, k], data: x, dtype: typeX },
      data: { shape: weight.shapes.data, dtype: 'u32', data: weight.data },
      scales: { shape: weight.shapes.scales, dtype: 'u32', data: weight.scales },
      ...inputs,
    },
    outputs: { out: { shape: outShape, dtype: typeOut } },
    calls: (t, given) => {
      const weightOf = { format, shape: [n, k], data: t.data, scales: t.scales };
      const call = quantizedMatmul({ ...given, ...traits }, { x: t.x, weight: weightOf, out: t.out, ...of(t) });
      return { ...call, ...change };
    },
  });
  const sizes = { m, n, k, format };
  const values = dequantizeReference(weight.data, weight.scales, sizes);
  const exact = Float64Array.from(roundToDtype(x, typeX));
  const expected = fusedReference(exact, values, { m, n, depth: k }, reference);
  const largest = (format === 'q4' ? 8 : 128) / 16;
  const rounding = 1e-7 * largest * k * (fusion.normed ? 2 : 1);
  const [absolute, relative] =
    typeOut === 'f16' ? [1e-3, 1e-3] : fusion.gated ? [30 * rounding, 1e-4] : [rounding, 1e-7];
  const label = `${format} ${m} x ${k} -> ${n}, ${types.join(' ')} ${JSON.stringify(fusion)}`;
  expectClose(out, expected, { absolute, relative }, label);
  return out;
}

async function checkGradient(
  [m, n, k]: readonly [number, number, number],
  format: QuantizationFormat,
  traits: Partial<KernelTraits>,
): Promise<Float32Array> {
  const weight = packedWeight(format, n, k);
  const outGradient = pseudoRandom(m * n, 2);
  const { xGradient } = await runKernel({
    inputs: {
      outGradient: { shape: [m, n], data: outGradient },
      data: { shape: weight.shapes.data, dtype: 'u32', data: weight.data },
      scales: { shape: weight.shapes.scales, dtype: 'u32', data: weight.scales },
    },
    outputs: { xGradient: { shape: [m, k] } },
    calls: (t, given) =>
      quantizedMatmulInputGradient(
        { ...given, ...traits },
        {
          outGradient: t.outGradient,
          weight: { format, shape: [n, k], data: t.data, scales: t.scales },
          xGradient: t.xGradient,
        },
      ),
  });
  const sizes = { m, n, k, format };
  const expected = quantizedMatmulInputGradientReference(outGradient, weight.data, weight.scales, sizes);
  const largest = (format === 'q4' ? 8 : 128) / 16;
  expectClose(xGradient, expected, { absolute: 1e-7 * largest * n + 1e-6 }, `${format} gradient ${m} x ${n} -> ${k}`);
  return xGradient;
}

describe.each(Object.entries(variants))('quantized matmul, %s', (_, traits) => {
  test.each(formats)('%s equals the reference on awkward shapes', async (format) => {
    if (!(await adapterHas(traits))) return;
    for (const shape of shapes) await check(shape, format, traits);
  });

  test.each(formats)('%s takes f16 in and out', async (format) => {
    if (!(await adapterHas(traits)) || !(await dtypesToTest()).includes('f16')) return;
    for (const m of [1, 3, 9]) {
      await check([m, 5, 96], format, traits, ['f16', 'f32']);
      await check([m, 5, 96], format, traits, ['f32', 'f16']);
    }
  });

  test.each(formats)('%s gives the same bits every time', async (format) => {
    if (!(await adapterHas(traits))) return;
    for (const m of [1, 8, 9]) {
      const shape = [m, 37, 1056] as const;
      expect(await check(shape, format, traits)).toEqual(await check(shape, format, traits));
    }
  });
});

describe.each([
  ['software', true],
  ['gpu', false],
])('gradient of the input, %s', (_, software) => {
  test.each(formats)('%s equals the reference on awkward shapes', async (format) => {
    for (const shape of shapes) await checkGradient(shape, format, { software });
  });

  test.each(formats)('%s gives the same bits every time', async (format) => {
    const shape = [17, 66, 96] as const;
    expect(await checkGradient(shape, format, { software })).toEqual(await checkGradient(shape, format, { software }));
  });
});

describe('quantizedLinear', () => {
  test.each(formats)('%s has the gradient of its input, whatever its axes', async (format) => {
    for (const rows of [[3], [2, 5]]) {
      const [n, k] = [5, 96];
      const weight = packedWeight(format, n, k);
      const m = rows.reduce((product, size) => product * size, 1);
      await checkGradients({
        inputs: { x: { shape: [...rows, k], data: pseudoRandom(m * k, 3) } },
        constants: {
          data: { shape: weight.shapes.data, dtype: 'u32', data: weight.data },
          scales: { shape: weight.shapes.scales, dtype: 'u32', data: weight.scales },
        },
        build: (graph, { x }, { data, scales }) => quantizedLinear(graph, x, [{ format, shape: [n, k], data, scales }]),
        reference: ({ x }) => quantizedMatmulReference(x, weight.data, weight.scales, { m, n, k, format }),
      });
    }
  });
});

describe.each(Object.entries(variants))('fused quantized matmul, %s', (_, traits) => {
  test.each(fusions)('equals the reference on awkward shapes: %o', async (fusion) => {
    if (!(await adapterHas(traits))) return;
    // Software adapters fuse any number of rows.
    const some = shapes.filter(([m, n]) => m <= (traits.software ? 9 : 8) && n % 2 === 1);
    for (const [at, [m, n, k]] of some.entries()) {
      const rows = fusion.gated ? 2 * n : n;
      await check([m, rows, k], formats[at % 2], traits, ['f32', 'f32'], {}, fusion);
    }
    if (!(await dtypesToTest()).includes('f16')) return;
    await check([1, 10, 96], 'q4', traits, ['f16', 'f16'], {}, fusion);
  });

  test.each(fusions)('gives a row the same bits whatever other rows there are: %o', async (fusion) => {
    // Without either, the order of the last sums goes by the number of rows.
    if (!(await adapterHas(traits)) || !(traits.software || traits.subgroups)) return;
    const rows = (m: number) => check([m, 38, 288], 'q4', traits, ['f32', 'f32'], {}, fusion);
    const all = await rows(8);
    for (const m of [1, 2, 3]) expect(await rows(m)).toEqual(all.slice(0, (all.length / 8) * m));
  });
});

test('what cannot be fused is refused', async () => {
  const fused = (shape: readonly [number, number, number], software: boolean, fusion: TestFusion) =>
    expect(check(shape, 'q4', { software }, ['f32', 'f32'], {}, fusion)).rejects;
  await fused([2, 5, 32], true, { gated: true }).toThrow('2 rows by 5 outputs');
  await fused([9, 4, 32], false, { gated: true }).toThrow('9 rows by 4 outputs');
  await fused([9, 4, 32], false, { normed: true }).toThrow('9 rows by 4 outputs');
  await fused([9, 4, 32], false, { added: true }).toThrow('9 rows by 4 outputs');
});

test('a workgroup with few subgroups makes its outputs in several turns', async () => {
  const traits = { software: false, subgroups: true };
  if (!(await adapterHas(traits))) return;
  for (const format of formats) {
    for (const m of [1, 3]) {
      for (const threads of [8, 16])
        for (const fusion of [{}, { gated: true, normed: true }]) {
          const outputs = fusion.gated ? 70 : 35;
          const overrides = { WORKGROUP_SIZE: threads };
          await check([m, outputs, 288], format, traits, ['f32', 'f32'], { overrides }, fusion);
        }
    }
  }
});

test('finds its tile when the grid goes on along its second axis', async () => {
  for (const traits of Object.values(variants)) {
    if (!(await adapterHas(traits))) continue;
    // At least as many workgroups as any of the files wants for 67 outputs.
    await check([2, 67, 32], 'q4', traits, ['f32', 'f32'], { grid: [4, 5, 1] });
  }
  await check([9, 67, 32], 'q4', { software: false }, ['f32', 'f32'], { grid: [1, 3, 1] });
});

test('refuses operands that do not fit, naming them', async () => {
  const { traits } = await testDevice();
  const of = (shape: number[], dtype: DType = 'f32') => ({ shape, dtype });
  const weight = { format: 'q4' as const, shape: [3, 64], data: of([3, 8], 'u32'), scales: of([3, 1], 'u32') };
  const call = (x: number[], out: number[], given: typeof weight = weight) => {
    return () => quantizedMatmul(traits, { x: of(x), weight: given, out: of(out) });
  };
  expect(call([2, 32], [2, 3])).toThrow(/x is \[2, 32\] where \[2, 64\]/);
  expect(call([2, 64], [2, 4])).toThrow(/out is \[2, 4\] where \[2, 3\]/);
  expect(call([64], [3])).toThrow(/x \[64\] is not a matrix/);
  expect(call([2, 64], [2, 3], { ...weight, shape: [3, 72] })).toThrow(/\[3, 72\].*groups of 32/);
  expect(call([2, 64], [2, 3], { ...weight, scales: of([3, 2], 'u32') })).toThrow(/scales of a q4 weight/);
  expect(call([2, 64], [2, 3], { ...weight, data: of([3, 8], 'f32') })).toThrow(/takes u32/);
  const many = 8 * 65535 + 1;
  const large = { x: of([many, 64]), weight, out: of([many, 3]) };
  expect(() => quantizedMatmul({ ...traits, software: true }, large)).toThrow(/524281 rows are above the 524280/);
  expect(() => quantizedMatmul(traits, { x: of([2, 64], 'u32'), weight, out: of([2, 3]) })).toThrow(/input is u32/);
  const gradient = { outGradient: of([2, 4]), weight, xGradient: of([2, 64]) };
  expect(() => quantizedMatmulInputGradient(traits, gradient)).toThrow(/outGradient is \[2, 4\] where \[2, 3\]/);
});
