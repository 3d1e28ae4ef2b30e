import { requestAdapterNode } from '../../engine/adapter/request.node.js';
import { Device, type LimitTier } from '../../engine/device.js';
import { loadTransformer, loadVisionTokenizer } from '../../loader/load-model.js';
import type { LoadedTransformer, LoadedVisionTokenizer } from '../../loader/load-model.js';
import type { TextTokenizer } from '../../tokenizer/index.js';
import type { Check } from './checks.js';
import type { Recording } from './recording.js';
import { releasedTextTokenizer } from './released-text.js';

/** One recorded case: what it is called and how it is checked. */
export interface GoldenCase {
  /** Folder and file it comes from, `vq/image`. */
  readonly name: string;
  readonly run: (bench: Bench) => Promise<Check[]>;
}

export interface BenchOptions {
  /** Limits to ask of the adapter. */
  readonly tier?: LimitTier;
  /** A tiktoken rank file; default the same vocabulary from a development package. */
  readonly ranks?: string | undefined;
}

/** What cases run on: one device, and models loaded once. */
export class Bench {
  private readonly options: BenchOptions;
  private readonly recording: Recording;
  private opened: Promise<Device> | undefined;
  private text: Promise<TextTokenizer> | undefined;
  private readonly transformers = new Map<string, Promise<LoadedTransformer>>();
  private readonly visionTokenizers = new Map<string, Promise<LoadedVisionTokenizer>>();

  constructor(recording: Recording, options: BenchOptions = {}) {
    this.recording = recording;
    this.options = options;
  }

  async device(): Promise<Device> {
    this.opened ??= requestAdapterNode().then((choice) =>
      Device.create(choice, { tier: this.options.tier ?? 'adapter' }),
    );
    return this.opened;
  }

  async textTokenizer(): Promise<TextTokenizer> {
    this.text ??= releasedTextTokenizer(this.options.ranks);
    return this.text;
  }

  /** The transformer of a folder of the recording, for reading only. */
  async transformer(folder: string): Promise<LoadedTransformer> {
    let loaded = this.transformers.get(folder);
    if (loaded === undefined) {
      loaded = this.device().then((device) => loadTransformer(device, this.recording.model(folder)));
      this.transformers.set(folder, loaded);
    }
    return loaded;
  }

  /** The vision tokenizer of a folder of the recording, for reading only. */
  async visionTokenizer(folder: string): Promise<LoadedVisionTokenizer> {
    let loaded = this.visionTokenizers.get(folder);
    if (loaded === undefined) {
      loaded = this.device().then((device) => loadVisionTokenizer(device, this.recording.model(folder)));
      this.visionTokenizers.set(folder, loaded);
    }
    return loaded;
  }

  async close(): Promise<void> {
    const device = await this.opened?.catch(() => undefined);
    device?.destroy();
  }
}
