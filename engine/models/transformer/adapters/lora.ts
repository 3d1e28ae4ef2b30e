import { Emu3Error } from '../../../../kernels/core/errors.js';
import { mix32 } from '../../../../kernels/core/mix.js';
import { elementCount } from '../../../../kernels/core/types.js';
import type { Device } from '../../../device.js';
import { ParameterStore, type ParameterStoreOptions } from '../../../parameters.js';

/** The kinds of linear layers that adapters go beside, as PEFT's `target_modules` names them. */
export const loraTargets = ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj'] as const;

export type LoraTarget = (typeof loraTargets)[number];

export interface LoraOptions {
  /** Inner dimension r of the products B A, from 1. */
  readonly rank: number;
  /** The products are scaled by alpha / rank; above 0. */
  readonly alpha: number;
  /** Default all of {@link loraTargets}. */
  readonly targets?: readonly LoraTarget[];
  /** Dropout rate on what A reads, in training only; in [0, 1), default 0. */
  readonly dropout?: number;
}

/** The adapter of one weight. */
export interface LoraPair {
  /** Hub name of the base weight [out, in]. */
  readonly base: string;
  readonly shape: readonly number[];
  /** Names of A [rank, in] and B [out, rank], as PEFT writes them. */
  readonly a: string;
  readonly b: string;
}

/**
 * Low-rank adapters (LoRA, Hu et al. 2021, arXiv 2106.09685, section 4.1) of a transformer's linear layers:
 * y = W x + (alpha / rank) B (A x), where only A and B are trained. Their parameters lie in a store of their own under
 * PEFT's names, so what saves, restores and optimises a store does so with adapters; W can be shared and stays as it is.
 */
export class LoraAdapters {
  readonly options: Required<LoraOptions>;
  readonly store: ParameterStore;
  /** By the base weight's hub name. */
  readonly pairs: ReadonlyMap<string, LoraPair>;

  private constructor(options: Required<LoraOptions>, store: ParameterStore, pairs: ReadonlyMap<string, LoraPair>) {
    this.options = options;
    this.store = store;
    this.pairs = pairs;
  }

  /**
   * Adapters with A and B zero: the model is what it was. {@link initialise} before training.
   *
   * @param baseShapes the model's weights by hub name, for example `store.shapes`.
   * @throws Emu3Error `argument` for options outside their ranges or an unknown target, `missing` when the model has no
   *   layer of a target.
   */
  static create(
    device: Device,
    baseShapes: ReadonlyMap<string, readonly number[]>,
    options: LoraOptions,
    storeOptions: ParameterStoreOptions = {},
  ): LoraAdapters {
    const complete = completeOptions(options);
    const pairs = loraPairs(baseShapes, complete.targets);
    const store = ParameterStore.create(device, shapesOf(pairs, complete.rank), storeOptions);
    return new LoraAdapters(complete, store, pairs);
  }

  /** What the products B A are multiplied by. */
  get scale(): number {
    return this.options.alpha / this.options.rank;
  }

  /**
   * A uniform within 1 / sqrt(in) either way (He et al. 2015, equation 10, with PEFT's negative slope of sqrt 5), B zero:
   * training starts from the base model. The same seed gives the same values.
   */
  initialise(seed: number): void {
    let drawn = mix32(mix32(seed >>> 0) + 0x9e3779b9);
    for (const { a, b, shape } of this.pairs.values()) {
      const bound = 1 / Math.sqrt(shape[1]);
      const values = Float32Array.from({ length: this.options.rank * shape[1] }, () => {
        drawn = (drawn + 0x9e3779b9) >>> 0;
        return ((mix32(drawn) + 0.5) / 2 ** 31 - 1) * bound;
      });
      this.store.tensor(a).write(values);
      this.store.tensor(b).write(new Float32Array(elementCount(this.store.tensor(b).shape)));
    }
  }

  destroy(): void {
    this.store.destroy();
  }
}

/**
 * Shapes of the tensors of adapters by PEFT name, A before B.
 * @throws Emu3Error as {@link LoraAdapters.create}.
 */
export function loraTensorShapes(
  baseShapes: ReadonlyMap<string, readonly number[]>,
  options: LoraOptions,
): Map<string, readonly number[]> {
  const { rank, targets } = completeOptions(options);
  return shapesOf(loraPairs(baseShapes, targets), rank);
}

function shapesOf(pairs: ReadonlyMap<string, LoraPair>, rank: number): Map<string, readonly number[]> {
  const shapes = new Map<string, readonly number[]>();
  for (const { a, b, shape } of pairs.values()) {
    shapes.set(a, [rank, shape[1]]);
    shapes.set(b, [shape[0], rank]);
  }
  return shapes;
}

function loraPairs(
  baseShapes: ReadonlyMap<string, readonly number[]>,
  targets: readonly LoraTarget[],
): Map<string, LoraPair> {
  const pairs = new Map<string, LoraPair>();
  const found = new Set<string>();
  for (const [base, shape] of baseShapes) {
    const kind = /^model\.layers\.\d+\.\w+\.(\w+)\.weight$/.exec(base)?.[1];
    const target = targets.find((name) => name === kind);
    if (target === undefined) continue;
    found.add(target);
    const module = `base_model.model.${base.slice(0, -'.weight'.length)}`;
    pairs.set(base, { base, shape, a: `${module}.lora_A.weight`, b: `${module}.lora_B.weight` });
  }
  const absent = targets.find((target) => !found.has(target));
  if (absent !== undefined) {
    throw new Emu3Error(`The model has no layer ${absent}.`, {
      code: 'missing',
      where: 'targets',
      fix: 'Give the shapes of a transformer, under hub names.',
    });
  }
  return pairs;
}

function completeOptions({ rank, alpha, targets = loraTargets, dropout = 0 }: LoraOptions): Required<LoraOptions> {
  const refuse = (where: string, message: string, fix: string): never => {
    throw new Emu3Error(message, { code: 'argument', where, fix });
  };
  if (!Number.isSafeInteger(rank) || rank < 1) refuse('rank', `The rank is ${rank}.`, 'Give a whole number from 1.');
  if (!(Number.isFinite(alpha) && alpha > 0)) refuse('alpha', `alpha is ${alpha}.`, 'Give a number above 0.');
  if (!(dropout >= 0 && dropout < 1)) refuse('dropout', `The rate is ${dropout}.`, 'Give a number in [0, 1).');
  const unknown = targets.find((target) => !loraTargets.includes(target));
  if (unknown !== undefined)
    refuse('targets', `There is no target ${unknown}.`, `Choose from ${loraTargets.join(', ')}.`);
  if (targets.length === 0) refuse('targets', 'There is no target.', `Choose from ${loraTargets.join(', ')}.`);
  // In the order of the layers, whatever order they came in.
  return { rank, alpha, targets: loraTargets.filter((target) => targets.includes(target)), dropout };
}
