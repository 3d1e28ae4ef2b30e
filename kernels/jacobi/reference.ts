import { samplerStateIndex, samplerStateLength } from '../sampling/state.js';
import { acceptedHead } from './index.js';

/** Everything a step of Jacobi decoding leaves behind for the next; see `jacobiAccept` for the shapes. */
export interface JacobiState {
  inputs: number[];
  positions: number[];
  rowPositions: number[];
  state: number[];
  accepted: number[];
}

/** Twin of `jacobiAccept`. */
export function jacobiAcceptReference(
  before: JacobiState,
  drawn: readonly number[],
  ranges: readonly number[],
  sizes: { sequences: number; window: number; copies: number },
): JacobiState {
  const { sequences, window, copies } = sizes;
  const after: JacobiState = {
    inputs: [...before.inputs],
    positions: [...before.positions],
    rowPositions: [...before.rowPositions],
    state: [...before.state],
    accepted: [...before.accepted],
  };
  const stride = before.accepted.length / sequences;
  const steps = ranges.length / sequences / 2;
  for (let sequence = 0; sequence < sequences; sequence++) {
    const [done, limit, period] = before.accepted.slice(sequence * stride, sequence * stride + acceptedHead.length);
    if (done >= limit) continue;
    const given = before.inputs.slice(sequence * window, (sequence + 1) * window);
    const found = drawn.slice(sequence * window, (sequence + 1) * window);
    const firstWrong = given.findIndex((id, place) => place > 0 && id !== found[place - 1]);
    const kept = Math.min(firstWrong < 0 ? window : firstWrong, limit - done);
    const ids = before.accepted.slice(sequence * stride + acceptedHead.length, (sequence + 1) * stride);
    ids.splice(done, kept, ...found.slice(0, kept));
    const now = done + kept;
    const next = found.slice(kept - 1);
    while (next.length < window) {
      const step = now + next.length - 1;
      const above = period > 0 && step >= period && step - period < now ? ids[step - period] : next[next.length - 1];
      const at = (sequence * steps + Math.min(step, steps - 1)) * 2;
      const [lowest, end] = [ranges[at], ranges[at + 1]];
      next.push(above >= lowest && above < end ? above : lowest);
    }
    after.accepted.splice(sequence * stride, stride, now, limit, period, ...ids);
    for (let copy = 0; copy < copies; copy++) {
      const row = copy * sequences + sequence;
      after.rowPositions[row] += kept;
      next.forEach((id, place) => {
        after.inputs[row * window + place] = id;
        after.positions[row * window + place] += kept;
      });
    }
    for (let place = 0; place < window; place++) {
      const own = (sequence * window + place) * samplerStateLength;
      after.state[own + samplerStateIndex.position] += kept - 1;
      after.state[own + samplerStateIndex.step] += kept - 1;
    }
  }
  return after;
}
