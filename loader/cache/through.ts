import { Emu3Error } from '../../kernels/core/errors.js';
import type { QuantizationFormat } from '../../kernels/quantize/index.js';
import type { Device } from '../../engine/device.js';
import type { QuantizedParameters } from '../../engine/quantized/index.js';
import type { TransferOptions } from '../transfer.js';
import { packedKey, readPackedEntry, writePackedEntry } from './packed.js';
import type { CacheStore } from './store.js';

/** What became of the cache. */
export type CacheOutcome =
  | { readonly kind: 'read' | 'written'; readonly key: string }
  /** An entry that was damaged has been removed, and one made anew. */
  | { readonly kind: 'replaced'; readonly key: string; readonly reason: Emu3Error }
  /** The model is loaded, but could not be kept. */
  | { readonly kind: 'not written'; readonly key: string; readonly reason: Emu3Error }
  /** The place of the files cannot tell whether they have changed, so nothing is kept. */
  | { readonly kind: 'not used' };

/** What is to be packed. */
interface KeptModel {
  readonly config: object;
  readonly shapes: ReadonlyMap<string, readonly number[]>;
  readonly formats: ReadonlyMap<string, QuantizationFormat>;
  /** Version of the checkpoint's content, where it is known. */
  readonly content: string | undefined;
}

/**
 * The packed model from the cache, or by `pack`, and then into the cache.
 *
 * @throws Emu3Error `aborted`, and what `pack` throws. Failures of the cache are told, not thrown.
 */
export async function throughCache(
  device: Device,
  cache: CacheStore,
  model: KeptModel,
  options: TransferOptions & { onCache?: ((outcome: CacheOutcome) => void) | undefined },
  pack: () => Promise<QuantizedParameters>,
): Promise<QuantizedParameters> {
  const { signal, onCache } = options;
  if (model.content === undefined) {
    onCache?.({ kind: 'not used' });
    return pack();
  }
  const key = await packedKey(model.content, model.config, model.formats);
  const kept = await readKept(device, cache, key, model, options);
  if (kept.parameters) {
    onCache?.({ kind: 'read', key });
    return kept.parameters;
  }
  const parameters = await pack();
  try {
    await writePackedEntry(cache, key, parameters, signal);
    onCache?.(kept.reason ? { kind: 'replaced', key, reason: kept.reason } : { kind: 'written', key });
  } catch (error) {
    if (!(error instanceof Emu3Error) || !['disk-full', 'io'].includes(error.code)) {
      parameters.destroy();
      throw error;
    }
    onCache?.({ kind: 'not written', key, reason: error });
  }
  return parameters;
}

/** Why an entry may be unreadable without a fault of the model or the machine. */
const damages: readonly string[] = ['format', 'missing', 'shape', 'dtype', 'duplicate', 'io'];

/** The parameters of an entry; where it is damaged it is removed and the reason told. */
async function readKept(
  device: Device,
  cache: CacheStore,
  key: string,
  { shapes, formats }: KeptModel,
  options: TransferOptions,
): Promise<{ parameters?: QuantizedParameters; reason?: Emu3Error }> {
  try {
    const source = await cache.open(key);
    if (source === undefined) return {};
    try {
      return { parameters: await readPackedEntry(device, source, key, shapes, formats, options) };
    } finally {
      await source.close();
    }
  } catch (error) {
    if (!(error instanceof Emu3Error) || !damages.includes(error.code)) throw error;
    await cache.remove(key).catch(() => false);
    return { reason: error };
  }
}
