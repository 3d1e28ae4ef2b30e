import type { Cell } from './view.js';

export type MarkTool = 'paint' | 'box';

interface Stroke {
  tool: MarkTool;
  start: Cell;
  last: Cell;
  /** What the stroke makes of the cells it touches. */
  value: 0 | 1;
  /** The marks before it. */
  before: Uint8Array;
}

/** Which cells of a token grid are marked, and the strokes that mark them. */
export class Marks {
  /** [rows][columns] of 0 and 1. */
  cells = new Uint8Array();
  private rows = 0;
  private columns = 0;
  private stroke: Stroke | undefined;

  /** Nothing is marked afterwards. */
  resize(rows: number, columns: number): void {
    Object.assign(this, { rows, columns, stroke: undefined });
    this.cells = new Uint8Array(rows * columns);
  }

  clear(): void {
    this.resize(this.rows, this.columns);
  }

  get count(): number {
    return this.cells.reduce((sum, mark) => sum + mark, 0);
  }

  /** Whether there is a mark; cells outside have none. */
  has({ row, column }: Cell): boolean {
    const inside = row >= 0 && row < this.rows && column >= 0 && column < this.columns;
    return inside && this.cells[row * this.columns + column] === 1;
  }

  toggle(cell: Cell): void {
    this.begin(cell, 'paint');
    this.end();
  }

  /** A stroke that begins on a mark takes marks away. */
  begin(start: Cell, tool: MarkTool): void {
    this.stroke = { tool, start, last: start, value: this.has(start) ? 0 : 1, before: this.cells.slice() };
    this.extend(start);
  }

  /** Leads the stroke to a cell: in a line from the last one, or as the box from the first one. */
  extend(cell: Cell): void {
    const { stroke } = this;
    if (stroke === undefined) return;
    const { tool, start, last, value, before } = stroke;
    if (tool === 'box') {
      this.cells.set(before);
      const [top, bottom] = [Math.min(start.row, cell.row), Math.max(start.row, cell.row)];
      const [left, right] = [Math.min(start.column, cell.column), Math.max(start.column, cell.column)];
      for (let row = top; row <= bottom; row++) {
        this.cells.fill(value, row * this.columns + left, row * this.columns + right + 1);
      }
    } else {
      const [down, across] = [cell.row - last.row, cell.column - last.column];
      const steps = Math.max(1, Math.abs(down), Math.abs(across));
      for (let step = 0; step <= steps; step++) {
        const row = Math.round(last.row + (down * step) / steps);
        const column = Math.round(last.column + (across * step) / steps);
        this.cells[row * this.columns + column] = value;
      }
    }
    stroke.last = cell;
  }

  end(): void {
    this.stroke = undefined;
  }
}
