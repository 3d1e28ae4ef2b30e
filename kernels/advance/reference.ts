/** `counters[i] + 1`, modulo 2^32. */
export function advanceReference(counters: Uint32Array): Uint32Array {
  return counters.map((value) => value + 1);
}
