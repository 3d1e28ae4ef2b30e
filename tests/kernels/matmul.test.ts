import { describe, expect, test } from 'vitest';
import type { DType, KernelTraits } from '../../kernels/core/types.js';
import { fusedMatmul, matmul, matmulScratch, offersFusedMatmul } from '../../kernels/matmul/index.js';
import { fusedReference, matmulReference, type MatmulSizes } from '../../kernels/matmul/reference.js';
import { addBias, linear, matmul as matmulOp } from '../../engine/ops/matmul.js';
import { addBiasReference } from '../../kernels/elementwise/reference.js';
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

const shapes: MatmulSizes[] = [
  { m: 1, n: 1, depth: 1 },
  { m: 1, n: 5, depth: 4 },
  { m: 1, n: 67, depth: 260 },
  { m: 2, n: 33, depth: 7 },
  { m: 8, n: 13, depth: 36 },
  { m: 9, n: 65, depth: 17 },
  { m: 17, n: 64, depth: 16 },
  { m: 65, n: 129, depth: 33 },
  { m: 64, n: 8, depth: 20 },
  { m: 3, n: 5, depth: 6, batch: 4 },
  { m: 19, n: 66, depth: 9, batch: 3 },
];

async function adapterHas(traits: Partial<KernelTraits>): Promise<boolean> {
  return traits.subgroups !== true || (await testDevice()).traits.subgroups;
}

async function check(sizes: MatmulSizes, traits: Partial<KernelTraits>, types: readonly [DType, DType, DType]) {
  const { batch, m, n, depth, transposeA = false, transposeB = false } = sizes;
  const leading = batch === undefined ? [] : [batch];
  const shapeA = [...leading, ...(transposeA ? [depth, m] : [m, depth])];
  const shapeB = [...leading, ...(transposeB ? [n, depth] : [depth, n])];
  const [typeA, typeB, typeOut] = types;
  const a = pseudoRandom((batch ?? 1) * m * depth, 1);
  const b = pseudoRandom((batch ?? 1) * n * depth, 2);
  const device = await testDevice();
  const scratch = matmulScratch(
    { ...device.traits, ...traits },
    { a: { shape: shapeA, dtype: typeA }, b: { shape: shapeB, dtype: typeB }, transposeA, transposeB },
  );
  const { out } = await runKernel({
    inputs: { a: { shape: shapeA, data: a, dtype: typeA }, b: { shape: shapeB, data: b, dtype: typeB } },
    outputs: { out: { shape: [...leading, m, n], dtype: typeOut }, scratch: { shape: [Math.max(1, scratch)] } },
    calls: (t, given) =>
      matmul({ ...given, ...traits }, { a: t.a, b: t.b, out: t.out, transposeA, transposeB, scratch: t.scratch }),
  });
  const expected = matmulReference(roundToDtype(a, typeA), roundToDtype(b, typeB), sizes);
  const tolerance = typeOut === 'f16' ? { absolute: 2e-3, relative: 1e-3 } : { absolute: 3e-7 * depth + 1e-6 };
  expectClose(out, expected, tolerance, `${JSON.stringify(sizes)} ${types.join(' ')}`);
}

/** `n` outputs: a gated weight has 2 n rows. Gains and addends are of the weight's type. */
async function checkFused(
  [m, n, depth]: readonly [number, number, number],
  fusion: TestFusion,
  traits: Partial<KernelTraits>,
  [typeX, typeWeight, typeOut]: readonly [DType, DType, DType] = ['f32', 'f32', 'f32'],
): Promise<Float32Array> {
  const rows = fusion.gated ? 2 * n : n;
  const x = pseudoRandom(8 * depth, 1).subarray(0, m * depth);
  const weight = pseudoRandom(rows * depth, 2);
  const { inputs, of, reference } = fusionInputs(fusion, depth, [m, n], typeWeight);
  const { out } = await runKernel({
    inputs: {
      x: { shape: [m, depth], data: x, dtype: typeX },
      weight: { shape: [rows, depth], data: weight, dtype: typeWeight },
      ...inputs,
    },
    outputs: { out: { shape: [m, n], dtype: typeOut } },
    calls: (t, given) => fusedMatmul({ ...given, ...traits }, { x: t.x, weight: t.weight, out: t.out, ...of(t) }),
  });
  const exact = Float64Array.from(roundToDtype(x, typeX));
  const sizes = { m, n: rows, depth };
  const expected = fusedReference(exact, roundToDtype(weight, typeWeight), sizes, reference);
  const tolerance =
    typeOut === 'f16' ? { absolute: 4e-3, relative: 2e-3 } : { absolute: 1e-6 * depth + 1e-6, relative: 1e-5 };
  expectClose(out, expected, tolerance, `${JSON.stringify(fusion)} ${m} x ${depth} -> ${n}`);
  return out;
}

