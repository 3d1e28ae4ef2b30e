import type { RgbImage } from '../../index.js';
import { find, pictureCanvas } from './dom.js';

/** Plays a clip in a loop, and shows its tokens while they come in. */
export class Player {
  private readonly canvas: HTMLCanvasElement;
  private readonly context: CanvasRenderingContext2D | null;
  private readonly play: HTMLButtonElement;
  private readonly slider: HTMLInputElement;
  private readonly calm = matchMedia('(prefers-reduced-motion: reduce)');
  private frames: HTMLCanvasElement[] = [];
  private framesPerSecond = 1;
  /** Frame at the time `since`. */
  private offset = 0;
  private since = 0;
  private playing = false;
  private request = 0;

  /** @param root holds a canvas, a play button and a slider. */
  constructor(root: HTMLElement) {
    this.canvas = find(root, 'canvas', HTMLCanvasElement);
    this.context = this.canvas.getContext('2d');
    this.play = find(root, '.play', HTMLButtonElement);
    this.slider = find(root, '[type=range]', HTMLInputElement);
    this.play.addEventListener('click', () => (this.playing ? this.pause() : this.start()));
    this.slider.addEventListener('input', () => {
      this.pause();
      this.seek(this.slider.valueAsNumber);
    });
    this.setControls();
  }

  /** Clears the canvas for tokens. @param factor pixels along one side of a token. */
  prepare(rows: number, columns: number, factor: number): void {
    this.pause();
    this.frames = [];
    this.setControls();
    Object.assign(this.canvas, { height: rows * factor, width: columns * factor });
  }

  /** Shows a row of tokens in their colours. @param palette sRGB bytes of each codebook entry, [entries][3]. */
  addRow(row: number, codes: Uint32Array, palette: Uint8Array): void {
    const { context, canvas } = this;
    if (context === null) return;
    const side = canvas.width / codes.length;
    if (row === 0) context.clearRect(0, 0, canvas.width, canvas.height);
    codes.forEach((code, column) => {
      const [red, green, blue] = palette.subarray(3 * code, 3 * code + 3);
      context.fillStyle = `rgb(${red} ${green} ${blue})`;
      context.fillRect(column * side, row * side, side - 1, side - 1);
    });
  }

  /** Plays from the beginning; where less motion is wanted, it waits to be started. */
  show(frames: readonly RgbImage[], framesPerSecond: number): void {
    this.pause();
    this.frames = frames.map(pictureCanvas);
    this.framesPerSecond = framesPerSecond;
    const [{ height, width }] = frames;
    Object.assign(this.canvas, { height, width });
    this.slider.max = String(frames.length - 1);
    this.setControls();
    this.seek(0);
    if (!this.calm.matches) this.start();
  }

  private start(): void {
    this.playing = true;
    this.offset = this.slider.valueAsNumber;
    this.since = performance.now();
    this.setControls();
    this.request = requestAnimationFrame(() => this.advance());
  }

  private pause(): void {
    cancelAnimationFrame(this.request);
    this.playing = false;
    this.setControls();
  }

  private advance(): void {
    const passed = ((performance.now() - this.since) / 1000) * this.framesPerSecond;
    this.seek(Math.floor(this.offset + passed) % this.frames.length);
    this.request = requestAnimationFrame(() => this.advance());
  }

  private seek(index: number): void {
    this.slider.value = String(index);
    this.slider.setAttribute('aria-valuetext', `Frame ${index + 1} of ${this.frames.length}`);
    this.context?.drawImage(this.frames[index], 0, 0);
  }

  private setControls(): void {
    const empty = this.frames.length === 0;
    this.play.disabled = empty;
    this.slider.disabled = empty;
    this.play.textContent = this.playing ? 'Pause' : 'Play';
  }
}
