import { samplerStateIndex, samplerStateLength } from '../sampling/state.js';
import { noPlace } from './index.js';

/** What a step reads, see `staggeredStage` for the shapes. */
export interface StagedStep {
  inputs: number[];
  positions: number[];
  rowPositions: number[];
  state: number[];
}

/** Twin of `staggeredStage`. */
export function staggeredStageReference(
  given: {
    schedule: readonly (readonly (readonly number[])[])[];
    step: number;
    ids: readonly (readonly number[])[];
    ends: readonly (readonly [id: number, position: number])[];
    state: readonly number[];
  },
  sizes: { lanes: number; copies: number },
): StagedStep {
  const { schedule, step, ids, ends } = given;
  const { lanes, copies } = sizes;
  const sequences = schedule.length;
  const out: StagedStep = { inputs: [], positions: [], rowPositions: [], state: [...given.state] };
  for (let copy = 0; copy < copies; copy++) {
    for (let sequence = 0; sequence < sequences; sequence++) {
      const [endId, endPosition] = ends[copy * sequences + sequence];
      const steps = schedule[sequence];
      const [before, ...places] = steps[Math.min(step, steps.length - 1)];
      out.rowPositions.push(endPosition + before);
      for (let lane = 0; lane < lanes; lane++) {
        const place = step < steps.length ? places[lane] : noPlace;
        const used = place !== noPlace;
        out.inputs.push(!used ? 0 : place === 0 ? endId : ids[sequence][place - 1]);
        out.positions.push(used ? endPosition + place : 0);
        const own = (sequence * lanes + lane) * samplerStateLength;
        out.state[own + samplerStateIndex.position] = ends[sequence][1] + 1 + (used ? place : 0);
        out.state[own + samplerStateIndex.step] = place;
      }
    }
  }
  return out;
}
