import { expectShape } from '../core/checks.js';
import {
  defineKernel,
  divideRoundUp,
  shapeError,
  type KernelCall,
  type KernelTraits,
  type Operand,
} from '../core/index.js';
import { samplerStateLength } from '../sampling/state.js';
import stageSource from './stage.wgsl';

const stage = defineKernel('staggered stage', stageSource);

/** What stands in a schedule for a lane without a place. */
export const noPlace = 0xffffffff;

/**
 * Begins a step that writes several lines of a picture at once: gives each lane its place, the token before it and where
 * both stand, and its sampler the place to draw for.
 *
 * @param args.schedule u32 [S, steps, 1 + L]: tokens read before a step, and the place of each lane or {@link noPlace}.
 * @param args.counter u32 [1]: the step. Behind the last one every lane is without a place.
 * @param args.ids u32 [S, places]: ids drawn so far; those that are forced are there from the start.
 * @param args.ends u32 [copies * S, 2]: id and position of the last token of each row's prompt.
 * @param args.inputs u32 [copies * S * L], written: the token each lane reads.
 * @param args.positions u32 [copies * S * L], written: its rotary position.
 * @param args.rowPositions u32 [copies * S], written: where the step's tokens begin in the cache.
 * @param args.state u32 [S * L, 8], changed: sampler states of the lanes.
 * @throws Emu3Error `shape`.
 */
export function staggeredStage<T extends Operand>(
  traits: KernelTraits,
  args: { schedule: T; counter: T; ids: T; ends: T; inputs: T; positions: T; rowPositions: T; state: T },
): KernelCall<T> {
  const { schedule, counter, ids, ends, inputs, positions, rowPositions, state } = args;
  const { name } = stage;
  const [sequences = 0, steps = 0, columns = 0] = schedule.shape;
  const [idRows, idsPerRow = 0] = ids.shape;
  const [rows = 0] = rowPositions.shape;
  const [lanes, copies] = [columns - 1, rows / sequences];
  if (schedule.shape.length !== 3 || lanes < 1 || steps < 1 || !Number.isInteger(copies) || idRows !== sequences) {
    throw shapeError(name, `schedule [${schedule.shape}], ids [${ids.shape}] and rowPositions [${rows}] do not fit`);
  }
  expectShape(name, 'counter', counter, [1]);
  expectShape(name, 'ends', ends, [rows, 2]);
  expectShape(name, 'inputs', inputs, [rows * lanes]);
  expectShape(name, 'positions', positions, [rows * lanes]);
  expectShape(name, 'state', state, [sequences * lanes, samplerStateLength]);
  const workgroupSize = traits.software ? 8 : 64;
  return stage.call({
    overrides: { WORKGROUP_SIZE: workgroupSize },
    params: { sequences, lanes, copies, steps, idsPerRow },
    bindings: { schedule, counter, ids, ends, inputs, positions, rowPositions, state },
    grid: [divideRoundUp(sequences * lanes, workgroupSize), 1, 1],
    bytes: sequences * lanes * (12 + 24 * copies),
    flops: 0,
  });
}
