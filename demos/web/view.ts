import { mat2d, vec2 } from 'gl-matrix';

export interface Cell {
  row: number;
  column: number;
}

const largestZoom = 12;

/** Where the cells of a token grid lie on a canvas: fitted to it, zoomed and moved, and found again under a pointer. */
export class GridView {
  /** From cells (x to the right, y down, one unit a cell) to the canvas' pixels; in the order of `setTransform`. */
  readonly matrix: mat2d = mat2d.create();
  private readonly inverse: mat2d = mat2d.create();
  private width = 1;
  private height = 1;
  private rows = 1;
  private columns = 1;

  /** Fits a grid of this size to a canvas of so many pixels. */
  fit(rows: number, columns: number, width: number, height: number): void {
    Object.assign(this, { rows, columns, width, height });
    this.reset();
  }

  reset(): void {
    const scale = this.fittingScale;
    mat2d.fromScaling(this.matrix, [scale, scale]);
    this.keepInside();
  }

  /** How many times the fitted size. */
  get zoom(): number {
    return this.matrix[0] / this.fittingScale;
  }

  /** Pixels from the centre of the canvas where no point is given. */
  zoomAt(factor: number, point: vec2 = [this.width / 2, this.height / 2]): void {
    const bounded = Math.min(Math.max(factor * this.zoom, 1), largestZoom) / this.zoom;
    const around = mat2d.fromTranslation(mat2d.create(), point);
    mat2d.scale(around, around, [bounded, bounded]);
    mat2d.translate(around, around, vec2.negate(vec2.create(), point));
    mat2d.multiply(this.matrix, around, this.matrix);
    this.keepInside();
  }

  /** By pixels of the canvas. */
  moveBy(offset: vec2): void {
    mat2d.multiply(this.matrix, mat2d.fromTranslation(mat2d.create(), offset), this.matrix);
    this.keepInside();
  }

  /** Moves as little as is needed to have a cell on the canvas. */
  reveal({ row, column }: Cell): void {
    const [left, top] = vec2.transformMat2d(vec2.create(), [column, row], this.matrix);
    const [right, bottom] = vec2.transformMat2d(vec2.create(), [column + 1, row + 1], this.matrix);
    const short = (from: number, to: number, end: number): number =>
      from < 0 ? -from : to > end ? Math.max(end - to, -from) : 0;
    this.moveBy([short(left, right, this.width), short(top, bottom, this.height)]);
  }

  /** The cell at a pixel of the canvas, if there is one. */
  cellAt(point: vec2): Cell | undefined {
    const [x, y] = vec2.transformMat2d(vec2.create(), point, this.inverse);
    const [row, column] = [Math.floor(y), Math.floor(x)];
    return row >= 0 && row < this.rows && column >= 0 && column < this.columns ? { row, column } : undefined;
  }

  private get fittingScale(): number {
    return Math.min(this.width / this.columns, this.height / this.rows);
  }

  /** No empty margin where the grid could fill the canvas; centred where it is smaller. */
  private keepInside(): void {
    const place = (offset: number, size: number, available: number): number =>
      size <= available ? (available - size) / 2 : Math.min(0, Math.max(available - size, offset));
    const [scale, , , , x, y] = this.matrix;
    const shift: vec2 = [place(x, scale * this.columns, this.width) - x, place(y, scale * this.rows, this.height) - y];
    mat2d.multiply(this.matrix, mat2d.fromTranslation(mat2d.create(), shift), this.matrix);
    mat2d.invert(this.inverse, this.matrix);
  }
}
