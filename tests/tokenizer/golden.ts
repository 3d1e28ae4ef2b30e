import { readFileSync } from 'node:fs';
import { Emu3Error } from '../../kernels/core/errors.js';
import type { GoldenTensor } from '../support/golden.js';

/** Bytes of a recorded file. */
export function goldenBytes(path: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(readFileSync(new URL(`../golden/${path}`, import.meta.url)));
}

/** Looks a recorded tensor up by name, or fails naming it. */
export function tensorOf(tensors: Readonly<Record<string, GoldenTensor>>, name: string): GoldenTensor {
  if (!(name in tensors)) throw new Error(`The recording has no tensor ${name}.`);
  return tensors[name];
}

/** Code of the Emu3Error that the action throws, also in time; anything else as text. */
export async function errorCode(action: () => unknown): Promise<string> {
  try {
    await action();
  } catch (error) {
    return error instanceof Emu3Error ? error.code : String(error);
  }
  return 'no error';
}
