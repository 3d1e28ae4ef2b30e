import { listenToGrid, type GridTarget, type GridTool } from './grid-input.js';
import { cellFade, paintGrid, pictureFade, type GridScene, type TokenCell } from './grid-paint.js';
import { Marks } from './marks.js';
import type { Cell } from './view.js';
import { GridView } from './view.js';

/** Between one cell of a row and the next, in milliseconds: tokens come back row by row. */
const columnDelay = 30;

/** The canvas of a picture: its tokens as coloured cells while they come in, then its pixels, and marks on top. */
export class TokenGrid implements GridScene, GridTarget {
  /** Called with the cell under the pointer or the keyboard's cursor, and its codebook entry if it has one. */
  onCell: (cell: Cell | undefined, code: number | undefined) => void = () => undefined;
  /** Called with the number of marked cells. */
  onMarks: (count: number) => void = () => undefined;
  readonly view = new GridView();
  readonly marks = new Marks();
  rows = 1;
  columns = 1;
  palette = new Uint8Array();
  cells: (TokenCell | undefined)[] = [];
  picture: GridScene['picture'];
  tokensOnTop = false;
  redrawn: Uint8Array | undefined;
  cursor: Cell | undefined;
  /** What dragging shall do where there is a picture to mark. */
  private chosenTool: GridTool = 'look';
  private readonly canvas: HTMLCanvasElement;
  private readonly context: CanvasRenderingContext2D | null;
  private readonly calm = matchMedia('(prefers-reduced-motion: reduce)');
  private frame = 0;
  private movingUntil = 0;

  constructor(canvas: HTMLCanvasElement) {
    this.canvas = canvas;
    this.context = canvas.getContext('2d');
    new ResizeObserver(() => this.resize()).observe(canvas);
    listenToGrid(canvas, this);
  }

  /** Empties the grid for tokens to come. */
  prepare(rows: number, columns: number): void {
    Object.assign(this, { rows, columns, cells: [], picture: undefined, redrawn: undefined });
    this.resize();
    this.clearMarks(rows, columns);
  }

  /** Shows a picture with its tokens. @param codes [rows][columns] */
  open(rows: number, columns: number, codes: Uint32Array, pixels: HTMLCanvasElement): void {
    const sameSize = rows === this.rows && columns === this.columns;
    const cells = Array.from(codes, (code) => ({ code, birth: 0 }));
    // It fades in over its tokens, unless most of it is there already.
    this.picture = { pixels, birth: this.redrawn ? 0 : performance.now() };
    Object.assign(this, { rows, columns, cells, redrawn: undefined });
    if (!sameSize) this.resize();
    this.clearMarks(rows, columns);
    this.animate(pictureFade);
  }

  /** Keeps the picture but for the marked cells, whose tokens are to come. */
  redrawMarked(): void {
    this.redrawn = this.marks.cells.slice();
    this.cells = this.cells.map((cell, index) => (this.redrawn?.[index] === 0 ? cell : undefined));
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

  get markable(): boolean {
    return this.picture !== undefined && this.redrawn === undefined;
  }

  get tool(): GridTool {
    return this.markable ? this.chosenTool : 'look';
  }

  set tool(tool: GridTool) {
    this.chosenTool = tool;
    // A finger that marks must not scroll the page.
    this.canvas.style.touchAction = tool === 'look' ? '' : 'none';
    this.canvas.style.cursor = tool === 'look' ? '' : 'crosshair';
  }

  clearMarks(rows = this.rows, columns = this.columns): void {
    this.marks.resize(rows, columns);
    this.marksChanged();
  }

  /** @param cells [rows][columns] of 0 and 1. */
  mark(cells: Uint8Array): void {
    this.marks.cells.set(cells);
    this.marksChanged();
  }

  marksChanged(): void {
    this.onMarks(this.marks.count);
    this.redraw();
  }

  setCursor(cell: Cell | undefined): void {
    const unchanged = cell?.row === this.cursor?.row && cell?.column === this.cursor?.column;
    if (unchanged) return;
    this.cursor = cell;
    this.onCell(cell, cell && this.cells[cell.row * this.columns + cell.column]?.code);
    this.redraw();
  }

  redraw(): void {
    if (this.frame !== 0) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.draw();
      if (performance.now() < this.movingUntil) this.redraw();
    });
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

  private draw(): void {
    if (this.context === null) return;
    paintGrid(this.context, this, (birth, fade) =>
      this.calm.matches ? 1 : Math.min(1, Math.max(0, (performance.now() - birth) / fade)),
    );
  }
}
