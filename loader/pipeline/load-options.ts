import { Emu3Error } from '../../kernels/core/errors.js';
import { checkCacheType, checkWindows, type CacheType } from '../../engine/decode/index.js';
import type { Device } from '../../engine/device.js';
import type { TextTokenizer } from '../../tokenizer/index.js';
import type { CacheStore } from '../cache/store.js';
import type { CacheOutcome } from '../cache/through.js';
import type { ModelFolder } from '../folder.js';
import type { MemoryBudget } from '../memory/budget.js';
import type { LoadProgress } from '../transfer.js';
import { checkWeightFormat, type WeightFormat } from './weights.js';

export interface Emu3LoadProgress extends LoadProgress {
  part: 'transformer' | 'vision tokenizer' | 'adapters';
}

export interface Emu3LoadOptions {
  device: Device;
  /**
   * Laid out as on the hub: config.json, model.safetensors (or shards with their index), tokenizer.json or a .tiktoken rank
   * file, generation_config.json if there is one, and the vision tokenizer in the subfolder vision_tokenizer.
   */
  folder: ModelFolder;
  /** Where the vision tokenizer is, if not in the subfolder. */
  visionFolder?: ModelFolder;
  /**
   * How the transformer's matrices are kept on the GPU: f32, or packed while they load in 8 or 4 bits a weight, with
   * an f16 scale for every 32; `Emu3.packing` then tells what that changed. Layers whose inputs are no multiple of
   * 32 stay f32. Default f32.
   */
  weights?: WeightFormat;
  /**
   * Where packed weights are kept, so that they are packed once: `diskCache()` in Node, `privateFileCache()` in browsers.
   * Default: nowhere.
   */
  cache?: CacheStore;
  /** Weights are kept there from so many bytes in the model's files. Default: always. */
  cacheFrom?: number;
  /** Told what became of the cache, once. */
  onCache?: (outcome: CacheOutcome) => void;
  /**
   * Bytes that the model may take on the GPU: a larger one is refused before a weight is read, with what would fit. Default:
   * no limit, as adapters do not tell theirs.
   */
  memoryLimit?: number;
  /** Told what the model will take, before a weight is read. */
  onBudget?: (budget: MemoryBudget) => void;
  /** Low-rank adapters as PEFT saves them, made for this model: merged into f32 weights, beside packed ones. */
  adapters?: ModelFolder;
  /** Instead of the folder's own. */
  tokenizer?: TextTokenizer;
  /**
   * How cached keys and values are kept: f16 halves them, on every adapter; q8, levels of 8 bits with a scale for each head
   * and position, takes 28 % of f32 with heads of 32 and 26 % with heads of 128. Default f32.
   */
  cacheType?: CacheType;
  /**
   * Write several tokens of pictures and videos a step, with the ids that one a step gives (Jacobi decoding): sizes of
   * windows, 1 to 64 tokens, of which the fastest is found while drawing. {@link exactWindows} are a good choice. Pays off
   * where a step takes little longer for more tokens, as on GPUs. Default: one token a step.
   */
  windows?: readonly number[];
  /**
   * Write several lines of a picture at once, each so many tokens behind the one above: fewer steps, but tokens do not see
   * all that lies before them, so pictures differ from those of raster order and may be worse (ZipAR, arXiv 2412.04062).
   * From 1; not together with windows. Default: raster order.
   */
  stagger?: number;
  signal?: AbortSignal;
  onProgress?: (progress: Emu3LoadProgress) => void;
}

/** Sizes of windows that suit most models and adapters. */
export const exactWindows: readonly number[] = [1, 4, 8, 16];

/** @throws Emu3Error `argument` for settings outside their ranges. */
export function checkLoadOptions({ weights = 'f32', cacheType = 'f32', windows = [], stagger }: Emu3LoadOptions): void {
  checkWindows(windows);
  checkStagger(stagger, windows);
  checkWeightFormat(weights);
  checkCacheType(cacheType);
}

/** @throws Emu3Error `argument` unless a stagger is a whole number from 1 and there are no windows beside it. */
function checkStagger(stagger: number | undefined, windows: readonly number[]): void {
  if (stagger === undefined || (Number.isInteger(stagger) && stagger >= 1 && windows.length === 0)) return;
  throw new Emu3Error(windows.length > 0 ? 'Windows and a stagger were both given.' : `The stagger is ${stagger}.`, {
    code: 'argument',
    where: 'stagger',
    fix: 'Give a whole number from 1, or windows.',
  });
}
