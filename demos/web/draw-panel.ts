import { downloadPng, element, fileName, offerExamples, onPress, pictureCanvas, setText } from './dom.js';
import { counted, doingAtFirst, doneText, speedText, timeText } from './format.js';
import type { GridTool } from './grid-input.js';
import { TokenGrid } from './grid.js';
import type { Host, Panel, Picture } from './host.js';
import type { DrawingSettings, DrawnPicture, ModelFacts, Task, TaskMessage } from './messages.js';
import { listenToFile } from './picture-source.js';
import { SamplingFields } from './sampling-fields.js';

/** A picture on the grid, and how it was drawn if it was. */
interface Shown extends Picture {
  pixels: HTMLCanvasElement;
  drawn?: DrawnPicture;
}

/** Pictures from prompts, varied, and drawn anew where they are marked. */
export class DrawPanel implements Panel {
  private readonly host: Host;
  private readonly prompt = element('prompt', HTMLInputElement);
  private readonly sampling = new SamplingFields(element('draw-sampling', HTMLElement));
  readonly fields = { prompt: this.prompt, seed: this.sampling.seed };
  private readonly canvas = element('grid', HTMLCanvasElement);
  private readonly grid = new TokenGrid(this.canvas);
  private readonly drawButton = element('generate', HTMLButtonElement);
  private readonly share = element('share', HTMLInputElement);
  private readonly rewrite = element('rewrite', HTMLInputElement);
  private readonly showTokens = element('show-tokens', HTMLInputElement);
  private readonly file = element('open', HTMLInputElement);
  private readonly buttons = {
    vary: onPress('vary', () => this.vary()),
    edit: onPress('edit', () => this.edit()),
    undo: onPress('undo', () => this.undo()),
    clear: onPress('clear-marks', () => this.grid.clearMarks()),
  };
  private facts: ModelFacts | undefined;
  private shown: Shown | undefined;
  /** Pictures before the shown one. */
  private earlier: Shown[] = [];
  private ready = false;
  private marked = 0;
  /** What the task under way shows. */
  private name = '';

  constructor(host: Host) {
    this.host = host;
    const { grid, showTokens } = this;
    element('draw-form', HTMLFormElement).addEventListener('submit', (event) => {
      event.preventDefault();
      if (!this.drawButton.disabled) this.draw();
    });
    offerExamples('examples', this.prompt);
    listenToFile(this.file, (file) => {
      this.name = file.name;
      host.run(this, { kind: 'encode', file }, 'Turning the picture into tokens …');
    });
    this.share.addEventListener('input', () =>
      setText('share-value', `${Math.round(this.share.valueAsNumber * 100)} %`),
    );
    showTokens.addEventListener('change', () => grid.showTokens(showTokens.checked));
    for (const radio of document.querySelectorAll<HTMLInputElement>('[name=tool]')) {
      radio.addEventListener('change', () => (grid.tool = toolOf(radio.value)));
    }
    onPress('zoom-in', () => grid.zoom(1.5));
    onPress('zoom-out', () => grid.zoom(1 / 1.5));
    onPress('zoom-reset', () => grid.resetView());
    grid.onCell = (cell, code) => {
      const token = code === undefined ? 'no token yet' : `codebook entry ${code}`;
      setText('cell', cell ? `Row ${cell.row + 1}, column ${cell.column + 1}: ${token}` : '');
    };
    grid.onMarks = (count) => {
      this.marked = count;
      setText('marked', count === 0 ? 'No token is marked.' : `${counted(count, 'token')} marked.`);
      this.refresh(this.ready);
    };
    for (const scale of [1, 8]) {
      onPress(`download-${scale}`, () => {
        const { shown } = this;
        if (shown) downloadPng(shown.pixels, scale, `${fileName(shown.name, shown.drawn?.seed ?? 0)}.png`);
      });
    }
  }

  begin(facts: ModelFacts): void {
    this.facts = facts;
    this.grid.palette = Uint8Array.from(facts.palette);
    this.sampling.begin(facts);
    this.reopen();
  }