describe.each(Object.entries(variants))('matmul, %s', (_, traits) => {
  test.each(fusions)('is fused on awkward shapes, in f32 and f16: %o', async (fusion) => {
    if (!(await adapterHas(traits))) return;
    for (const shape of [
      [1, 1, 4],
      [1, 33, 260],
      [3, 67, 12],
      [8, 35, 20],
    ] as const) {
      await checkFused(shape, fusion, traits);
    }
    if (!(await dtypesToTest()).includes('f16')) return;
    await checkFused([1, 9, 36], fusion, traits, ['f32', 'f16', 'f32']);
    await checkFused([1, 9, 36], fusion, traits, ['f16', 'f16', 'f16']);
  });

  test.each(fusions)('gives a row the same bits whatever other rows there are: %o', async (fusion) => {
    if (!(await adapterHas(traits))) return;
    const all = await checkFused([8, 19, 260], fusion, traits);
    for (const m of [1, 3]) expect(await checkFused([m, 19, 260], fusion, traits)).toEqual(all.slice(0, m * 19));
  });

  test.each([
    ['A B', false, false],
    ['A Bt', false, true],
    ['At B', true, false],
    ['At Bt', true, true],
  ])('%s equals the reference on awkward shapes', async (_name, transposeA, transposeB) => {
    if (!(await adapterHas(traits))) return;
    for (const sizes of shapes) await check({ ...sizes, transposeA, transposeB }, traits, ['f32', 'f32', 'f32']);
  });

  test('takes f16 for each operand on its own', async () => {
    if (!(await adapterHas(traits)) || !(await dtypesToTest()).includes('f16')) return;
    for (const sizes of [
      { m: 2, n: 33, depth: 12, transposeB: true },
      { m: 33, n: 70, depth: 20 },
      { m: 33, n: 70, depth: 20, transposeB: true },
    ]) {
      await check(sizes, traits, ['f16', 'f32', 'f32']);
      await check(sizes, traits, ['f32', 'f16', 'f32']);
      await check(sizes, traits, ['f32', 'f32', 'f16']);
      await check(sizes, traits, ['f16', 'f16', 'f16']);
    }
  });

  test('splits long sums with few outputs, the same way every time', async () => {
    if (!(await adapterHas(traits))) return;
    const sizes = { m: 20, n: 37, depth: 2055, transposeA: true };
    const device = await testDevice();
    const operands = { a: { shape: [2055, 20], dtype: 'f32' }, b: { shape: [2055, 37], dtype: 'f32' } } as const;
    expect(matmulScratch({ ...device.traits, ...traits }, { ...operands, transposeA: true })).toBeGreaterThan(0);
    await check(sizes, traits, ['f32', 'f32', 'f32']);
  });
});

test('covers more tiles than one grid dimension holds', async () => {
  const many = 65535 * 32 + 33;
  await check({ m: 1, n: many, depth: 1, transposeB: true }, { software: true, subgroups: false }, [
    'f32',
    'f32',
    'f32',
  ]);
  await check({ m: many / 3, n: 1, depth: 1 }, { software: true, subgroups: false }, ['f32', 'f32', 'f32']);
  await check({ m: 1, n: 65535 * 4 + 5, depth: 4, transposeB: true }, { software: false }, ['f32', 'f32', 'f32']);
});

test('one b can serve a whole batch', async () => {
  const a = pseudoRandom(3 * 9 * 5, 1);
  const b = pseudoRandom(5 * 7, 2);
  for (const software of [true, false]) {
    const { out } = await runKernel({
      inputs: { a: { shape: [3, 9, 5], data: a }, b: { shape: [5, 7], data: b } },
      outputs: { out: { shape: [3, 9, 7] } },
      calls: (t, traits) => matmul({ ...traits, software }, { a: t.a, b: t.b, out: t.out }),
    });
    expectClose(out, matmulReference(a, b, { m: 27, n: 7, depth: 5 }), { absolute: 1e-5 }, `software ${software}`);
  }
});

