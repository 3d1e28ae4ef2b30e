import { expect, test } from 'vitest';
import type { KernelCall } from '../../kernels/core/define.js';
import type { DType, KernelTraits } from '../../kernels/core/types.js';
import * as kernels from '../../kernels/elementwise/index.js';
import * as references from '../../kernels/elementwise/reference.js';
import * as ops from '../../engine/ops/elementwise.js';
import type { Tensor } from '../../engine/graph/index.js';
import {
  checkGradients,
  dtypesToTest,
  expectClose,
  pseudoRandom,
  roundToDtype,
  runKernel,
  testDevice,
} from '../support/kernel.js';

const lengths = [1, 3, 64, 255, 257, 512, 513, 4099];

type Values = ArrayLike<number>;
type Named = Record<'a' | 'b' | 'out', Tensor>;
const cases: Record<
  string,
  { call: (traits: KernelTraits, t: Named) => KernelCall<Tensor>; reference: (a: Values, b: Values) => Float64Array }
> = {
  add: { call: (traits, t) => kernels.add(traits, t), reference: references.addReference },
  multiply: { call: (traits, t) => kernels.multiply(traits, t), reference: references.multiplyReference },
  scale: {
    call: (traits, { a, out }) => kernels.scale(traits, { x: a, out, factor: -2.5 }),
    reference: (a) => references.scaleReference(a, -2.5),
  },
  cast: {
    call: (traits, { a, out }) => kernels.cast(traits, { x: a, out }),
    reference: (a) => references.scaleReference(a, 1),
  },
  fill: {
    call: (traits, { out }) => kernels.fill(traits, { out, value: 0.75 }),
    reference: (a) => new Float64Array(a.length).fill(0.75),
  },
  silu: {
    call: (traits, { a, out }) => kernels.silu(traits, { x: a, out }),
    reference: references.siluReference,
  },
};

const allTypes: [DType, DType, DType][] = [
  ['f32', 'f32', 'f32'],
  ['f16', 'f32', 'f32'],
  ['f32', 'f16', 'f16'],
  ['f16', 'f16', 'f16'],
];

test.each(Object.entries(cases))('%s equals the reference', async (name, { call, reference }) => {
  const available = await dtypesToTest();
  for (const software of [true, false]) {
    for (const types of allTypes.filter((all) => all.every((type) => available.includes(type)))) {
      for (const count of types.includes('f16') ? [257] : lengths) {
        const [typeA, typeB, typeOut] = types;
        const a = pseudoRandom(count, 1).map((value) => 6 * value);
        const b = pseudoRandom(count, 2);
        const { out } = await runKernel({
          inputs: { a: { shape: [count], data: a, dtype: typeA }, b: { shape: [count], data: b, dtype: typeB } },
          outputs: { out: { shape: [count], dtype: typeOut } },
          calls: (t, traits) => call({ ...traits, software }, t),
        });
        const expected = reference(roundToDtype(a, typeA), roundToDtype(b, typeB));
        const relative = typeOut === 'f16' ? 1e-3 : 1e-6;
        expectClose(out, expected, { relative, absolute: relative }, `${name} ${count} ${types.join(' ')}`);
      }
    }
  }
});

test('addInto adds in place', async () => {
  const x = pseudoRandom(259, 1);
  const before = pseudoRandom(259, 2);
  const { into } = await runKernel({
    inputs: { x: { shape: [7, 37], data: x } },
    outputs: { into: { shape: [259], initial: before } },
    calls: (t, traits) => kernels.addInto(traits, t),
  });
  expectClose(into, references.addReference(x, before), { relative: 1e-6, absolute: 1e-7 }, 'into');
});

test('scaleByState takes the factor from GPU memory', async () => {
  const x = pseudoRandom(130, 1);
  const { out } = await runKernel({
    inputs: { x: { shape: [130], data: x }, factor: { shape: [1], data: new Float32Array([-0.3]) } },
    outputs: { out: { shape: [130] } },
    calls: (t, traits) => kernels.scaleByState(traits, t),
  });
  expectClose(out, references.scaleReference(x, -0.3), { relative: 1e-6 }, 'out');
});

test.each([
  [1, 1],
  [5, 7],
  [33, 65],
])('addBias on [%i, %i]', async (rows, columns) => {
  const x = pseudoRandom(rows * columns, 1);
  const bias = pseudoRandom(columns, 2);
  const { out } = await runKernel({
    inputs: { x: { shape: [rows, columns], data: x }, bias: { shape: [columns], data: bias } },
    outputs: { out: { shape: [rows, columns] } },
    calls: (t, traits) => kernels.addBias(traits, t),
  });
  expectClose(out, references.addBiasReference(x, bias), { relative: 1e-6, absolute: 1e-6 }, 'out');
});

test('SiLU and its gradient stay finite far from 0', async () => {
  const x = new Float32Array([-1e30, -200, -90, -80, -20, 0, 20, 200, 1e30]);
  const ones = new Float32Array(x.length).fill(1);
  const { out, slope } = await runKernel({
    inputs: { x: { shape: [x.length], data: x }, gradient: { shape: [x.length], data: ones } },
    outputs: { out: { shape: [x.length] }, slope: { shape: [x.length] } },
    calls: (t, traits) => [
      kernels.silu(traits, { x: t.x, out: t.out }),
      kernels.siluBackward(traits, { x: t.x, gradient: t.gradient, out: t.slope }),
    ],
  });
  // Far below 0 the value is not 0 but about x e^-80.
  expectClose(out, references.siluReference(x), { relative: 1e-6, absolute: 1e-4 }, 'out');
  expectClose(slope.slice(1, -1), references.siluBackwardReference(x, ones).slice(1, -1), { absolute: 1e-6 }, 'slope');
});

test('refuses operands of different sizes', async () => {
  const { traits } = await testDevice();
  const of = (...shape: number[]) => ({ shape, dtype: 'f32' as const });
  expect(() => kernels.add(traits, { a: of(4), b: of(5), out: of(4) })).toThrow(/b \[5\] and out \[4\] differ/);
  expect(() => kernels.silu(traits, { x: of(4), out: of(2, 3) })).toThrow(/differ/);
  expect(() => kernels.addBias(traits, { x: of(4, 3), bias: of(4), out: of(4, 3) })).toThrow(/does not end in/);
});

const x = { shape: [3, 5], data: pseudoRandom(15, 1) };
const y = { shape: [3, 5], data: pseudoRandom(15, 2) };

test('gradients of add, multiply and scale, with shared inputs', async () => {
  await checkGradients({
    inputs: { x, y },
    build: (graph, t) => ops.add(graph, ops.multiply(graph, t.x, t.y), ops.scale(graph, t.x, 3)),
    reference: (v) =>
      references.addReference(references.multiplyReference(v.x, v.y), references.scaleReference(v.x, 3)),
  });
});

test('gradients of SiLU', async () => {
  await checkGradients({
    inputs: { x },
    build: (graph, t) => ops.silu(graph, t.x),
    reference: (v) => references.siluReference(v.x),
  });
});

test('gradients of scaleByState, and of casts to f16 and back', async () => {
  const { traits } = await testDevice();
  await checkGradients({
    inputs: { x },
    constants: { factor: { shape: [1], data: new Float32Array([0.7]) } },
    build: (graph, t, constants) => {
      const narrow = traits.f16 ? ops.cast(graph, t.x, 'f16') : t.x;
      return ops.scaleByState(graph, ops.cast(graph, narrow, 'f32'), constants['factor'] ?? t.x);
    },
    reference: (v) => references.scaleReference(v.x, 0.7),
    forwardTolerance: { absolute: 1e-3 },
  });
});
