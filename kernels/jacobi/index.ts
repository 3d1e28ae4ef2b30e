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
import acceptSource from './accept.wgsl';

const accept = defineKernel('jacobi accept', acceptSource);

/** Where the numbers in front of a row's ids lie: ids kept so far, ids wanted, and the distance of the token to guess by. */
export const acceptedHead = { done: 0, limit: 1, period: 2, length: 3 } as const;

/**
 * Ends a step of Jacobi decoding: keeps the ids that were drawn from a right prefix, at least one of each sequence, moves
 * the windows behind them, and drafts the next ones. A sequence that has its ids stays as it is.
 *
 * @param args.drawn u32 [S * W]: what was drawn behind each place of the S windows.
 * @param args.ranges u32 [S, steps, 2]: the ids allowed at each step; see `packAllowedRanges`.
 * @param args.inputs u32 [copies * S * W], changed: the windows; first the last kept id, then drafts. Copies are alike.
 * @param args.positions u32 [copies * S * W], changed: rotary positions.
 * @param args.rowPositions u32 [copies * S], changed: where the windows begin in the cache.
 * @param args.state u32 [S * W, 8], changed: sampler states of the places, after the draw.
 * @param args.accepted u32 [S, 3 + ids], changed: see {@link acceptedHead}, then the ids kept.
 * @throws Emu3Error `shape`.
 */
export function jacobiAccept<T extends Operand>(
  traits: KernelTraits,
  args: { drawn: T; ranges: T; inputs: T; positions: T; rowPositions: T; state: T; accepted: T },
): KernelCall<T> {
  const { drawn, ranges, inputs, positions, rowPositions, state, accepted } = args;
  const { name } = accept;
  const [sequences = 0, rangesPerRow = 0, two] = ranges.shape;
  const [places = 0] = drawn.shape;
  const [rows = 0] = rowPositions.shape;
  const [acceptedRows, stride = 0] = accepted.shape;
  const [window, copies] = [places / sequences, rows / sequences];
  if (two !== 2 || rangesPerRow < 1 || !Number.isInteger(window) || !Number.isInteger(copies) || window < 1) {
    throw shapeError(
      name,
      `ranges [${ranges.shape}], drawn [${drawn.shape}] and rowPositions [${rowPositions.shape}] do not fit`,
    );
  }
  if (acceptedRows !== sequences || stride <= acceptedHead.length) {
    throw shapeError(name, `accepted [${accepted.shape}] has no room for the ids of ${sequences} sequences`);
  }
  expectShape(name, 'inputs', inputs, [rows * window]);
  expectShape(name, 'positions', positions, [rows * window]);
  expectShape(name, 'state', state, [places, samplerStateLength]);
  const workgroupSize = traits.software ? 8 : 64;
  return accept.call({
    overrides: { WORKGROUP_SIZE: workgroupSize },
    params: { sequences, window, copies, rangesPerRow, stride },
    bindings: { drawn, ranges, inputs, positions, rowPositions, state, accepted },
    grid: [divideRoundUp(sequences, workgroupSize), 1, 1],
    bytes: 4 * (3 + 4 * copies + 4) * places,
    flops: 0,
  });
}
