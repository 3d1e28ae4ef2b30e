import { downloadBlob, element, fileName, offerExamples, onPress, setText } from './dom.js';
import { doingAtFirst, doneText, speedText, timeText } from './format.js';
import type { Clip, Host, Panel } from './host.js';
import type { DrawingSettings, FilmedClip, ModelFacts, Task, TaskMessage } from './messages.js';
import { PictureSource } from './picture-source.js';
import { Player } from './player.js';
import { SamplingFields } from './sampling-fields.js';
import { exportVideo, type VideoContainer } from './video-export.js';

const containers: readonly VideoContainer[] = ['webm', 'mp4'];

/** Clips from prompts, begun with a picture if there is one, continued, and saved. */
export class VideoPanel implements Panel {
  private readonly host: Host;
  private readonly prompt = element('video-prompt', HTMLInputElement);
  private readonly sampling = new SamplingFields(element('video-sampling', HTMLElement));
  private readonly rewrite = element('video-rewrite', HTMLInputElement);
  private readonly frames = element('frames', HTMLInputElement);
  private readonly rate = element('rate', HTMLInputElement);
  readonly fields = {
    prompt: this.prompt,
    seed: this.sampling.seed,
    frames: this.frames,
    newFrames: this.frames,
    framesPerSecond: this.rate,
  };
  private readonly canvas = element('clip', HTMLCanvasElement);
  private readonly player = new Player(element('player', HTMLElement));
  private readonly source: PictureSource;
  private readonly filmButton = element('film', HTMLButtonElement);
  private readonly continueButton = onPress('continue', () => this.continue());
  private readonly downloads = containers.map((container) =>
    onPress(`download-${container}`, () => this.download(container)),
  );
  private facts: ModelFacts | undefined;
  private clip: (Clip & { filmed: FilmedClip }) | undefined;
  /** What the task under way shows, and latent frames it will have in all. */
  private doing = { name: '', latentFrames: 0 };

  constructor(host: Host) {
    this.host = host;
    this.source = new PictureSource(element('video-start', HTMLFieldSetElement), {
      onFile: (file) => {
        this.doing.name = file.name;
        host.run(this, { kind: 'encode', file }, 'Turning the picture into tokens …');
      },
      onChange: () => undefined,
    });
    element('video-form', HTMLFormElement).addEventListener('submit', (event) => {
      event.preventDefault();
      if (!this.filmButton.disabled) this.film();
    });
    offerExamples('video-examples', this.prompt);
  }

  begin(facts: ModelFacts): void {
    this.facts = facts;
    this.sampling.begin(facts);
    for (const edge of ['min', 'step'] as const) this.frames[edge] = String(facts.latentFrames);
    setText('frames-hint', `${facts.latentFrames} frames are one frame of tokens. Continuing adds as many.`);
    this.show();
  }

  refresh(ready: boolean): void {
    this.filmButton.disabled = !ready;
    for (const button of [this.continueButton, ...this.downloads]) button.disabled = !ready || this.clip === undefined;
    this.source.refresh(this.host.gallery, ready);
  }

  receive(message: TaskMessage): void {
    const { host, doing, facts } = this;
    switch (message.type) {
      case 'row': {
        const { frame, row, rows, codes } = message;
        if (facts) this.player.addRow(row, codes, facts.palette);
        const total = doing.latentFrames;
        const text = `Frame ${frame + 1} of ${total} in tokens, row ${row + 1} of ${rows}`;
        host.report(text, frame * rows + row + 1, total * rows);
        break;
      }
      case 'tokens-complete':
        host.report('Turning tokens into pixels …');
        break;
      case 'clip': {
        const { filmed } = message;
        this.clip = { name: doing.name, codes: filmed.clip, frames: filmed.frames, filmed };
        host.gallery.clip = this.clip;
        this.show();
        host.finish(doneText(filmed.timing));
        break;
      }
      case 'encoded':
        this.source.take({ name: doing.name, encoded: message.picture });
        host.finish('The picture is open.');
        break;
    }
  }

  stopped(cancelled: boolean): void {
    this.canvas.ariaBusy = 'false';
    // The last clip comes back; where there is none, the tokens that came stay to be seen.
    if (!cancelled || this.clip) this.show();
  }

  private film(): void {
    const { facts, source } = this;
    if (facts === undefined) return;
    const frames = this.frames.valueAsNumber;
    const first = source.chosen?.picture?.encoded;
    const rewrite = this.rewrite.checked;
    const framesPerSecond = this.rate.valueAsNumber;
    const task = { kind: 'film' as const, settings: this.settings(), rewrite, frames, framesPerSecond };
    this.start(first ? { ...task, first } : task, frames / facts.latentFrames);
    this.player.prepare(first?.height ?? facts.rows, first?.width ?? facts.columns, facts.factor);
  }

  /** Always by chance: the same seed would repeat its noise. */
  private continue(): void {
    const { facts, clip } = this;
    if (facts === undefined || clip === undefined) return;
    const newFrames = this.frames.valueAsNumber;
    const settings = { prompt: this.prompt.value.trim(), ...this.sampling.readUnseeded() };
    const { frames, height, width } = clip.codes;
    const task = { kind: 'continue' as const, settings, rewrite: this.rewrite.checked, clip: clip.codes, newFrames };
    this.start(task, frames + newFrames / facts.latentFrames);
    this.player.prepare(height, width, facts.factor);
  }

  private start(task: Task & { settings: DrawingSettings }, latentFrames: number): void {
    this.doing = { name: task.settings.prompt, latentFrames };
    this.canvas.ariaLabel = 'Tokens of the video, coming in';
    this.canvas.ariaBusy = 'true';
    element('video-result', HTMLElement).hidden = true;
    this.host.run(this, task, doingAtFirst(task));
  }

  private settings(): DrawingSettings {
    return { prompt: this.prompt.value.trim(), ...this.sampling.read() };
  }

  private show(): void {
    const { clip, facts, canvas } = this;
    canvas.ariaBusy = 'false';
    element('video-result', HTMLElement).hidden = clip === undefined;
    if (clip) {
      const { filmed, codes, frames } = clip;
      this.player.show(frames, codes.framesPerSecond);
      canvas.ariaLabel = `Video: ${clip.name}`;
      const seconds = frames.length / codes.framesPerSecond;
      setText('filmed-from', filmed.prompt);
      setText('video-length', `${frames.length} frames, ${codes.framesPerSecond} a second: ${seconds.toFixed(1)} s`);
      setText('video-time', timeText(filmed.timing));
      setText('video-speed', speedText(filmed.timing));
      setText('video-seed', String(filmed.seed));
    } else if (facts) {
      this.player.prepare(facts.rows, facts.columns, facts.factor);
      canvas.ariaLabel = 'Video, none yet';
    }
    this.host.galleryChanged();
  }

  private download(container: VideoContainer): void {
    const { clip, host } = this;
    if (clip === undefined) return;
    host.work(this, `Encoding the ${container} file …`, async (signal) => {
      const blob = await exportVideo(clip.frames, clip.codes.framesPerSecond, {
        container,
        signal,
        onProgress: (done, total) => host.report(`Encoding frame ${done} of ${total}`, done, total),
      });
      downloadBlob(blob, `${fileName(clip.name, clip.filmed.seed)}.${container}`);
      host.finish('The video is saved.');
    });
  }
}
