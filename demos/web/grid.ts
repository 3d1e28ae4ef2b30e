import type { vec2 } from 'gl-matrix';
import type { Cell } from './view.js';
import { GridView } from './view.js';

const cellFade = 220;
const pictureFade = 500;
/** Between one cell of a row and the next, in milliseconds: tokens come back row by row. */
const columnDelay = 30;
const margin = 0.06;

interface TokenCell {
  code: number;
  /** When it begins to show. */
  birth: number;
}

/** The canvas of a picture: its tokens as coloured cells while they come in, then its pixels. */
export class TokenGrid {
  /** Called with the cell under the pointer or the keyboard's cursor, and its codebook entry if it has one. */
  onCell: (cell: Cell | undefined, code: number | undefined) => void = () => undefined;
  private readonly canvas: HTMLCanvasElement;
  private readonly context: CanvasRenderingContext2D | null;
  private readonly view = new GridView();
  private readonly calm = matchMedia('(prefers-reduced-motion: reduce)');
  private rows = 1;
  private columns = 1;
  private palette = new Uint8Array();
  private cells: (TokenCell | undefined)[] = [];
  private picture: { pixels: HTMLCanvasElement; birth: number } | undefined;
  private tokensOnTop = false;
  private cursor: Cell | undefined;
  private frame = 0;
  private movingUntil = 0;

  constructor(canvas: HTMLCanvasElement) {
    this.canvas = canvas;
    this.context = canvas.getContext('2d');
    new ResizeObserver(() => this.resize()).observe(canvas);
    this.listen();
  }

  /** @param palette sRGB bytes of each codebook entry, [entries][3]. */
  prepare(rows: number, columns: number, palette: Uint8Array<ArrayBuffer>): void {
    Object.assign(this, { rows, columns, palette });
    this.clear();
    this.resize();
  }

  clear(): void {
    this.cells = [];
    this.picture = undefined;
    this.view.reset();
    this.redraw();
  }

  addRow(row: number, codes: Uint32Array): void {
    const now = performance.now();
    codes.forEach((code, column) => {
      const delay = this.calm.matches ? 0 : column * columnDelay;
      this.cells[row * this.columns + column] = { code, birth: now + delay };
    });
    this.animate(codes.length * columnDelay + cellFade);
  }

  show(pixels: HTMLCanvasElement): void {
    this.picture = { pixels, birth: performance.now() };
    this.animate(pictureFade);
  }

  /** Shows the tokens of a finished picture instead of its pixels. */
  showTokens(tokensOnTop: boolean): void {
    this.tokensOnTop = tokensOnTop;
    this.redraw();
  }

  zoom(factor: number): void {
    this.view.zoomAt(factor);
    this.redraw();
  }

  resetView(): void {
    this.view.reset();
    this.redraw();
  }

  private resize(): void {
    const { clientWidth, clientHeight } = this.canvas;
    this.canvas.width = Math.max(1, Math.round(clientWidth * devicePixelRatio));
    this.canvas.height = Math.max(1, Math.round(clientHeight * devicePixelRatio));
    this.view.fit(this.rows, this.columns, this.canvas.width, this.canvas.height);
    this.draw();
  }

  private animate(duration: number): void {
    this.movingUntil = Math.max(this.movingUntil, performance.now() + duration);
    this.redraw();
  }

