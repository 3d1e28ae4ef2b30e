/** What the worker does for each task of the page. */
import {
  browserImageCodec,
  Chat,
  type Answer,
  type CodeClip,
  type DrawnVideo,
  type Emu3,
  type EncodedImage,
  type GeneratedImage,
  type GenerateEvents,
  type PixelMask,
  type VideoEvents,
} from '../../index.js';
import type { DrawingSettings, Task, TaskMessage, Timing } from './messages.js';

type Tell = (message: TaskMessage, transfer?: Transferable[]) => void;

export class TaskRunner {
  private readonly emu3: Emu3;
  private readonly tell: Tell;
  private chat: Chat;

  constructor(emu3: Emu3, tell: Tell) {
    this.emu3 = emu3;
    this.tell = tell;
    this.chat = new Chat(emu3);
  }

  /** @throws what the model throws; `aborted` when the signal fires. */
  async run(task: Task, signal: AbortSignal): Promise<void> {
    const { emu3 } = this;
    switch (task.kind) {
      case 'draw': {
        const settings = await this.settingsOf(task, signal);
        return this.draw(signal, (events) => emu3.generate({ ...settings, ...events }));
      }
      case 'edit': {
        const { picture: image, marks, settings } = task;
        return this.draw(signal, (events) => emu3.edit({ ...settings, image, mask: maskOf(image, marks), ...events }));
      }
      case 'vary': {
        const { picture: image, share, settings } = task;
        return this.draw(signal, async (events) => (await emu3.vary([{ ...settings, image, share }], events))[0]);
      }
      case 'encode': {
        const image = await browserImageCodec.decodeImage(new Uint8Array(await task.file.arrayBuffer()));
        this.tell({ type: 'encoded', picture: await emu3.encodeImage(image, { signal }) });
        return;
      }
      case 'film': {
        const { frames, framesPerSecond, first: picture } = task;
        const first = picture && { ...picture, frames: 1, framesPerSecond, codes: Uint32Array.from(picture.codes) };
        const settings = await this.settingsOf(task, signal, first);
        const request = { ...settings, frames, framesPerSecond, ...(first && { first }) };
        return this.film(signal, (events) => emu3.generateVideo({ ...request, ...events }));
      }
      case 'continue': {
        const { clip, newFrames } = task;
        const settings = await this.settingsOf(task, signal, clip);
        return this.film(signal, (events) => emu3.extendVideo({ ...settings, clip, newFrames, ...events }));
      }
      case 'ask': {
        const { question: text, about } = task;
        if (about !== undefined) this.chat = new Chat(emu3);
        const pictures = about && (about.clip === undefined ? { images: [about.image] } : { clips: [about.clip] });
        return this.answer((onText) => this.chat.ask({ text, ...pictures, signal, onText }));
      }
      case 'caption':
        return this.answer((onText) => emu3.caption({ ...task.about, signal, onText }));
    }
  }

  /** With the prompt written out in full where that is wanted, with sight of what a clip begins with. */
  private async settingsOf(
    { settings, rewrite }: { settings: DrawingSettings; rewrite: boolean },
    signal: AbortSignal,
    beginning?: CodeClip,
  ): Promise<DrawingSettings> {
    if (!rewrite) return settings;
    const { prompt, seed } = settings;
    const asked = { prompt, ...(seed !== undefined && { seed }), ...(beginning && { beginning }) };
    const [written] = await this.emu3.rewritePrompts([asked], { signal });
    return { ...settings, prompt: written };
  }

  private async draw(signal: AbortSignal, work: (events: GenerateEvents) => Promise<GeneratedImage>): Promise<void> {
    const clock = new TokenClock();
    const { prompt, ids, codes, size, seed, image } = await work({
      signal,
      onToken: ({ step, steps }) => this.tick(clock, step, steps),
      onRow: ({ row, rows, codes: ofRow }) => this.tell({ type: 'row', frame: 0, row, rows, codes: ofRow }),
    });
    const picture = { codes, ...size, resized: image };
    this.tell({ type: 'picture', drawn: { prompt, picture, ids, seed, timing: clock.timing } });
  }

  private async film(signal: AbortSignal, work: (events: VideoEvents) => Promise<DrawnVideo>): Promise<void> {
    const clock = new TokenClock();
    const {
      prompt,
      clip,
      frames: pixels,
      seed,
    } = await work({
      signal,
      onToken: ({ step, steps }) => this.tick(clock, step, steps),
      onRow: ({ frame, row, rows, codes }) => this.tell({ type: 'row', frame, row, rows, codes }),
    });
    this.tell({ type: 'clip', filmed: { prompt, clip, frames: pixels, seed, timing: clock.timing } });
  }

  private tick(clock: TokenClock, step: number, steps: number): void {
    clock.tick();
    if (step === steps - 1) this.tell({ type: 'tokens-complete' });
  }

  private async answer(work: (onText: (piece: string) => void) => Promise<Answer>): Promise<void> {
    const answer = await work((piece) => this.tell({ type: 'text', piece }));
    this.tell({ type: 'answer', answer });
  }
}

/** A mark for every pixel of the marked tokens. */
function maskOf({ resized, height, width }: EncodedImage, marks: Uint8Array): PixelMask {
  const data = new Uint8Array(resized.height * resized.width);
  for (let pixel = 0; pixel < data.length; pixel++) {
    const row = Math.floor((Math.floor(pixel / resized.width) * height) / resized.height);
    const column = Math.floor(((pixel % resized.width) * width) / resized.width);
    data[pixel] = marks[row * width + column];
  }
  return { height: resized.height, width: resized.width, data };
}

/** Times tokens that are told in blocks: all of a block at once, when its last one has been read back. */
class TokenClock {
  private readonly begun = performance.now();
  private first = 0;
  private last = 0;
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

  /** Up to now. The speed is without the first block, whose time includes reading the prompt. */
  get timing(): Timing {
    return {
      tokens: this.tokens,
      tokenSeconds: (this.last - this.begun) / 1000,
      pixelSeconds: (performance.now() - this.last) / 1000,
      tokensPerSecond: (1000 * (this.tokens - this.firstBlock)) / (this.last - this.first),
    };
  }
}