test('refuses operands that do not fit, naming them', async () => {
  const { traits } = await testDevice();
  const of = (...shape: number[]) => ({ shape, dtype: 'f32' as const });
  const call =
    (a: number[], b: number[], out: number[], rest = {}) =>
    () =>
      matmul(traits, { a: of(...a), b: of(...b), out: of(...out), ...rest });
  expect(call([2, 3], [4, 5], [2, 5])).toThrow(/a \[2,3\] and b \[4,5\] do not fit/);
  expect(call([2, 3], [3, 5], [5, 2])).toThrow(/out is \[5,2\]/);
  expect(call([2, 3], [3, 5], [2, 5], { transposeA: true })).toThrow(/transposed/);
  expect(call([2, 2, 3], [3, 3, 5], [2, 2, 5])).toThrow(/do not fit/);
  expect(call([0, 3], [3, 5], [0, 5])).toThrow(/size 0/);
  expect(call([3], [3, 5], [5])).toThrow(/not matrices/);
  expect(() =>
    matmul({ ...traits, software: true }, { a: of(9, 3), b: of(5, 3), out: of(9, 5), transposeB: true }),
  ).toThrow(/scratch/);
});

test('fuses no more rows than it has a kernel for, nor what does not fit', async () => {
  const { traits } = await testDevice();
  const f32 = (shape: number[]) => ({ shape, dtype: 'f32' }) as const;
  expect(offersFusedMatmul(8, 4)).toBe(true);
  expect(offersFusedMatmul(9, 4)).toBe(false);
  expect(offersFusedMatmul(1, 6)).toBe(false);
  const gated = { weight: f32([6, 4]), gated: true };
  const call = (operands: Parameters<typeof fusedMatmul>[1]) => () => fusedMatmul(traits, operands);
  expect(call({ ...gated, x: f32([9, 4]), out: f32([9, 3]) })).toThrow('do not make a fused product');
  expect(call({ ...gated, x: f32([1, 4]), weight: f32([5, 4]), out: f32([1, 2]) })).toThrow('do not make a fused');
  expect(call({ ...gated, x: f32([1, 4]), out: f32([1, 6]) })).toThrow('out is [1, 6] where [1, 3]');
  const plain = { x: f32([1, 4]), weight: f32([6, 4]), out: f32([1, 6]) };
  expect(call({ ...plain, norm: { gain: f32([6]), epsilon: 0 } })).toThrow('gain is [6] where [4]');
  expect(call({ ...plain, addend: f32([1, 4]) })).toThrow('addend is [1, 4] where [1, 6]');
});

describe('gradients', () => {
  test.each([
    [false, false],
    [false, true],
    [true, false],
    [true, true],
  ])('of the product, transposeA %s, transposeB %s', async (transposeA, transposeB) => {
    const sizes = { m: 9, n: 6, depth: 5, transposeA, transposeB };
    await checkGradients({
      inputs: {
        a: { shape: transposeA ? [5, 9] : [9, 5], data: pseudoRandom(45, 1) },
        b: { shape: transposeB ? [6, 5] : [5, 6], data: pseudoRandom(30, 2) },
      },
      build: (graph, { a, b }) => matmulOp(graph, a, b, { transposeA, transposeB }),
      reference: ({ a, b }) => matmulReference(a, b, sizes),
    });
  });

  test('of a batch of products', async () => {
    await checkGradients({
      inputs: {
        a: { shape: [2, 3, 4], data: pseudoRandom(24, 1) },
        b: { shape: [2, 5, 4], data: pseudoRandom(40, 2) },
      },
      build: (graph, { a, b }) => matmulOp(graph, a, b, { transposeB: true }),
      reference: ({ a, b }) => matmulReference(a, b, { batch: 2, m: 3, n: 5, depth: 4, transposeB: true }),
    });
  });

  test('of a linear layer with bias on a tensor of three axes', async () => {
    await checkGradients({
      inputs: {
        x: { shape: [2, 5, 4], data: pseudoRandom(40, 1) },
        weight: { shape: [3, 4], data: pseudoRandom(12, 2) },
        bias: { shape: [3], data: pseudoRandom(3, 3) },
      },
      build: (graph, { x, weight, bias }) => addBias(graph, linear(graph, x, weight), bias),
      reference: ({ x, weight, bias }) =>
        addBiasReference(matmulReference(x, weight, { m: 10, n: 3, depth: 4, transposeB: true }), bias),
    });
  });
});
