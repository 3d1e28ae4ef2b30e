import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export interface GoldenTensor {
  readonly shape: readonly number[];
  readonly data: readonly number[];
}

interface HeaderEntry {
  dtype: string;
  shape: number[];
  data_offsets: [number, number];
}

function goldenPath(path: string): string {
  return fileURLToPath(new URL(`../golden/${path}`, import.meta.url));
}

/** Every F32, I32 and U8 tensor of a recorded safetensors file, as plain numbers. */
export function readGolden(path: string): Record<string, GoldenTensor> {
  const file = readFileSync(goldenPath(path));
  const headerLength = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString('utf8', 8, 8 + headerLength)) as Record<string, HeaderEntry>;
  const tensors: Record<string, GoldenTensor> = {};
  for (const [name, entry] of Object.entries(header)) {
    if (name === '__metadata__') continue;
    const bytes = file.subarray(8 + headerLength + entry.data_offsets[0], 8 + headerLength + entry.data_offsets[1]);
    const own = new Uint8Array(bytes).buffer;
    const data =
      entry.dtype === 'F32' ? new Float32Array(own) : entry.dtype === 'I32' ? new Int32Array(own) : new Uint8Array(own);
    tensors[name] = { shape: entry.shape, data: Array.from(data) };
  }
  return tensors;
}

/** A recorded JSON file; the caller says which fields it reads. */
export function readGoldenJson(path: string): unknown {
  return JSON.parse(readFileSync(goldenPath(path), 'utf8'));
}
