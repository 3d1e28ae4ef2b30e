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
import newTokensSource from './new-tokens.wgsl';
import turnAndCacheSource from './turn-and-cache.wgsl';
import { cacheSizes, cacheWidth, defineCacheKernels, type CacheOperands } from './cache-type.js';
import { checkAttentionShape } from './shape.js';

const aliases = { Scalar: 'f32' } as const;
const turnAndCache = defineCacheKernels('attention turn-and-cache', turnAndCacheSource, {
  aliases,
  constants: { HEADS: 4 },
});
const decodeSoftware = defineCacheKernels('attention decode-software', `${newTokensSource}\n${decodeSoftwareSource}`, {
  aliases,
  constants: { HEAD_DIMENSION: 64, NEW_TOKENS: 1 },
});
const decode = defineCacheKernels('attention decode', `${newTokensSource}\n${decodeSource}`, {
  aliases,
  constants: { HEAD_DIMENSION: 64, NEW_TOKENS: 1, QUERIES: 4 },
});
const decodeCombine = defineKernel('attention decode-combine', decodeCombineSource, { aliases });

/** (token, head) pairs of one key-value head that a decoding workgroup serves at most. */
const mostQueriesPerWorkgroup = 8;

/** Projections of new tokens, equally many of each row of a cache, and where they stand. */
export interface NewTokens<T extends Operand> {
  /**
   * `[batch * length, (heads + 2 * keyValueHeads) * headDimension]`, f32 or f16: queries of all heads, keys, values. The
   * cache's heads may be larger: zeros fill them up.
   */
  projected: T;
  /** u32 `[batch * length]`; positions past the table use its last row. */
  rotaryPositions: T;
  /** `[positions, headDimension]` f32 from `rotaryTable`. */
  table: T;
  /** u32 `[batch]`: token i of row b has slot `position[b] + i` of the cache. */
  position: T;
}

/** Sizes of new tokens and the cache they go to. @throws Emu3Error `shape` where they do not fit together. */
function newTokenSizes(
  name: string,
  { projected, rotaryPositions, table, position }: NewTokens<Operand>,
  cache: CacheOperands<Operand>,
  heads: number,
) {
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
  expectShape(name, 'projected', projected, [tokens, (heads + 2 * keyValueHeads) * headDimension]);
  expectShape(name, 'rotaryPositions', rotaryPositions, [tokens]);
  expectShape(name, 'position', position, [batch]);
  return { batch, keyValueHeads, capacity, padded, tableRows, headDimension, tokens, length: tokens / batch };
}

/**
 * Takes the projections of new tokens apart: turned queries for attention, turned keys and values into the caches. Tokens
 * past the capacity are left out of the caches, so a position of 0xffffffff writes nothing for that row (a finished
 * sequence).
 *
 * @param args.query Like projected, `[batch * length, heads * cache.headDimension]`: turned, times `queryScale`.
 */
