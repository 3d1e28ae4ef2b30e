import { expect, test } from 'vitest';
import { elementCount, type DType } from '../../kernels/core/types.js';
import { permute, permutedShape, transpose } from '../../kernels/permute/index.js';
import { permuteReference } from '../../kernels/permute/reference.js';
import { permute as permuteOp } from '../../engine/ops/permute.js';
import {
  checkGradients,
  dtypesToTest,
  expectClose,
  pseudoRandom,
  roundToDtype,
  runKernel,
  testDevice,
} from '../support/kernel.js';

const cases: [number[], number[]][] = [
  [[1], [0]],
  [
    [5, 7],
    [1, 0],
  ],
  [
    [33, 65],
    [1, 0],
  ],
  [
    [64, 32],
    [1, 0],
  ],
  [
    [1, 9],
    [1, 0],
  ],
  [
    [3, 17, 35],
    [0, 2, 1],
  ],
  [
    [3, 17, 35],
    [2, 0, 1],
  ],
  [
    [3, 17, 35],
    [2, 1, 0],
  ],
  [
    [3, 4, 5],
    [0, 1, 2],
  ],
  [
    [6, 5, 3, 3],
    [2, 3, 1, 0],
  ],
  [
    [6, 5, 3, 3],
    [2, 3, 0, 1],
  ],
  [
    [2, 3, 4, 5, 6],
    [4, 3, 2, 1, 0],
  ],
  [
    [2, 3, 4, 5, 6],
    [0, 3, 1, 4, 2],
  ],
  [
    [4, 3, 2, 3, 5],
    [2, 3, 4, 1, 0],
  ],
  [
    [2, 1, 3, 1, 2, 1, 3],
    [4, 1, 6, 3, 0, 5, 2],
  ],
];

test.each(cases)('[%j] in order %j equals the reference', async (shape, order) => {
  const x = pseudoRandom(elementCount(shape), 1);
  const types: [DType, DType][] = [['f32', 'f32']];
  if ((await dtypesToTest()).includes('f16')) types.push(['f16', 'f32'], ['f32', 'f16'], ['f16', 'f16']);
  for (const software of [true, false]) {
    for (const [typeIn, typeOut] of types) {
      const { out } = await runKernel({
        inputs: { x: { shape, data: x, dtype: typeIn } },
        outputs: { out: { shape: permutedShape(shape, order), dtype: typeOut } },
        calls: (t, traits) => permute({ ...traits, software }, { x: t.x, out: t.out, order }),
      });
      const narrowest = typeIn === 'f16' ? typeIn : typeOut;
      expectClose(
        out,
        permuteReference(roundToDtype(x, narrowest), shape, order),
        { absolute: 5e-4 },
        `${typeIn} ${typeOut}`,
      );
      if (typeIn === typeOut) {
        expectClose(out, permuteReference(roundToDtype(x, typeIn), shape, order), {}, `${typeIn}, exactly`);
      }
    }
  }
});

test('a matrix and its transposition use the tiled file, other orders the general one', async () => {
  const { traits } = await testDevice();
  const of = (...shape: number[]) => ({ shape, dtype: 'f32' as const });
  const name = (shape: number[], order: number[]) =>
    permute({ ...traits, software: false }, { x: of(...shape), out: of(...permutedShape(shape, order)), order }).kernel
      .name;
  expect(name([5, 7], [1, 0])).toBe('transpose');
  expect(name([2, 5, 7], [0, 2, 1])).toBe('transpose');
  expect(name([6, 5, 3, 3], [2, 3, 0, 1])).toBe('transpose');
  expect(name([3, 17, 35], [2, 1, 0])).toBe('permute');
  expect(name([3, 17], [0, 1])).toBe('permute');
});

test('refuses orders and shapes that do not fit', async () => {
  const { traits } = await testDevice();
  const of = (...shape: number[]) => ({ shape, dtype: 'f32' as const });
  expect(() => permutedShape([2, 3], [0, 0])).toThrow(/no permutation/);
  expect(() => permutedShape([2, 3], [0])).toThrow(/no permutation/);
  expect(() => permutedShape([2, 3], [0, 2])).toThrow(/no permutation/);
  expect(() => permute(traits, { x: of(2, 3), out: of(2, 3), order: [1, 0] })).toThrow(/is \[3,2\], but out/);
  expect(() => transpose(traits, { x: of(2, 3), out: of(3, 2), batch: 1, rows: 3, columns: 3 })).toThrow(/do not hold/);
  expect(() =>
    permute(traits, { x: of(2, 2, 2, 2, 2, 2), out: of(2, 2, 2, 2, 2, 2), order: [5, 4, 3, 2, 1, 0] }),
  ).toThrow(/more than 5/);
});

test('gradients', async () => {
  const shape = [2, 3, 4];
  await checkGradients({
    inputs: { x: { shape, data: pseudoRandom(24, 1) } },
    build: (graph, { x }) => permuteOp(graph, x, [2, 0, 1]),
    reference: ({ x }) => permuteReference(x, shape, [2, 0, 1]),
  });
});
