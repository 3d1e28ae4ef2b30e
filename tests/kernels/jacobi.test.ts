import { describe, expect, it } from 'vitest';
import { acceptedHead, jacobiAccept } from '../../kernels/jacobi/index.js';
import { jacobiAcceptReference, type JacobiState } from '../../kernels/jacobi/reference.js';
import { samplerStateLength } from '../../kernels/sampling/index.js';
import { integers } from '../support/compare.js';
import { runKernelTyped, type TestOutput } from '../support/kernel.js';

const capacity = 20;

interface Case {
  window: number;
  copies: number;
  /** Ids kept so far, ids wanted, the period to guess by, and how many of the drafts are right, for each sequence. */
  sequences: readonly (readonly [done: number, limit: number, period: number, right: number])[];
}

function scene({ window, copies, sequences }: Case, seed: number) {
  const count = sequences.length;
  const ids = sequences.map(([done], row) => [
    ...integers(done, seed + row, 50),
    ...new Array<number>(capacity - done).fill(7),
  ]);
  const drawn = integers(count * window, seed + 20, 50);
  const windows = sequences.map(([, , , right], row) =>
    Array.from({ length: window }, (_, place) => {
      const before = drawn[row * window + place - 1] ?? 3;
      return place <= right ? before : before + 1;
    }),
  );
  // Some steps allow a single id, others ids that guesses may lie outside.
  const ranges = Array.from({ length: count * capacity }, (_, step) =>
    step % 5 === 4 ? [60, 61] : [step % 9, 45],
  ).flat();
  const before: JacobiState = {
    inputs: Array.from({ length: copies }, () => windows).flat(2),
    positions: integers(copies * count * window, seed + 30, 1000),
    rowPositions: integers(copies * count, seed + 31, 1000),
    state: integers(count * window * samplerStateLength, seed + 32, 1000),
    accepted: sequences.flatMap(([done, limit, period], row) => [done, limit, period, ...ids[row]]),
  };
  return { before, drawn, ranges };
}

describe('accepting drafts', () => {
  it.each<Case>([
    { window: 1, copies: 1, sequences: [[0, 5, 0, 0]] },
    { window: 4, copies: 2, sequences: [[0, 9, 0, 2]] },
    {
      window: 3,
      copies: 2,
      sequences: [
        [4, 9, 3, 0],
        [6, 20, 5, 2],
        [2, 2, 4, 1],
      ],
    },
    {
      window: 7,
      copies: 1,
      sequences: [
        [9, 11, 4, 6],
        [3, 20, 9, 3],
        [0, 20, 2, 1],
        [13, 14, 1, 0],
      ],
    },
    {
      window: 5,
      copies: 2,
      sequences: Array.from({ length: 67 }, (_, row) => [row % 12, 20, row % 7, row % 5] as const),
    },
  ])('keeps what was drawn from a right prefix: $window places, $copies copies', async (given) => {
    const { window, copies, sequences } = given;
    const count = sequences.length;
    for (const seed of [1, 2]) {
      const { before, drawn, ranges } = scene(given, seed);
      const expected = jacobiAcceptReference(before, drawn, ranges, { sequences: count, window, copies });
      const changed = (shape: number[], initial: readonly number[]): TestOutput => ({
        shape,
        dtype: 'u32',
        initial: Uint32Array.from(initial),
      });
      for (const software of [true, false]) {
        const after = await runKernelTyped({
          inputs: {
            drawn: { shape: [count * window], dtype: 'u32', data: Uint32Array.from(drawn) },
            ranges: { shape: [count, capacity, 2], dtype: 'u32', data: Uint32Array.from(ranges) },
          },
          outputs: {
            inputs: changed([copies * count * window], before.inputs),
            positions: changed([copies * count * window], before.positions),
            rowPositions: changed([copies * count], before.rowPositions),
            state: changed([count * window, samplerStateLength], before.state),
            accepted: changed([count, acceptedHead.length + capacity], before.accepted),
          },
          calls: (tensors, traits) => jacobiAccept({ ...traits, software }, tensors),
        });
        for (const [name, values] of Object.entries(expected)) {
          expect(Array.from(after[name as keyof JacobiState]), name).toEqual(values);
        }
      }
    }
  });

  it('refuses operands that do not fit', () => {
    const traits = { software: true, f16: false, subgroups: false, maxInvocations: 256, maxWorkgroupStorage: 16384 };
    const shapes = {
      drawn: [8],
      ranges: [2, 5, 2],
      inputs: [16],
      positions: [16],
      rowPositions: [4],
      state: [8, samplerStateLength],
      accepted: [2, 9],
    };
    const call = (changed: Partial<Record<keyof typeof shapes, number[]>>) => {
      const operand = (name: keyof typeof shapes) => ({ shape: changed[name] ?? shapes[name], dtype: 'u32' as const });
      return jacobiAccept(traits, {
        drawn: operand('drawn'),
        ranges: operand('ranges'),
        inputs: operand('inputs'),
        positions: operand('positions'),
        rowPositions: operand('rowPositions'),
        state: operand('state'),
        accepted: operand('accepted'),
      });
    };
    expect(() => call({})).not.toThrow();
    for (const changed of [
      { drawn: [7] },
      { rowPositions: [3] },
      { inputs: [15] },
      { positions: [8] },
      { state: [4, samplerStateLength] },
      { accepted: [2, 3] },
      { accepted: [3, 9] },
    ]) {
      expect(() => call(changed), JSON.stringify(changed)).toThrow();
    }
  });
});
