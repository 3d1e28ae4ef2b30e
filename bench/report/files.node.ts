import { mkdir } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { replaceFile } from '../../loader/index.node.js';
import type { Header } from '../results.js';

/** `lavapipe`, `swiftshader`, or a GPU's own name in letters a file name may have. */
export function adapterName({ kind, adapter }: Header): string {
  const name = kind === 'gpu' ? adapter : kind;
  return basename(
    name
      .toLowerCase()
      .replace(/[^a-z0-9]+/g, '-')
      .replace(/^-|-$/g, ''),
  );
}

/** Writes a file of results, its folder too, and says where it is. */
export async function writeReport(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await replaceFile(path, [new TextEncoder().encode(text)]);
  process.stderr.write(`${path}\n`);
}
