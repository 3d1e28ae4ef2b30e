import { describe, expect, it } from 'vitest';
import { samplerStateLength } from '../../kernels/sampling/index.js';
import { noPlace, staggeredStage } from '../../kernels/staggered/index.js';
import { staggeredStageReference, type StagedStep } from '../../kernels/staggered/reference.js';
import { integers } from '../support/compare.js';
import { runKernelTyped } from '../support/kernel.js';

describe('staging lanes', () => {
  it.each([
    [1, 1, 1, 3],
    [2, 3, 2, 4],
    [3, 2, 1, 5],
    [9, 8, 2, 7],
    [33, 2, 2, 3],
  ])('gives %i sequences of %i lanes their places, %i copies, %i steps', async (sequences, lanes, copies, steps) => {
    const places = 11;
    const schedule = Array.from({ length: sequences }, (_, sequence) =>
      Array.from({ length: steps }, (_, step) => [
        step * lanes,
        ...integers(lanes, sequence * 7 + step, places).map((place, lane) =>
          lane > 0 && (place + step) % 3 === 0 ? noPlace : place,
        ),
      ]),
    );
    schedule[0][0][1] = 0;
    const ids = Array.from({ length: sequences }, (_, sequence) => integers(places, sequence + 50, 1000));
    const rows = sequences * copies;
    const ends = Array.from({ length: rows }, (_, row) => [700 + row, 20 + (row % 5)] as const);
    const state = integers(sequences * lanes * samplerStateLength, 3, 1000);
    for (const step of [0, 1, steps - 1, steps, steps + 3]) {
      const given = { schedule, step, ids, ends, state };
      const expected = staggeredStageReference(given, { lanes, copies });
      const input = (shape: number[], data: readonly number[]) => ({
        shape,
        dtype: 'u32' as const,
        data: Uint32Array.from(data),
      });
      for (const software of [true, false]) {
        const staged = await runKernelTyped({
          inputs: {
            schedule: input([sequences, steps, 1 + lanes], schedule.flat(2)),
            counter: input([1], [step]),
            ids: input([sequences, places], ids.flat()),
            ends: input([rows, 2], ends.flat()),
          },
          outputs: {
            inputs: { shape: [rows * lanes], dtype: 'u32' },
            positions: { shape: [rows * lanes], dtype: 'u32' },
            rowPositions: { shape: [rows], dtype: 'u32' },
            state: {
              shape: [sequences * lanes, samplerStateLength],
              dtype: 'u32',
              initial: Uint32Array.from(state),
            },
          },
          calls: (tensors, traits) => staggeredStage({ ...traits, software }, tensors),
        });
        for (const [name, values] of Object.entries(expected)) {
          expect(Array.from(staged[name as keyof StagedStep]), `${name} of step ${step}`).toEqual(values);
        }
      }
    }
  });

  it('refuses operands that do not fit', () => {
    const traits = { software: true, f16: false, subgroups: false, maxInvocations: 256, maxWorkgroupStorage: 16384 };
    const shapes: Record<string, number[]> = {
      schedule: [2, 5, 4],
      counter: [1],
      ids: [2, 9],
      ends: [4, 2],
      inputs: [12],
      positions: [12],
      rowPositions: [4],
      state: [6, samplerStateLength],
    };
    const call = (changed: Record<string, number[]>) => {
      const operand = (name: string) => ({ shape: changed[name] ?? shapes[name], dtype: 'u32' as const });
      return staggeredStage(traits, {
        schedule: operand('schedule'),
        counter: operand('counter'),
        ids: operand('ids'),
        ends: operand('ends'),
        inputs: operand('inputs'),
        positions: operand('positions'),
        rowPositions: operand('rowPositions'),
        state: operand('state'),
      });
    };
    expect(() => call({})).not.toThrow();
    for (const [name, shape] of Object.entries({
      schedule: [2, 5, 1],
      counter: [2],
      ids: [3, 9],
      ends: [2, 2],
      inputs: [11],
      positions: [6],
      rowPositions: [3],
      state: [12, samplerStateLength],
    })) {
      expect(() => call({ [name]: shape }), name).toThrow();
    }
  });
});
