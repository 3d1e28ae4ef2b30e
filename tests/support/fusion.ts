import type { DType } from '../../kernels/core/types.js';
import type { Fusion } from '../../kernels/matmul/few-rows.js';
import type { FusionReference } from '../../kernels/matmul/reference.js';
import { pseudoRandom, roundToDtype, type TestTensor } from './kernel.js';

/** What is asked of a fused product. */
export interface TestFusion {
  gated?: boolean;
  normed?: boolean;
  added?: boolean;
}

/** Each part, and two together. */
export const fusions: readonly TestFusion[] = [
  { gated: true },
  { gated: true, normed: true },
  { normed: true, added: true },
];

const epsilon = 1e-2;

/** Gains and addends for a product of `depth` inputs and an output of this shape, and what they are to a reference. */
export function fusionInputs(
  { gated = false, normed = false, added = false }: TestFusion,
  depth: number,
  shape: readonly [number, number],
  dtype: DType,
): {
  inputs: { gain: TestTensor; addend: TestTensor };
  of: <T>(tensors: { gain: T; addend: T }) => Fusion<T>;
  reference: FusionReference;
} {
  const gain = pseudoRandom(depth, 5);
  const addend = pseudoRandom(shape[0] * shape[1], 6);
  const rounded = (values: Float32Array): Float64Array => Float64Array.from(roundToDtype(values, dtype));
  return {
    inputs: { gain: { shape: [depth], data: gain, dtype }, addend: { shape, data: addend, dtype } },
    of: (tensors) => ({
      gated,
      norm: normed ? { gain: tensors.gain, epsilon } : undefined,
      addend: added ? tensors.addend : undefined,
    }),
    reference: {
      gated,
      ...(normed ? { norm: { gain: rounded(gain), epsilon } } : {}),
      ...(added ? { addend: rounded(addend) } : {}),
    },
  };
}
