import { expectShape, floatType } from '../core/checks.js';
import {
  defineKernel,
  divideRoundUp,
  linearGrid,
  shapeError,
  type KernelCall,
  type KernelTraits,
  type Operand,
} from '../core/index.js';
import decodeCombineSource from './decode-combine.wgsl';
import decodeSoftwareSource from './decode-software.wgsl';
import decodeSource from './decode.wgsl';
import turnAndCacheSource from './turn-and-cache.wgsl';
import { checkAttentionShape, type AttentionShape } from './shape.js';

const aliases = { Scalar: 'f32', KeyValue: 'f32' } as const;
const turnAndCache = defineKernel('attention turn-and-cache', turnAndCacheSource, { aliases });
const decodeSoftware = defineKernel('attention decode-software', decodeSoftwareSource, {
  aliases,
  constants: { HEAD_DIMENSION: 64 },
});
const decode = defineKernel('attention decode', decodeSource, {
  aliases,
  constants: { HEAD_DIMENSION: 64, HEADS: 4 },
});
const decodeCombine = defineKernel('attention decode-combine', decodeCombineSource, { aliases: { Scalar: 'f32' } });

/** Query heads of one key-value head that a decoding workgroup serves at most. */
const mostHeadsPerWorkgroup = 8;

/**
 * Takes the projections of new tokens apart: turned queries for attention, turned keys and values into the caches, token i
 * of row b at position `position[b] + i`. Tokens past the capacity are left out of the caches, so a position of 0xffffffff
 * writes nothing for that row (a finished sequence).
 *
 * @param args.projected `[batch * length, (heads + 2 * keyValueHeads) * headDimension]`, f32 or f16: queries of all heads,
 *   keys, values.
 * @param args.rotaryPositions u32 `[batch * length]`; positions past the table use its last row.
 * @param args.table `[positions, headDimension]` f32 from `rotaryTable`.
 * @param args.position u32 `[batch]`.
 * @param args.query Like projected, `[batch * length, heads * padded]`: turned, times `queryScale`, each head filled up with
 *   zeros to the caches' last axis.
 * @param args.keyCache,valueCache `[batch, keyValueHeads, capacity, padded]`, f32 or f16: one head's keys lie one after the
 *   other, so that decoding streams contiguous memory. What fills heads up is not written.
 */
export function attentionTurnAndCache<T extends Operand>(
  traits: KernelTraits,
  args: {
    projected: T;
    rotaryPositions: T;
    table: T;
    position: T;
    query: T;
    keyCache: T;
    valueCache: T;
    heads: number;
    queryScale: number;
  },
): KernelCall<T> {
  const { projected, rotaryPositions, table, position, query, keyCache, valueCache, heads, queryScale } = args;
  const { name } = turnAndCache;
  const [batch = 0, keyValueHeads = 0, capacity = 0, padded = 0] = keyCache.shape;
  if (keyCache.shape.length !== 4 || batch * keyValueHeads * capacity * padded === 0) {
    throw shapeError(
      name,
      `keyCache is [${keyCache.shape.join(', ')}] where [batch, key-value heads, capacity, head dimension] is needed`,
    );
  }
  const [tableRows = 0, headDimension = 0] = table.shape;
  if (
    table.shape.length !== 2 ||
    tableRows === 0 ||
    headDimension === 0 ||
    headDimension % 2 ||
    headDimension > padded
  ) {
    throw shapeError(
      name,
      `table is [${table.shape.join(', ')}] where [positions, even head dimension up to ${padded}] is needed`,
    );
  }
  const tokens = projected.shape[0] ?? 0;
  if (tokens === 0 || tokens % batch !== 0) {
    throw shapeError(name, `projected has ${tokens} tokens, which do not divide into ${batch} rows`);
  }
  const allHeads = heads + 2 * keyValueHeads;
  expectShape(name, 'projected', projected, [tokens, allHeads * headDimension]);
  expectShape(name, 'rotaryPositions', rotaryPositions, [tokens]);
  expectShape(name, 'position', position, [batch]);
  expectShape(name, 'query', query, [tokens, heads * padded]);
  expectShape(name, 'valueCache', valueCache, keyCache.shape);
  const headsPerWorkgroup = traits.software ? allHeads : Math.min(4, allHeads);
  const halfDimension = headDimension / 2;
  const [gridX, gridY] = linearGrid(tokens);
  return turnAndCache.call({
    aliases: { Scalar: floatType(name, 'projected', projected), KeyValue: floatType(name, 'keyCache', keyCache) },
    overrides: { WORKGROUP_SIZE: traits.software ? 8 : Math.min(64, 32 * divideRoundUp(halfDimension, 32)) },
    params: {
      tokens,
      length: tokens / batch,
      heads,
      key_value_heads: keyValueHeads,
      heads_per_workgroup: headsPerWorkgroup,
      half_dimension: halfDimension,
      padded_dimension: padded,
      capacity,
      table_rows: tableRows,
      query_scale: queryScale,
    },
    bindings: {
      projected,
      rotary_positions: rotaryPositions,
      table,
      position,
      query,
      key_cache: keyCache,
      value_cache: valueCache,
    },
    grid: [gridX, gridY, divideRoundUp(allHeads, headsPerWorkgroup)],
    bytes: 8 * tokens * allHeads * headDimension,
    flops: 3 * tokens * (heads + keyValueHeads) * headDimension,
  });
}