  private redraw(): void {
    if (this.frame !== 0) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.draw();
      if (performance.now() < this.movingUntil) this.redraw();
    });
  }

  private shown(birth: number, fade: number): number {
    if (this.calm.matches) return 1;
    return Math.min(1, Math.max(0, (performance.now() - birth) / fade));
  }

  private draw(): void {
    const { context, view } = this;
    if (context === null) return;
    const [a, b, c, d, x, y] = view.matrix;
    context.resetTransform();
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    // From here on, one unit is one cell.
    context.setTransform(a, b, c, d, x, y);
    const pixelsShown = this.picture && !this.tokensOnTop ? this.shown(this.picture.birth, pictureFade) : 0;
    if (pixelsShown < 1) this.drawCells(context);
    if (this.picture && pixelsShown > 0) {
      context.globalAlpha = pixelsShown;
      context.imageSmoothingEnabled = false;
      context.drawImage(this.picture.pixels, 0, 0, this.columns, this.rows);
      context.globalAlpha = 1;
    }
    this.drawCursor(context);
  }

  private drawCells(context: CanvasRenderingContext2D): void {
    for (let index = 0; index < this.rows * this.columns; index++) {
      const cell = this.cells[index];
      const shown = cell === undefined ? 0 : this.shown(cell.birth, cellFade);
      const column = index % this.columns;
      const row = Math.floor(index / this.columns);
      if (shown < 1) {
        context.globalAlpha = 1 - shown;
        context.fillStyle = 'rgb(128 128 140 / 0.16)';
        fillCell(context, column, row, margin);
      }
      if (cell === undefined || shown === 0) continue;
      const [red, green, blue] = this.palette.subarray(3 * cell.code, 3 * cell.code + 3);
      context.globalAlpha = shown;
      context.fillStyle = `rgb(${red} ${green} ${blue})`;
      fillCell(context, column, row, margin + 0.3 * (1 - shown));
    }
    context.globalAlpha = 1;
  }

  private drawCursor(context: CanvasRenderingContext2D): void {
    if (this.cursor === undefined) return;
    const pixel = 1 / this.view.matrix[0];
    for (const [style, width] of [
      ['#000', 4],
      ['#fff', 2],
    ] as const) {
      context.strokeStyle = style;
      context.lineWidth = width * devicePixelRatio * pixel;
      context.strokeRect(this.cursor.column, this.cursor.row, 1, 1);
    }
  }

  private setCursor(cell: Cell | undefined): void {
    const unchanged = cell?.row === this.cursor?.row && cell?.column === this.cursor?.column;
    if (unchanged) return;
    this.cursor = cell;
    this.onCell(cell, cell && this.cells[cell.row * this.columns + cell.column]?.code);
    this.redraw();
  }

  private listen(): void {
    const { canvas, view } = this;
    const pointOf = (event: MouseEvent): vec2 => [event.offsetX * devicePixelRatio, event.offsetY * devicePixelRatio];
    canvas.addEventListener('pointermove', (event) => {
      if (event.buttons === 1 && view.zoom > 1) {
        view.moveBy([event.movementX * devicePixelRatio, event.movementY * devicePixelRatio]);
        this.redraw();
      }
      this.setCursor(view.cellAt(pointOf(event)));
    });
    canvas.addEventListener('pointerdown', (event) => canvas.setPointerCapture(event.pointerId));
    canvas.addEventListener('pointerleave', () => this.setCursor(undefined));
    canvas.addEventListener('blur', () => this.setCursor(undefined));
    canvas.addEventListener(
      'wheel',
      (event) => {
        // A wheel over a picture nobody has chosen scrolls the page; pinching arrives as a wheel with the control key.
        if (!event.ctrlKey && document.activeElement !== canvas) return;
        event.preventDefault();
        view.zoomAt(Math.exp(-event.deltaY / 300), pointOf(event));
        this.redraw();
      },
      { passive: false },
    );
    canvas.addEventListener('keydown', (event) => {
      if (this.handleKey(event.key)) event.preventDefault();
    });
  }

  /** @returns whether the key means something here. */
  private handleKey(key: string): boolean {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[key];
    if (step !== undefined) {
      const { row, column } = this.cursor ?? { row: -step[0], column: -step[1] };
      const clamp = (value: number, count: number): number => Math.min(Math.max(value, 0), count - 1);
      const cell = { row: clamp(row + step[0], this.rows), column: clamp(column + step[1], this.columns) };
      this.view.reveal(cell);
      this.setCursor(cell);
    } else if (key === '+' || key === '=') this.zoom(1.5);
    else if (key === '-') this.zoom(1 / 1.5);
    else if (key === '0') this.resetView();
    else return false;
    return true;
  }
}

function fillCell(context: CanvasRenderingContext2D, column: number, row: number, inset: number): void {
  context.beginPath();
  context.roundRect(column + inset, row + inset, 1 - 2 * inset, 1 - 2 * inset, 0.12);
  context.fill();
}
