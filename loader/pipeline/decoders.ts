import { contextLength, Decoder, type IdSlice } from '../../engine/decode/index.js';
import type { ModelWeights, TransformerConfig } from '../../engine/models/transformer/index.js';
import type { Device } from '../../engine/device.js';

export interface DecoderNeed {
  sequences: number;
  guided: boolean;
  slice: IdSlice;
  /** Positions a row takes. */
  capacity: number;
  /** Whether several tokens may be read a step, where the pool has windows. */
  drafts?: boolean;
  /** Lines written at once; default 1. */
  lanes?: number;
}

export interface DecoderPoolOptions {
  cacheType: 'f32' | 'f16';
  /** As `DecoderOptions.windows`; empty for one token a step. */
  windows: readonly number[];
  /** Tokens that a line of a picture is ahead of the one below; undefined for raster order. */
  stagger: number | undefined;
}

/** Decoders kept at a time: one for pictures, one for text. */
const keptDecoders = 2;
/** Capacities are rounded up, so that prompts a little longer find their decoder ready. */
const capacityStep = 128;

/** Recorded decoders by what they can do, made when first needed. */
export class DecoderPool {
  private readonly device: Device;
  private readonly config: TransformerConfig;
  private readonly weights: ModelWeights;
  readonly options: DecoderPoolOptions;
  /** Last used last. */
  private kept: Decoder[] = [];
  private readonly needs = new Map<Decoder, DecoderNeed>();

  constructor(device: Device, config: TransformerConfig, weights: ModelWeights, options: DecoderPoolOptions) {
    this.device = device;
    this.config = config;
    this.weights = weights;
    this.options = options;
  }

  /** @throws Emu3Error of `Decoder.create`. */
  async take(need: DecoderNeed): Promise<Decoder> {
    const fits = (decoder: Decoder): boolean => this.alike(decoder, need) && decoder.capacity >= need.capacity;
    let decoder = this.kept.find(fits);
    if (decoder === undefined) {
      for (const smaller of this.kept.filter((other) => this.alike(other, need))) this.drop(smaller);
      for (const old of this.kept.slice(0, Math.max(0, this.kept.length + 1 - keptDecoders))) this.drop(old);
      const rounded = Math.ceil(need.capacity / capacityStep) * capacityStep;
      const capacity = Math.max(need.capacity, Math.min(rounded, contextLength(this.config)));
      const { sequences, guided, slice } = need;
      const { cacheType, windows } = this.options;
      const { lanes = 1 } = need;
      const read = lanes > 1 ? { lanes } : { windows: need.drafts ? windows : [] };
      const options = { sequences, guided, slice, capacity, cacheType, ...read };
      decoder = await Decoder.create(this.device, this.config, this.weights, options);
      this.needs.set(decoder, need);
    }
    const chosen = decoder;
    this.kept = [...this.kept.filter((other) => other !== chosen), chosen];
    return chosen;
  }

  private alike(decoder: Decoder, need: DecoderNeed): boolean {
    const { slice, drafts = false, lanes = 1 } = this.needs.get(decoder) ?? need;
    return (
      decoder.sequences === need.sequences &&
      decoder.guided === need.guided &&
      slice.first === need.slice.first &&
      slice.count === need.slice.count &&
      drafts === (need.drafts ?? false) &&
      lanes === (need.lanes ?? 1)
    );
  }

  private drop(decoder: Decoder): void {
    this.kept = this.kept.filter((other) => other !== decoder);
    this.needs.delete(decoder);
    decoder.destroy();
  }

  destroy(): void {
    for (const decoder of [...this.kept]) this.drop(decoder);
  }
}
