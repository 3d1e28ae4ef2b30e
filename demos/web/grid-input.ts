import type { vec2 } from 'gl-matrix';
import type { Marks, MarkTool } from './marks.js';
import type { Cell, GridView } from './view.js';

export type GridTool = 'look' | MarkTool;

/** What pointers and keys change on a token grid. */
export interface GridTarget {
  readonly rows: number;
  readonly columns: number;
  readonly view: GridView;
  readonly marks: Marks;
  readonly cursor: Cell | undefined;
  /** What dragging does; `look` while nothing can be marked. */
  readonly tool: GridTool;
  readonly markable: boolean;
  setCursor(cell: Cell | undefined): void;
  marksChanged(): void;
  redraw(): void;
}

/** The same things work by pointer, by touch and by keys. */
export function listenToGrid(canvas: HTMLCanvasElement, grid: GridTarget): void {
  const { view, marks } = grid;
  let marking = false;
  const pointOf = (event: MouseEvent): vec2 => [event.offsetX * devicePixelRatio, event.offsetY * devicePixelRatio];
  canvas.addEventListener('pointermove', (event) => {
    const cell = view.cellAt(pointOf(event));
    if (marking && cell) {
      marks.extend(cell);
      grid.marksChanged();
    } else if (!marking && event.buttons === 1 && view.zoom > 1) {
      view.moveBy([event.movementX * devicePixelRatio, event.movementY * devicePixelRatio]);
      grid.redraw();
    }
    grid.setCursor(cell);
  });
  canvas.addEventListener('pointerdown', (event) => {
    canvas.setPointerCapture(event.pointerId);
    const cell = view.cellAt(pointOf(event));
    if (grid.tool === 'look' || event.button !== 0 || cell === undefined) return;
    marking = true;
    marks.begin(cell, grid.tool);
    grid.marksChanged();
  });
  for (const ending of ['pointerup', 'pointercancel'] as const) {
    canvas.addEventListener(ending, () => {
      marking = false;
      marks.end();
    });
  }
  canvas.addEventListener('pointerleave', () => grid.setCursor(undefined));
  canvas.addEventListener('blur', () => grid.setCursor(undefined));
  canvas.addEventListener(
    'wheel',
    (event) => {
      // A wheel over a picture nobody has chosen scrolls the page; pinching arrives as a wheel with the control key.
      if (!event.ctrlKey && document.activeElement !== canvas) return;
      event.preventDefault();
      view.zoomAt(Math.exp(-event.deltaY / 300), pointOf(event));
      grid.redraw();
    },
    { passive: false },
  );
  canvas.addEventListener('keydown', (event) => {
    if (handleKey(event.key, grid)) event.preventDefault();
  });
}

/** @returns whether the key means something here. */
function handleKey(key: string, grid: GridTarget): boolean {
  const { view, marks, cursor, rows, columns } = grid;
  const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[key];
  if (step !== undefined) {
    const { row, column } = cursor ?? { row: -step[0], column: -step[1] };
    const clamp = (value: number, count: number): number => Math.min(Math.max(value, 0), count - 1);
    const cell = { row: clamp(row + step[0], rows), column: clamp(column + step[1], columns) };
    view.reveal(cell);
    grid.setCursor(cell);
  } else if (key === ' ') {
    if (cursor === undefined || !grid.markable) return true;
    marks.toggle(cursor);
    grid.marksChanged();
  } else if (key === '+' || key === '=') view.zoomAt(1.5);
  else if (key === '-') view.zoomAt(1 / 1.5);
  else if (key === '0') view.reset();
  else return false;
  grid.redraw();
  return true;
}