export function attentionTurnAndCache<T extends Operand>(
  traits: KernelTraits,
  args: NewTokens<T> & { query: T; cache: CacheOperands<T>; heads: number; queryScale: number },
): KernelCall<T> {
  const { projected, rotaryPositions, table, position, query, cache, heads, queryScale } = args;
  const kernel = turnAndCache[cache.type];
  const { name } = kernel;
  const sizes = newTokenSizes(name, args, cache, heads);
  const { keyValueHeads, capacity, padded, tableRows, headDimension, tokens, length } = sizes;
  expectShape(name, 'query', query, [tokens, heads * padded]);
  const allHeads = heads + 2 * keyValueHeads;
  const headsPerWorkgroup = traits.software ? allHeads : Math.min(4, allHeads);
  const vectors = padded / 4;
  const [gridX, gridY] = linearGrid(tokens);
  return kernel.call({
    aliases: { Scalar: floatType(name, 'projected', projected) },
    constants: { HEADS: headsPerWorkgroup },
    overrides: { WORKGROUP_SIZE: traits.software ? 8 : 32 },
    params: {
      tokens,
      length,
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

/**
 * Whether {@link attentionDecode} takes so many new tokens of a row, in heads of such a dimension. More than two are turned
 * sooner by one dispatch for all who attend to them: every head of a group turns them anew here.
 */
export function attentionDecodes(length: number, headDimension: number): boolean {
  return length <= 2 && headDimension % 8 === 0;
}

/** Into how many splits decoding cuts each row's keys; 0 where it merges in one dispatch. */
function decodeSplits(traits: KernelTraits): number {
  return traits.software ? 0 : 16;
}

/**
 * What {@link attentionDecode} needs for partial sums, f32, with so many new tokens in all; undefined where it needs none.
 */
export function attentionDecodePartials(
  traits: KernelTraits,
  sizes: { tokens: number; heads: number; headDimension: number },
): readonly number[] | undefined {
  const splits = decodeSplits(traits);
  return splits === 0 ? undefined : [sizes.tokens, sizes.heads, splits, 4 + sizes.headDimension];
}

/**
 * Attention of one or two new tokens per row, straight out of their projections, against the cache and one another: token i
 * of row b sees keys `start[b] <= j <= position[b] + i`, the last of them its own. Their keys and values go into the cache
 * as {@link attentionTurnAndCache} would write them, and count as the cache will give them back. Those past the capacity
 * are left out. Rows may stand at different positions; one at 0xffffffff sees nothing.
 *
 * @param args.table Its head dimension is that of the cache, and one of {@link attentionDecodes}.
 * @param args.start u32 `[batch]`. A token that sees nothing gives zeros.
 * @param args.out Like projected, `[batch * length, heads * cache.headDimension]`.
 * @param args.partials f32 of {@link attentionDecodePartials}.
 */
export function attentionDecode<T extends Operand>(
  traits: KernelTraits,
  args: NewTokens<T> & { cache: CacheOperands<T>; start: T; out: T; heads: number; partials?: T | undefined },
): KernelCall<T>[] {
  const { projected, rotaryPositions, table, position, cache, start, out, heads, partials } = args;
  const splits = decodeSplits(traits);
  const kernel = (splits === 0 ? decodeSoftware : decode)[cache.type];
  const { name } = kernel;
  const sizes = newTokenSizes(name, args, cache, heads);
  const { batch, keyValueHeads, capacity, padded, headDimension, tableRows, tokens, length } = sizes;
  checkAttentionShape(name, { batch, length, heads, keyValueHeads, headDimension });
  if (padded !== headDimension || !attentionDecodes(length, headDimension)) {
    const given = `${length} tokens of a row in heads of ${headDimension}, cached in ${padded},`;
    throw shapeError(name, `${given} where 1 or 2 in heads of a multiple of 8 are needed`);
  }
  expectShape(name, 'start', start, [batch]);
  expectShape(name, 'out', out, [tokens, heads * headDimension]);
  const types = { Scalar: floatType(name, 'projected', projected) };
  const constants = { HEAD_DIMENSION: headDimension, NEW_TOKENS: length };
  const vectors = headDimension / 4;
  const params = {
    vectors,
    heads,
    key_value_heads: keyValueHeads,
    capacity,
    table_rows: tableRows,
    scale: 1 / Math.sqrt(headDimension),
  };
  const bindings = {
    projected,
    rotary_positions: rotaryPositions,
    table,
    start,
    position,
    key_cache: cache.keys,
    value_cache: cache.values,
  };
  // Full caches: how much of them is visible is only known on the GPU.
  const bytes = 8 * batch * keyValueHeads * capacity * cacheWidth(cache.type, headDimension);
  const flops = 4 * tokens * heads * capacity * headDimension;
  const partialsShape = attentionDecodePartials(traits, { tokens, heads, headDimension });
  if (partialsShape === undefined) {
    return [
      kernel.call({
        aliases: types,
        constants,
        params,
        bindings: { ...bindings, out },
        grid: [heads, tokens, 1],
        bytes,
        flops,
      }),
    ];
  }
  if (partials === undefined) throw shapeError(name, `partials of ${splits} splits are missing`);
  expectShape(name, 'partials', partials, partialsShape);
  const pairs = (length * heads) / keyValueHeads;
  const blocks = divideRoundUp(pairs, mostQueriesPerWorkgroup);
  const count = tokens * heads * vectors;
  return [
    kernel.call({
      aliases: types,
      constants: { ...constants, QUERIES: divideRoundUp(pairs, blocks) },
      params: { ...params, splits },
      bindings: { ...bindings, partials },
      grid: [keyValueHeads * blocks, splits, batch],
      bytes,
      flops,
    }),
    decodeCombine.call({
      aliases: types,
      params: { count, vectors, splits },
      bindings: { partials, out },
      grid: linearGrid(divideRoundUp(count, 64)),
      bytes: 4 * tokens * heads * (splits * (4 + headDimension) + headDimension),
      flops: 2 * tokens * heads * headDimension * splits,
    }),
  ];
}
