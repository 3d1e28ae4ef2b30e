import { describe, expect, test } from 'vitest';
import type { KernelCall } from '../../kernels/core/define.js';
import type { DType, KernelTraits } from '../../kernels/core/types.js';
import { quantizedShapes, type QuantizationFormat } from '../../kernels/quantize/index.js';
import { quantizedMatmul, quantizedMatmulInputGradient } from '../../kernels/quantized-matmul/index.js';
import {
  quantizedMatmulInputGradientReference,
  quantizedMatmulReference,
} from '../../kernels/quantized-matmul/reference.js';
import { swigluReference } from '../../kernels/swiglu/reference.js';
import { quantizedLinear } from '../../engine/ops/quantized-linear.js';
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

/** SwiGLU of rows that hold so many gates and as many ups. */
function gatedReference(products: Float64Array, outputs: number): Float64Array {
  const half = (first: number): Float64Array =>
    products.filter((_, index) => index % (2 * outputs) >= first && index % (2 * outputs) < first + outputs);
  return swigluReference(half(0), half(outputs));
}

/** `n` counts rows of the weight: twice the outputs of a gated product. */
async function check(
  [m, n, k]: readonly [number, number, number],
  format: QuantizationFormat,
  traits: Partial<KernelTraits>,
  types: readonly [DType, DType] = ['f32', 'f32'],
  change: Partial<Pick<KernelCall, 'overrides' | 'grid'>> = {},
  gated = false,
): Promise<Float32Array> {
  const weight = packedWeight(format, n, k);
  const [typeX, typeOut] = types;
  const x = pseudoRandom(m * k, 1);
  const { out } = await runKernel({
    inputs: {
      x: { shape: [m, k], data: x, dtype: typeX },
      data: { shape: weight.shapes.data, dtype: 'u32', data: weight.data },
      scales: { shape: weight.shapes.scales, dtype: 'u32', data: weight.scales },
    },
    outputs: { out: { shape: [m, gated ? Math.floor(n / 2) : n], dtype: typeOut } },
    calls: (t, given) => {
      const weightOf = { format, shape: [n, k], data: t.data, scales: t.scales };
      const call = quantizedMatmul({ ...given, ...traits }, { x: t.x, weight: weightOf, out: t.out, gated });
      return { ...call, ...change };
    },
  });
  const sizes = { m, n, k, format };
  const products = quantizedMatmulReference(roundToDtype(x, typeX), weight.data, weight.scales, sizes);
  const largest = (format === 'q4' ? 8 : 128) / 16;
  const rounding = 1e-7 * largest * k;
  const [absolute, relative] = typeOut === 'f16' ? [1e-3, 1e-3] : gated ? [30 * rounding, 1e-4] : [rounding, 0];
  const expected = gated ? gatedReference(products, n / 2) : products;
  expectClose(out, expected, { absolute, relative }, `${format} ${m} x ${k} -> ${n}, ${types.join(' ')}`);
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

describe.each(Object.entries(variants))('gated quantized matmul, %s', (_, traits) => {
  test.each(formats)('%s equals the reference on awkward shapes', async (format) => {
    if (!(await adapterHas(traits))) return;
    // Software adapters gate any number of rows. Twice as many rows of the weight as outputs.
    const all = traits.software ? shapes : shapes.filter(([m]) => m <= 8);
    for (const [m, n, k] of all) await check([m, 2 * n, k], format, traits, ['f32', 'f32'], {}, true);
    if (!(await dtypesToTest()).includes('f16')) return;
    await check([2, 10, 96], format, traits, ['f16', 'f16'], {}, true);
  });
});

test('what cannot be gated is refused', async () => {
  await expect(check([2, 5, 32], 'q4', { software: true }, ['f32', 'f32'], {}, true)).rejects.toThrow(
    '2 rows by 5 outputs',
  );
  await expect(check([9, 4, 32], 'q4', { software: false }, ['f32', 'f32'], {}, true)).rejects.toThrow(
    '9 rows by 4 outputs',
  );
});

test('a workgroup with few subgroups makes its outputs in several turns', async () => {
  const traits = { software: false, subgroups: true };
  if (!(await adapterHas(traits))) return;
  for (const format of formats) {
    for (const m of [1, 3]) {
      for (const threads of [8, 16])
        for (const gated of [false, true]) {
          const outputs = gated ? 70 : 35;
          const overrides = { WORKGROUP_SIZE: threads };
          await check([m, outputs, 288], format, traits, ['f32', 'f32'], { overrides }, gated);
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
