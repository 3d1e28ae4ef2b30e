import { throwIfAborted } from '../../../kernels/core/errors.js';
import type { Program } from '../../graph/index.js';
import type { BlockReader } from '../readback.js';
import type { DecodeRequest } from '../request.js';
import { defaultBlockSteps } from './stepper.js';

/** What the reader's tensor held when `end` steps were done. */
interface ReadBlock {
  readonly end: number;
  readonly words: Uint32Array;
}

/**
 * Runs a program so many times, in blocks, and yields what the reader brings after each. The block after it is submitted
 * before a block is waited for, so that the GPU never waits for the host.
 */
export async function* runInBlocks(
  program: Program,
  reader: BlockReader,
  steps: number,
  { signal, blockSteps = defaultBlockSteps }: DecodeRequest,
): AsyncGenerator<ReadBlock, void, undefined> {
  let submitted = 0;
  const submit = (): { end: number; words: Promise<Uint32Array> } => {
    const end = Math.min(submitted + blockSteps, steps);
    for (; submitted < end; submitted++) program.run();
    return { end, words: reader.request() };
  };
  let ahead = submit();
  for (;;) {
    const current = ahead;
    if (submitted < steps) ahead = submit();
    const words = await current.words;
    throwIfAborted(signal, 'decode');
    yield { end: current.end, words };
    throwIfAborted(signal, 'decode');
    if (current.end === steps) return;
  }
}
