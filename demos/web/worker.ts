/** The engine's side of the page: everything that touches the GPU runs here, off the page's thread. */
import {
  calculateGenerateSize,
  Device,
  Emu3,
  Emu3Error,
  openVisionTokenizer,
  readAhead,
  requestAdapterBrowser,
  urlFolder,
  type ModelFolder,
} from '../../index.js';
import { findVisionFolder } from '../../loader/pipeline/parts.js';
import type { Failure, FromWorker, ModelFacts, PictureRequest, ToWorker } from './messages.js';
import { codebookPalette } from './palette.js';

let model: Emu3 | undefined;
let drawing: AbortController | undefined;

self.addEventListener('message', ({ data }: MessageEvent<ToWorker>) => {
  switch (data.type) {
    case 'load':
      void attempt('load', () => load(data.model));
      break;
    case 'generate':
      void attempt('generate', () => generate(data.request));
      break;
    case 'cancel':
      drawing?.abort();
      break;
  }
});

function tell(message: FromWorker, transfer: Transferable[] = []): void {
  self.postMessage(message, { transfer });
}

async function attempt(during: 'load' | 'generate', work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    tell({ type: 'failed', during, failure: failureOf(error) });
  }
}

function failureOf(error: unknown): Failure {
  if (error instanceof Emu3Error) {
    const { code, where, fix } = error;
    // The page shows place and remedy on lines of their own.
    return { code, where, fix, message: error.message.replace(` [${where}] ${fix}`, '') };
  }
  const message = error instanceof Error ? error.message : String(error);
  return { code: 'unexpected', message, where: 'worker', fix: 'Reload the page, and report this if it stays.' };
}

async function load(address: string): Promise<void> {
  const choice = await requestAdapterBrowser();
  tell({ type: 'adapter', description: choice.description, software: choice.software });
  const device = await Device.create(choice, {
    onLost: (error) => tell({ type: 'failed', during: 'device', failure: failureOf(error) }),
  });
  const folder = urlFolder(address);
  const emu3 = await Emu3.load({
    device,
    folder: readAhead(folder),
    onProgress: ({ part, loadedBytes, totalBytes }) => tell({ type: 'progress', part, loadedBytes, totalBytes }),
  });
  const facts = await factsOf(emu3, folder);
  model = emu3;
  tell({ type: 'ready', facts }, [facts.palette.buffer]);
}

async function factsOf(emu3: Emu3, folder: ModelFolder): Promise<ModelFacts> {
  const { height, width } = calculateGenerateSize('1:1', emu3.config.image_area, emu3.factor);
  let parameters = 0;
  for (const shape of emu3.parameters.shapes.values()) parameters += shape.reduce((size, length) => size * length, 1);
  const { config, checkpoint } = await openVisionTokenizer(await findVisionFolder(folder));
  try {
    const codebook = await checkpoint.readFloat32('quantize.embedding.weight');
    const palette = codebookPalette(codebook, config.embed_dim);
    const { guidance, temperature } = emu3.defaults;
    return { rows: height, columns: width, parameters, palette, guidance, temperature };
  } finally {
    await checkpoint.close();
  }
}

/** Times tokens that are told in blocks: all of a block at once, when its last one has been read back. */
class TokenClock {
  /** When the last block came. */
  last = 0;
  private first = 0;
  private tokens = 0;
  private firstBlock = 0;

  tick(): void {
    this.last = performance.now();
    this.tokens += 1;
    if (this.tokens > 1) return;
    this.first = this.last;
    // A microtask runs as soon as the block has been told.
    queueMicrotask(() => {
      this.firstBlock = this.tokens;
    });
  }

  /** Without the first block, whose time includes reading the prompt. */
  get tokensPerSecond(): number {
    return (1000 * (this.tokens - this.firstBlock)) / (this.last - this.first);
  }
}

async function generate(request: PictureRequest): Promise<void> {
  if (model === undefined || drawing !== undefined) {
    throw new Emu3Error(model === undefined ? 'No model is loaded yet.' : 'A picture is being drawn already.', {
      code: 'argument',
      where: 'generate',
      fix: model === undefined ? 'Wait until it is loaded.' : 'Wait for it, or cancel it.',
    });
  }
  const controller = new AbortController();
  drawing = controller;
  try {
    const begun = performance.now();
    const clock = new TokenClock();
    const { ids, image, seed } = await model.generate({
      ...request,
      signal: controller.signal,
      onToken: ({ step, steps }) => {
        clock.tick();
        if (step === steps - 1) tell({ type: 'tokens-complete' });
      },
      onRow: ({ row, codes }) => tell({ type: 'row', row, codes }, [codes.buffer]),
    });
    tell({
      type: 'picture',
      picture: {
        ...image,
        ids,
        seed,
        tokenSeconds: (clock.last - begun) / 1000,
        pixelSeconds: (performance.now() - clock.last) / 1000,
        tokensPerSecond: clock.tokensPerSecond,
      },
    });
  } finally {
    drawing = undefined;
  }
}