  refresh(ready: boolean): void {
    this.ready = ready;
    const { buttons, shown } = this;
    this.drawButton.disabled = !ready;
    this.file.disabled = !ready;
    buttons.vary.disabled = !ready || shown === undefined;
    buttons.edit.disabled = !ready || this.marked === 0;
    buttons.undo.disabled = !ready || this.earlier.length === 0;
    buttons.clear.disabled = this.marked === 0;
  }

  receive(message: TaskMessage): void {
    switch (message.type) {
      case 'row':
        this.grid.addRow(message.row, message.codes);
        this.host.report(`Row ${message.row + 1} of ${message.rows}`, message.row + 1, message.rows);
        break;
      case 'tokens-complete':
        this.host.report('Turning tokens into pixels …');
        break;
      case 'picture': {
        const { drawn } = message;
        this.open({ ...pictureOf(this.name, drawn.picture), drawn });
        this.host.finish(doneText(drawn.timing));
        break;
      }
      case 'encoded':
        this.open(pictureOf(this.name, message.picture));
        this.host.finish('The picture is open.');
        break;
    }
  }

  stopped(cancelled: boolean): void {
    this.canvas.ariaBusy = 'false';
    const marks = this.grid.redrawn;
    // The last picture comes back; where there is none, the tokens that came stay to be seen.
    if (!cancelled || this.shown) this.reopen();
    if (marks) this.grid.mark(marks);
  }

  private draw(): void {
    const { facts } = this;
    if (facts === undefined) return;
    this.start({ kind: 'draw', settings: this.settings(), rewrite: this.rewrite.checked });
    this.grid.prepare(facts.rows, facts.columns);
  }

  /** Always by chance: the same seed would change the same tokens each time. */
  private vary(): void {
    const picture = this.shown?.encoded;
    if (picture === undefined) return;
    const settings = { prompt: this.prompt.value.trim(), ...this.sampling.readUnseeded() };
    this.start({ kind: 'vary', picture, share: this.share.valueAsNumber, settings });
    this.grid.prepare(picture.height, picture.width);
  }

  private edit(): void {
    const picture = this.shown?.encoded;
    if (picture === undefined) return;
    this.start({ kind: 'edit', picture, marks: this.grid.marks.cells.slice(), settings: this.settings() });
    this.grid.redrawMarked();
  }

  private start(task: Task & { settings: DrawingSettings }): void {
    this.name = task.settings.prompt;
    this.showTokens.checked = false;
    this.grid.showTokens(false);
    this.canvas.ariaLabel = 'Token grid, being filled';
    this.canvas.ariaBusy = 'true';
    element('result', HTMLElement).hidden = true;
    this.host.run(this, task, doingAtFirst(task));
  }

  private settings(): DrawingSettings {
    return { prompt: this.prompt.value.trim(), ...this.sampling.read() };
  }

  private open(next: Shown): void {
    if (this.shown) this.earlier.push(this.shown);
    this.shown = next;
    this.reopen();
  }

  private undo(): void {
    this.shown = this.earlier.pop() ?? this.shown;
    this.reopen();
  }

  /** Shows what is to be shown, whatever is on the grid. */
  private reopen(): void {
    const { shown, facts, canvas, host } = this;
    canvas.ariaBusy = 'false';
    element('result', HTMLElement).hidden = shown === undefined;
    host.gallery.picture = shown;
    if (shown) {
      const { encoded, pixels, name, drawn } = shown;
      this.grid.open(encoded.height, encoded.width, encoded.codes, pixels);
      canvas.ariaLabel = `Picture: ${name}`;
      element('drawn', HTMLElement).hidden = drawn === undefined;
      if (drawn) {
        setText('drawn-from', drawn.prompt);
        setText('time', timeText(drawn.timing));
        setText('speed', speedText(drawn.timing));
        setText('used-seed', String(drawn.seed));
        setText('ids', drawn.ids.join(' '));
      }
    } else if (facts) {
      this.grid.prepare(facts.rows, facts.columns);
      canvas.ariaLabel = 'Token grid, empty';
    }
    host.galleryChanged();
  }
}

function pictureOf(name: string, encoded: Picture['encoded']): Shown {
  return { name, encoded, pixels: pictureCanvas(encoded.resized) };
}

function toolOf(value: string): GridTool {
  return value === 'paint' || value === 'box' ? value : 'look';
}
