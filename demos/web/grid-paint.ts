import type { Marks } from './marks.js';
import type { Cell, GridView } from './view.js';

export const cellFade = 220;
export const pictureFade = 500;
const margin = 0.06;

export interface TokenCell {
  code: number;
  /** When it begins to show. */
  birth: number;
}

/** What is to be seen of a token grid. */
export interface GridScene {
  readonly view: GridView;
  readonly rows: number;
  readonly columns: number;
  /** sRGB bytes of each codebook entry, [entries][3]. */
  readonly palette: Uint8Array;
  readonly cells: readonly (TokenCell | undefined)[];
  readonly picture: { readonly pixels: HTMLCanvasElement; readonly birth: number } | undefined;
  readonly tokensOnTop: boolean;
  /** Cells that are being drawn anew: tokens even where a picture is. */
  readonly redrawn: Uint8Array | undefined;
  readonly marks: Marks;
  readonly cursor: Cell | undefined;
}

type Context = CanvasRenderingContext2D;

/** @param shown how much of something is seen by now, from 0 to 1. */
export function paintGrid(context: Context, scene: GridScene, shown: (birth: number, fade: number) => number): void {
  const { view, picture, tokensOnTop, redrawn } = scene;
  const [a, b, c, d, x, y] = view.matrix;
  context.resetTransform();
  context.clearRect(0, 0, context.canvas.width, context.canvas.height);
  // From here on, one unit is one cell.
  context.setTransform(a, b, c, d, x, y);
  const pixelsShown = picture && !tokensOnTop ? shown(picture.birth, pictureFade) : 0;
  if (pixelsShown < 1) paintCells(context, scene, shown);
  if (picture && pixelsShown > 0) {
    context.globalAlpha = pixelsShown;
    context.imageSmoothingEnabled = false;
    context.drawImage(picture.pixels, 0, 0, scene.columns, scene.rows);
    context.globalAlpha = 1;
    if (redrawn) paintCells(context, scene, shown, redrawn);
  }
  if (!redrawn) paintMarks(context, scene);
  if (scene.cursor) outline(context, scene, [[scene.cursor.column, scene.cursor.row, 1, 1]]);
}

/** @param only paints over what is there, in the cells that are not 0. */
function paintCells(
  context: Context,
  { rows, columns, cells, palette }: GridScene,
  shown: (birth: number, fade: number) => number,
  only?: Uint8Array,
): void {
  for (let index = 0; index < rows * columns; index++) {
    if (only?.[index] === 0) continue;
    const cell = cells[index];
    const share = cell === undefined ? 0 : shown(cell.birth, cellFade);
    const column = index % columns;
    const row = Math.floor(index / columns);
    if (only) context.clearRect(column, row, 1, 1);
    if (share < 1) {
      context.globalAlpha = 1 - share;
      context.fillStyle = 'rgb(128 128 140 / 0.16)';
      fillCell(context, column, row, margin);
    }
    if (cell === undefined || share === 0) continue;
    const [red, green, blue] = palette.subarray(3 * cell.code, 3 * cell.code + 3);
    context.globalAlpha = share;
    context.fillStyle = `rgb(${red} ${green} ${blue})`;
    fillCell(context, column, row, margin + 0.3 * (1 - share));
  }
  context.globalAlpha = 1;
}

function fillCell(context: Context, column: number, row: number, inset: number): void {
  context.beginPath();
  context.roundRect(column + inset, row + inset, 1 - 2 * inset, 1 - 2 * inset, 0.12);
  context.fill();
}

function paintMarks(context: Context, scene: GridScene): void {
  const { marks, rows, columns } = scene;
  const edges: Rectangle[] = [];
  context.fillStyle = 'rgb(75 63 181 / 0.45)';
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      if (!marks.has({ row, column })) continue;
      context.fillRect(column, row, 1, 1);
      if (!marks.has({ row: row - 1, column })) edges.push([column, row, 1, 0]);
      if (!marks.has({ row: row + 1, column })) edges.push([column, row + 1, 1, 0]);
      if (!marks.has({ row, column: column - 1 })) edges.push([column, row, 0, 1]);
      if (!marks.has({ row, column: column + 1 })) edges.push([column + 1, row, 0, 1]);
    }
  }
  outline(context, scene, edges);
}

/** Left, top, width, height in cells; a line where one of the sizes is 0. */
type Rectangle = readonly [number, number, number, number];

/** White on black, so that it is seen on every picture. */
function outline(context: Context, { view }: GridScene, rectangles: readonly Rectangle[]): void {
  const pixel = devicePixelRatio / view.matrix[0];
  context.lineCap = 'square';
  for (const [style, width] of [
    ['#000', 4],
    ['#fff', 2],
  ] as const) {
    context.strokeStyle = style;
    context.lineWidth = width * pixel;
    for (const rectangle of rectangles) context.strokeRect(...rectangle);
  }
}
