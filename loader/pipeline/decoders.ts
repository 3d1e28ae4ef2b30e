import { contextLength, Decoder, type CacheType, type IdSlice } from '../../engine/decode/index.js';
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
  /** Whether prompts go on where the last one ended, as a conversation's do: they grow, and are not read again. */
  goesOn?: boolean;
}

export interface DecoderPoolOptions {
  cacheType: CacheType;
  /** As `DecoderOptions.windows`; empty for one token a step. */
  windows: readonly number[];
  /** Tokens that a line of a picture is ahead of the one below; undefined for raster order. */
  stagger: number | undefined;
}

/** Decoders kept at a time: one for pictures, one for text. */
const keptDecoders = 2;
/** Capacities are rounded up, so that prompts a little longer find their decoder ready. */
const capacityStep = 128;
/** A decoder of conversations that grew too small is followed by one so much larger: each new one reads all of it again. */
const growth = 1.5;

/** A decoder and what it was made for. */
interface KeptDecoder {
  readonly decoder: Decoder;
  readonly need: DecoderNeed;
}

/** Recorded decoders by what they can do, made when first needed. */
export class DecoderPool {
  private readonly device: Device;
  private readonly config: TransformerConfig;
  private readonly weights: ModelWeights;
  readonly options: DecoderPoolOptions;
  /** Last used last. */
  private kept: KeptDecoder[] = [];

  constructor(device: Device, config: TransformerConfig, weights: ModelWeights, options: DecoderPoolOptions) {
    this.device = device;
    this.config = config;
    this.weights = weights;
    this.options = options;
  }

  /** @throws Emu3Error of `Decoder.create`. */
  async take(need: DecoderNeed): Promise<Decoder> {
    const found = this.kept.find((other) => alike(other.need, need) && other.decoder.capacity >= need.capacity);
    const chosen = found ?? (await this.make(need));
    this.kept = [...this.kept.filter((other) => other !== chosen), chosen];
    return chosen.decoder;
  }

  private async make(need: DecoderNeed): Promise<KeptDecoder> {
    const smaller = this.kept.filter((other) => alike(other.need, need));
    const grown = need.goesOn ? growth * Math.max(0, ...smaller.map(({ decoder }) => decoder.capacity)) : 0;
    for (const each of smaller) this.drop(each);
    for (const old of this.kept.slice(0, Math.max(0, this.kept.length + 1 - keptDecoders))) this.drop(old);
    const rounded = Math.ceil(Math.max(need.capacity, grown) / capacityStep) * capacityStep;
    const capacity = Math.max(need.capacity, Math.min(rounded, contextLength(this.config)));
    const { sequences, guided, slice, drafts, lanes = 1, goesOn = false } = need;
    const { cacheType, windows } = this.options;
    const read = lanes > 1 ? { lanes } : { windows: drafts ? windows : [] };
    const options = { sequences, guided, slice, capacity, cacheType, keepsPrompts: goesOn, ...read };
    return { decoder: await Decoder.create(this.device, this.config, this.weights, options), need };
  }

  private drop(old: KeptDecoder): void {
    this.kept = this.kept.filter((other) => other !== old);
    old.decoder.destroy();
  }

  destroy(): void {
    for (const kept of [...this.kept]) this.drop(kept);
  }
}

/** Whether a decoder for one need serves the other, where its capacity suffices. */
function alike(one: DecoderNeed, other: DecoderNeed): boolean {
  return (
    one.sequences === other.sequences &&
    one.guided === other.guided &&
    one.slice.first === other.slice.first &&
    one.slice.count === other.slice.count &&
    (one.drafts ?? false) === (other.drafts ?? false) &&
    (one.goesOn ?? false) === (other.goesOn ?? false) &&
    (one.lanes ?? 1) === (other.lanes ?? 1)
  );
}
