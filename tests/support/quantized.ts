import type { QuantizedWeight } from '../../engine/quantized/index.js';

/** Every word of a packed weight: the levels of all rows, then their scales. */
export async function packedWords({ shards }: QuantizedWeight): Promise<number[]> {
  const [levels, scales]: [number[], number[]] = [[], []];
  for (const shard of shards) {
    levels.push(...(await shard.data.readUint32()));
    scales.push(...(await shard.scales.readUint32()));
  }
  return [...levels, ...scales];
}
