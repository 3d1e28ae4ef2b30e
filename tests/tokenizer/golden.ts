import { readFileSync } from 'node:fs';
import { Emu3Error } from '../../kernels/core/errors.js';

/** Bytes of a recorded file. */
export function goldenBytes(path: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(readFileSync(new URL(`../golden/${path}`, import.meta.url)));
}

/** A recorded JSON file; the caller names its type. */
export function goldenJson<Content>(path: string): Content {
  return JSON.parse(new TextDecoder().decode(goldenBytes(path))) as Content;
}

export interface GoldenTensor {
  dtype: string;
  shape: number[];
  data: Uint8Array<ArrayBuffer> | Int32Array<ArrayBuffer> | Float32Array<ArrayBuffer>;
}

/** All tensors of a recorded safetensors file. */
export function goldenTensors(path: string): Map<string, GoldenTensor> {
  const file = goldenBytes(path);
  const headerLength = Number(new DataView(file.buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + headerLength))) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >;
  const tensors = new Map<string, GoldenTensor>();
  for (const [name, entry] of Object.entries(header)) {
    if (name === '__metadata__') continue;
    const { dtype, shape, data_offsets: offsets } = entry;
    const buffer = file.slice(8 + headerLength + offsets[0], 8 + headerLength + offsets[1]).buffer;
    const data =
      dtype === 'F32' ? new Float32Array(buffer) : dtype === 'I32' ? new Int32Array(buffer) : new Uint8Array(buffer);
    tensors.set(name, { dtype, shape, data });
  }
  return tensors;
}

/** Looks a tensor up by name, or fails naming it. */
export function tensorOf(tensors: ReadonlyMap<string, GoldenTensor>, name: string): GoldenTensor {
  const tensor = tensors.get(name);
  if (tensor === undefined) throw new Error(`The recording has no tensor ${name}.`);
  return tensor;
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
