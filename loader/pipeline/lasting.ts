/** A model that goes on when its GPU device is lost. */
import { Emu3Error } from '../../kernels/core/errors.js';
import type { Device } from '../../engine/device.js';
import { Emu3 } from './emu3.js';
import { randomSeed, sizeOf, type GeneratedImage, type GenerateEvents, type GenerateRequest } from './generate.js';
import type { Emu3LoadOptions } from './load-options.js';

export interface LastingEmu3Options extends Omit<Emu3LoadOptions, 'device'> {
  /** Gives a new device, of an adapter requested anew: an adapter is good for one device. */
  createDevice: () => Promise<Device>;
  /** Devices tried one after the other for one request, from 1; default 3. */
  attempts?: number;
  /** Told before the model is loaded again. */
  onLost?: (error: Emu3Error) => void;
}

/**
 * A model whose requests outlive its device: drivers restart, laptops sleep, browsers take the GPU away. Then another device
 * is made, the model loaded again (from the cache of packed weights, where there is one) and the request goes on.
 */
export class LastingEmu3 {
  private readonly options: LastingEmu3Options;
  private readonly attempts: number;
  private loading: Promise<Emu3> | undefined;

  private constructor(options: LastingEmu3Options, attempts: number) {
    this.options = options;
    this.attempts = attempts;
  }

  /** @throws Emu3Error of {@link Emu3.load} and of `createDevice`; `argument` for a number of attempts below 1. */
  static async load(options: LastingEmu3Options): Promise<LastingEmu3> {
    const { attempts = 3 } = options;
    if (!Number.isInteger(attempts) || attempts < 1) {
      throw new Emu3Error(`${attempts} attempts were asked for.`, {
        code: 'argument',
        where: 'attempts',
        fix: 'Give a whole number from 1.',
      });
    }
    const lasting = new LastingEmu3(options, attempts);
    await lasting.model();
    return lasting;
  }

  /** The model on a device that was there when last looked; loaded again where it was lost. */
  model(): Promise<Emu3> {
    this.loading ??= this.loadOnNewDevice().catch((error: unknown) => {
      this.loading = undefined;
      throw error;
    });
    return this.loading;
  }

  private async loadOnNewDevice(): Promise<Emu3> {
    const device = await this.options.createDevice();
    try {
      return await Emu3.load({ ...this.options, device });
    } catch (error) {
      device.destroy();
      throw error;
    }
  }

  /**
   * Anything that can be asked of a model, and once more from its beginning when the device was lost: give a seed where
   * the second time is to end as the first would have.
   *
   * @throws Emu3Error of the work; `device-lost` when the last attempt lost its device too.
   */
  async run<Result>(work: (emu3: Emu3) => Promise<Result>): Promise<Result> {
    const { attempts } = this;
    const { onLost } = this.options;
    for (let attempt = 1; ; attempt++) {
      const loading = this.model();
      try {
        return await work(await loading);
      } catch (error) {
        if (!(error instanceof Emu3Error) || error.code !== 'device-lost') throw error;
        // Another request may have seen it first.
        if (this.loading === loading) {
          this.loading = undefined;
          (await loading.catch(() => undefined))?.device.destroy();
        }
        if (attempt === attempts) throw error;
        onLost?.(error);
      }
    }
  }

  /**
   * Draws a picture as `Emu3.generate`. When the device is lost on the way, the codes that are known stay and the others are
   * drawn as they would have been: the picture is that of an undisturbed request, and no token is told twice.
   *
   * @throws Emu3Error of `Emu3.generate` and of {@link run}.
   */
  async generate(request: GenerateRequest & GenerateEvents): Promise<GeneratedImage> {
    const [picture] = await this.generateBatch([request], request);
    return picture;
  }

  /** Several pictures side by side; see {@link generate}. */
  async generateBatch(requests: readonly GenerateRequest[], events: GenerateEvents = {}): Promise<GeneratedImage[]> {
    const pictures = requests.map((request) => ({
      request: { ...request, seed: request.seed ?? randomSeed() },
      /** Known so far, in raster order. */
      codes: [] as number[],
      steps: 0,
      rows: 0,
    }));
    const following: GenerateEvents = {
      ...events,
      onToken: (event) => {
        const picture = pictures[event.picture];
        if (event.step < picture.steps) return;
        picture.steps = event.step + 1;
        if (event.visual) picture.codes.push(event.visual.code);
        events.onToken?.(event);
      },
      onRow: (event) => {
        const picture = pictures[event.picture];
        if (event.row < picture.rows) return;
        picture.rows = event.row + 1;
        events.onRow?.(event);
      },
    };
    return this.run((emu3) =>
      emu3.generateBatch(
        pictures.map(({ request, codes }) => continued(emu3, request, codes)),
        following,
      ),
    );
  }

  /** Frees the model and its device, when the requests under way are done. */
  async destroy(): Promise<void> {
    const emu3 = await this.loading?.catch(() => undefined);
    await emu3?.destroy();
    emu3?.device.destroy();
  }
}

/** The request with its first codes as they were drawn. */
function continued(emu3: Emu3, request: GenerateRequest, known: readonly number[]): GenerateRequest {
  if (known.length === 0) return request;
  const { config, factor, tokenizer } = emu3;
  const { height, width } = sizeOf(request, { imageArea: config.image_area, factor, tokenizer });
  const { keep, ...rest } = request;
  delete rest.size;
  delete rest.ratio;
  const codes = new Uint32Array(height * width);
  const kept = new Uint8Array(height * width);
  for (let place = 0; place < codes.length; place++) {
    const drawn = place < known.length;
    codes[place] = drawn ? known[place] : (keep?.codes[place] ?? 0);
    kept[place] = drawn || (keep?.kept[place] ?? 0) !== 0 ? 1 : 0;
  }
  return { ...rest, keep: { height, width, codes, kept } };
}
