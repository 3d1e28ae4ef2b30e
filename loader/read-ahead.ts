import type { ModelFolder } from './folder.js';
import { assertRange } from './source.js';
import type { ByteSource } from './source.js';

/** Fewer requests for a model of many small tensors, while progress still moves. */
const defaultWindow = 1 << 20;

/**
 * The same folder, its files read in windows: a read that is smaller than a window fetches a whole one, and the reads
 * that follow it in the file are answered from memory. Behind HTTP a small model then takes a few requests instead of
 * one for each tensor. One window of each open file is held.
 * @param windowBytes bytes of a window; reads at least as large pass through.
 */
export function readAhead(folder: ModelFolder, windowBytes = defaultWindow): ModelFolder {
  return {
    name: folder.name,
    ...(folder.list && { list: folder.list.bind(folder) }),
    exists: (path, signal) => folder.exists(path, signal),
    readText: (path, signal) => folder.readText(path, signal),
    open: async (path, signal) => readAheadSource(await folder.open(path, signal), windowBytes),
  };
}

function readAheadSource(source: ByteSource, windowBytes: number): ByteSource {
  let held: { offset: number; bytes: Uint8Array } = { offset: 0, bytes: new Uint8Array() };
  return {
    name: source.name,
    size: source.size,
    ...(source.version !== undefined && { version: source.version }),
    ...(source.verify && { verify: source.verify.bind(source) }),
    read: async (offset, length, signal) => {
      assertRange(source, offset, length);
      if (length >= windowBytes) return source.read(offset, length, signal);
      const holds = offset >= held.offset && offset + length <= held.offset + held.bytes.length;
      if (!holds) {
        const bytes = await source.read(offset, Math.min(windowBytes, source.size - offset), signal);
        held = { offset, bytes };
        return bytes.slice(0, length);
      }
      return held.bytes.slice(offset - held.offset, offset - held.offset + length);
    },
    close: async () => {
      held = { offset: 0, bytes: new Uint8Array() };
      await source.close();
    },
  };
}