export interface AttentionDecodeScratch<T extends Operand> {
  /** `[rows, heads, splits, headDimension]` f32. */
  partials: T;
  /** `[rows, heads, splits, 2]` f32. */
  statistics: T;
}

/** Into how many splits decoding cuts each row's keys; 0 where it needs no scratch and merges in one dispatch. */
export function attentionDecodeSplits(traits: KernelTraits): number {
  return traits.software ? 0 : 16;
}

/**
 * Attention of one new token per row against its cache: row b sees cached keys `start[b] <= j <= position[b]`, the last
 * of them its own. Rows may stand at different positions.
 *
 * @param args.q `[rows, heads * headDimension]`, f32 or f16.
 * @param args.keyCache,valueCache `[rows, keyValueHeads, capacity, headDimension]`, f32 or f16.
 * @param args.start,position u32 `[rows]`. A row with `start > position` gives zeros.
 * @param args.out Like q.
 * @param args.scratch Needed unless {@link attentionDecodeSplits} is 0.
 */
export function attentionDecode<T extends Operand>(
  traits: KernelTraits,
  args: {
    q: T;
    keyCache: T;
    valueCache: T;
    start: T;
    position: T;
    out: T;
    heads: number;
    scratch?: AttentionDecodeScratch<T> | undefined;
  },
): KernelCall<T>[] {
  const { q, keyCache, valueCache, start, position, out, heads, scratch } = args;
  const splits = attentionDecodeSplits(traits);
  const kernel = splits === 0 ? decodeSoftware : decode;
  const [rows = 0, keyValueHeads = 0, capacity = 0, headDimension = 0] = keyCache.shape;
  const shape: AttentionShape = { batch: rows, length: capacity, heads, keyValueHeads, headDimension };
  checkAttentionShape(kernel.name, shape);
  expectShape(kernel.name, 'q', q, [rows, heads * headDimension]);
  expectShape(kernel.name, 'keyCache', keyCache, [rows, keyValueHeads, capacity, headDimension]);
  expectShape(kernel.name, 'valueCache', valueCache, keyCache.shape);
  expectShape(kernel.name, 'start', start, [rows]);
  expectShape(kernel.name, 'position', position, [rows]);
  expectShape(kernel.name, 'out', out, q.shape);
  const groupSize = heads / keyValueHeads;
  const types = { Scalar: floatType(kernel.name, 'q', q), KeyValue: floatType(kernel.name, 'keyCache', keyCache) };
  const inputs = { q, key_cache: keyCache, value_cache: valueCache, start, position };
  const scale = 1 / Math.sqrt(headDimension);
  const vectors = headDimension / 4;
  // Full caches: how much of them is visible is only known on the GPU.
  const bytes = 8 * rows * keyValueHeads * capacity * headDimension;
  const flops = 4 * rows * heads * capacity * headDimension;
  if (splits === 0) {
    return [
      decodeSoftware.call({
        aliases: types,
        constants: { HEAD_DIMENSION: headDimension },
        params: { vectors, heads, group_size: groupSize, capacity, scale },
        bindings: { ...inputs, out },
        grid: [heads, rows, 1],
        bytes,
        flops,
      }),
    ];
  }
  if (scratch === undefined) throw shapeError(kernel.name, `scratch for ${splits} splits is missing`);
  const { partials, statistics } = scratch;
  expectShape(kernel.name, 'partials', partials, [rows, heads, splits, headDimension]);
  expectShape(kernel.name, 'statistics', statistics, [rows, heads, splits, 2]);
  let headsPerWorkgroup = Math.min(groupSize, mostHeadsPerWorkgroup);
  while (groupSize % headsPerWorkgroup !== 0) headsPerWorkgroup--;
  const count = rows * heads * vectors;
  return [
    decode.call({
      aliases: types,
      constants: { HEAD_DIMENSION: headDimension, HEADS: headsPerWorkgroup },
      params: { vectors, heads, group_size: groupSize, capacity, splits, scale },
      bindings: { ...inputs, partials, statistics },
      grid: [heads / headsPerWorkgroup, splits, rows],
      bytes,
      flops,
    }),
    decodeCombine.call({
      aliases: { Scalar: types.Scalar },
      params: { count, vectors, splits },
      bindings: { partials, statistics, out },
      grid: linearGrid(divideRoundUp(count, 64)),
      bytes: 4 * rows * heads * headDimension * (splits + 1),
      flops: 2 * rows * heads * headDimension * splits,
    }),
  ];
}
