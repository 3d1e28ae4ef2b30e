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
import { failureOf } from './failure.js';
import type { FromWorker, ModelFacts, Task, ToWorker } from './messages.js';
import { codebookPalette } from './palette.js';
import { TaskRunner } from './tasks.js';

let runner: TaskRunner | undefined;
let underWay: AbortController | undefined;

self.addEventListener('message', ({ data }: MessageEvent<ToWorker>) => {
  switch (data.type) {
    case 'load':
      void attempt('load', () => load(data.model));
      break;
    case 'run':
      void attempt('task', () => run(data.task));
      break;
    case 'cancel':
      underWay?.abort();
      break;
  }
});

function tell(message: FromWorker, transfer: Transferable[] = []): void {
  self.postMessage(message, { transfer });
}

async function attempt(during: 'load' | 'task', work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    tell({ type: 'failed', during, failure: failureOf(error) });
  }
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
  runner = new TaskRunner(emu3, tell);
  tell({ type: 'ready', facts }, [facts.palette.buffer]);
}

async function factsOf(emu3: Emu3, folder: ModelFolder): Promise<ModelFacts> {
  const { factor } = emu3;
  const { height, width } = calculateGenerateSize('1:1', emu3.config.image_area, factor);
  let parameters = 0;
  for (const shape of emu3.parameters.shapes.values()) parameters += shape.reduce((size, length) => size * length, 1);
  const { config, checkpoint } = await openVisionTokenizer(await findVisionFolder(folder));
  try {
    const codebook = await checkpoint.readFloat32('quantize.embedding.weight');
    const palette = codebookPalette(codebook, config.embed_dim);
    const { guidance, temperature } = emu3.defaults;
    const latentFrames = config.temporal_downsample_factor;
    return { rows: height, columns: width, factor, latentFrames, parameters, palette, guidance, temperature };
  } finally {
    await checkpoint.close();
  }
}

async function run(task: Task): Promise<void> {
  if (runner === undefined || underWay !== undefined) {
    throw new Emu3Error(runner === undefined ? 'No model is loaded yet.' : 'Something is under way already.', {
      code: 'argument',
      where: task.kind,
      fix: runner === undefined ? 'Wait until it is loaded.' : 'Wait for it, or cancel it.',
    });
  }
  underWay = new AbortController();
  try {
    await runner.run(task, underWay.signal);
  } finally {
    underWay = undefined;
  }
}
