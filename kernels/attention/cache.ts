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
import { cacheSizes, cacheWidth, defineCacheKernels, type CacheOperands } from './cache-type.js';
import { checkAttentionShape, type AttentionShape } from './shape.js';

const aliases = { Scalar: 'f32' } as const;
const turnAndCache = defineCacheKernels('attention turn-and-cache', turnAndCacheSource, {
  aliases,
  constants: { HEADS: 4 },
});
const decodeSoftware = defineCacheKernels('attention decode-software', decodeSoftwareSource, {
  aliases,
  constants: { HEAD_DIMENSION: 64 },
});
const decode = defineCacheKernels('attention decode', decodeSource, {
  aliases,
  constants: { HEAD_DIMENSION: 64, HEADS: 4 },
});
const decodeCombine = defineKernel('attention decode-combine', decodeCombineSource, { aliases });

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
 * @param args.query Like projected, `[batch * length, heads * cache.headDimension]`: turned, times `queryScale`.
 * @param args.cache its heads, and those of query, may be larger than the table's: zeros fill them up.
 */
export function attentionTurnAndCache<T extends Operand>(
  traits: KernelTraits,
  args: {
    projected: T;
    rotaryPositions: T;
    table: T;
    position: T;
    query: T;
    cache: CacheOperands<T>;
    heads: number;
    queryScale: number;
  },
): KernelCall<T> {
  const { projected, rotaryPositions, table, position, query, cache, heads, queryScale } = args;
  const kernel = turnAndCache[cache.type];
  const { name } = kernel;
  const { batch, keyValueHeads, capacity, headDimension: padded } = cacheSizes(name, cache);
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
  const headsPerWorkgroup = traits.software ? allHeads : Math.min(4, allHeads);
  const vectors = padded / 4;
  const [gridX, gridY] = linearGrid(tokens);
  return kernel.call({
    aliases: { Scalar: floatType(name, 'projected', projected) },
    constants: { HEADS: headsPerWorkgroup },
    overrides: { WORKGROUP_SIZE: traits.software ? 8 : 32 },
    params: {
      tokens,
      length: tokens / batch,
      heads,
      key_value_heads: keyValueHeads,
      half_dimension: headDimension / 2,
      vectors,
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
      key_cache: cache.keys,
      value_cache: cache.values,
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
 * @param args.start,position u32 `[rows]`. A row with `start > position` gives zeros.
 * @param args.out Like q.
 * @param args.scratch Needed unless {@link attentionDecodeSplits} is 0.
 */
export function attentionDecode<T extends Operand>(
  traits: KernelTraits,
  args: {
    q: T;
    cache: CacheOperands<T>;
    start: T;
    position: T;
    out: T;
    heads: number;
    scratch?: AttentionDecodeScratch<T> | undefined;
  },
): KernelCall<T>[] {
  const { q, cache, start, position, out, heads, scratch } = args;
  const splits = attentionDecodeSplits(traits);
  const kernel = (splits === 0 ? decodeSoftware : decode)[cache.type];
  const { batch: rows, keyValueHeads, capacity, headDimension } = cacheSizes(kernel.name, cache);
  const shape: AttentionShape = { batch: rows, length: capacity, heads, keyValueHeads, headDimension };
  checkAttentionShape(kernel.name, shape);
  expectShape(kernel.name, 'q', q, [rows, heads * headDimension]);
  expectShape(kernel.name, 'start', start, [rows]);
  expectShape(kernel.name, 'position', position, [rows]);
  expectShape(kernel.name, 'out', out, q.shape);
  const groupSize = heads / keyValueHeads;
  const types = { Scalar: floatType(kernel.name, 'q', q) };
  const inputs = { q, key_cache: cache.keys, value_cache: cache.values, start, position };
  const scale = 1 / Math.sqrt(headDimension);
  const vectors = headDimension / 4;
  // Full caches: how much of them is visible is only known on the GPU.
  const bytes = 8 * rows * keyValueHeads * capacity * cacheWidth(cache.type, headDimension);
  const flops = 4 * rows * heads * capacity * headDimension;
  if (splits === 0) {
    return [
      kernel.call({
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
    kernel.call({
      aliases: types,
      constants: { HEAD_DIMENSION: headDimension, HEADS: headsPerWorkgroup },
      params: { vectors, heads, group_size: groupSize, capacity, splits, scale },
      bindings: { ...inputs, partials, statistics },
      grid: [heads / headsPerWorkgroup, splits, rows],
      bytes,
      flops,
    }),
    decodeCombine.call({
      aliases: types,
      params: { count, vectors, splits },
      bindings: { partials, statistics, out },
      grid: linearGrid(divideRoundUp(count, 64)),
      bytes: 4 * rows * heads * headDimension * (splits + 1),
      flops: 2 * rows * heads * headDimension * splits,
    }),
  ];
}
