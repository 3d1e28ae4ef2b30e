import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { fileURLToPath } from 'node:url';
import { join } from 'node:path';
import { expect } from 'vitest';
import { Emu3Error } from '../../kernels/core/errors.js';
import type { ErrorCode } from '../../kernels/core/errors.js';

export const GOLDEN = fileURLToPath(new URL('../golden/', import.meta.url));

/** Runs `body` in a folder of its own that is gone afterwards. */
export async function inTemporaryFolder<T>(body: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'emu3-loader-'));
  try {
    return await body(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The error must be typed, carry the code, and its text must name what went wrong. */
export function expectError(error: unknown, code: ErrorCode, ...mentions: string[]): void {
  expect(error).toBeInstanceOf(Emu3Error);
  if (!(error instanceof Emu3Error)) return;
  expect(error.code, error.message).toBe(code);
  expect(error.fix.length).toBeGreaterThan(0);
  for (const mention of mentions) expect(error.message).toContain(mention);
}

/** What the promise rejects with; fails when it does not. */
export async function rejection(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error('The promise was expected to reject.');
}

/** What the call throws; fails when it does not. */
export function thrown(body: () => unknown): unknown {
  try {
    body();
  } catch (error) {
    return error;
  }
  throw new Error('The call was expected to throw.');
}

/** A safetensors file from any header text: nothing is checked. */
export function fileWithHeader(header: unknown, dataBytes: number): Uint8Array {
  const text = new TextEncoder().encode(typeof header === 'string' ? header : JSON.stringify(header));
  const file = new Uint8Array(8 + text.byteLength + dataBytes);
  new DataView(file.buffer).setBigUint64(0, BigInt(text.byteLength), true);
  file.set(text, 8);
  return file;
}

/** Reproducible random numbers in [0, 1) (mulberry32). */
export function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
