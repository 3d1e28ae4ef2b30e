import { Emu3Error } from '../core/errors.js';
import { defineKernel, shapeError, type DType, type Kernel, type Operand, type Prelude } from '../core/index.js';
import f16Source from './vectors-f16.wgsl';
import plainSource from './vectors-plain.wgsl';
import q8Source from './vectors-q8.wgsl';

/**
 * How cached keys and values are kept. `f16`: rounded to half precision (relative error up to 2^-11, magnitudes up to
 * 65504), in pairs, so no adapter needs f16. `q8`: levels -127..127 times an f32 scale for each head's vector of each
 * position, its largest magnitude / 127: every element is within 1/254 of the vector's largest magnitude.
 */
export type CacheType = 'f32' | 'f16' | 'q8';

/** From the largest to the smallest. */
export const cacheTypes: readonly CacheType[] = ['f32', 'f16', 'q8'];

/** What a cache's tensors hold. */
export function cacheElement(type: CacheType): 'f32' | 'u32' {
  return type === 'f32' ? 'f32' : 'u32';
}

/**
 * Elements of a cache's last axis, all of 4 bytes: one head's vector of one position. f16: element i is half i % 2 of word
 * i / 2. q8: the scale, then element i as byte i % 4 of word 1 + i / 4, two's complement.
 *
 * @param headDimension a multiple of 4.
 */
export function cacheWidth(type: CacheType, headDimension: number): number {
  return { f32: headDimension, f16: headDimension / 2, q8: 1 + headDimension / 4 }[type];
}

/** @throws Emu3Error `argument` for a type there is none of. */
export function checkCacheType(type: CacheType): void {
  if (cacheTypes.includes(type)) return;
  throw new Emu3Error(`There is no key-value cache of type ${type}.`, {
    code: 'argument',
    where: 'cacheType',
    fix: `Choose from ${cacheTypes.join(', ')}.`,
  });
}

/** Keys and values of earlier positions as operands of kernel calls. */
export interface CacheOperands<T extends Operand> {
  /** `[batch, keyValueHeads, capacity, cacheWidth]`: one head's vectors lie one after the other, so that decoding streams. */
  keys: T;
  /** Like keys. */
  values: T;
  type: CacheType;
  /** Elements of a head's vector, a multiple of 4. */
  headDimension: number;
}

/**
 * Sizes of a cache.
 *
 * @throws Emu3Error `shape` unless both tensors are as its type and head dimension want them.
 */
export function cacheSizes(
  kernel: string,
  cache: CacheOperands<Operand>,
): { batch: number; keyValueHeads: number; capacity: number; headDimension: number } {
  const { keys, values, type, headDimension } = cache;
  const [batch = 0, keyValueHeads = 0, capacity = 0] = keys.shape;
  const shape = [batch, keyValueHeads, capacity, cacheWidth(type, headDimension)].join(', ');
  const wrong = batch * keyValueHeads * capacity * headDimension === 0 || headDimension % 4 !== 0;
  for (const [name, tensor] of Object.entries({ keys, values })) {
    if (wrong || tensor.shape.join(', ') !== shape) {
      throw shapeError(
        kernel,
        `${name} of the ${type} cache are [${tensor.shape.join(', ')}] where [${shape}] is needed`,
      );
    }
  }
  return { batch, keyValueHeads, capacity, headDimension };
}

/** A kernel for each type of the cache it reads or writes. What the types differ in stands before its source. */
export function defineCacheKernels(name: string, source: string, prelude: Prelude): Record<CacheType, Kernel> {
  const define = (type: CacheType, vectors: string): Kernel => {
    const KeyValue: DType = cacheElement(type);
    const aliases = { ...prelude.aliases, KeyValue };
    return defineKernel(type === 'f32' ? name : `${name} ${type}`, `${vectors}\n${source}`, { ...prelude, aliases });
  };
  return { f32: define('f32', plainSource), f16: define('f16', f16Source), q8: define('q8', q8Source) };
}
