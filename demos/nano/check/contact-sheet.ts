import { Emu3Error } from '../../../kernels/core/errors.js';

/** An RGB picture with its size: `width * height * 3` bytes, rows from the top. */
export interface Sheet {
  width: number;
  height: number;
  rgb: Uint8Array<ArrayBuffer>;
}

/** Grey gap between the pictures of a sheet, in pixels. */
const GAP = 2;
const GAP_GREY = 208;

/**
 * Square RGB pictures side by side, row by row, with a grey gap around each.
 * @param pictures all of the same size, side x side x 3 bytes.
 * @param columns pictures in a row.
 * @param scale every pixel becomes scale x scale pixels; a positive integer.
 * @throws Emu3Error `shape` when the pictures are not square or differ in size, `argument` for no pictures or a bad
 *   number of columns or scale.
 */
export function contactSheet(pictures: readonly Uint8Array[], columns: number, scale = 1): Sheet {
  const bytes = pictures[0]?.length ?? 0;
  const side = Math.sqrt(bytes / 3);
  if (pictures.length === 0 || !(columns >= 1) || !(scale >= 1) || !Number.isInteger(columns * scale)) {
    throw new Emu3Error('A contact sheet needs pictures and whole numbers of columns and scale.', {
      code: 'argument',
      where: `${pictures.length} pictures, ${columns} columns, scale ${scale}`,
      fix: 'Pass at least one of each.',
    });
  }
  if (!Number.isInteger(side) || pictures.some((picture) => picture.length !== bytes)) {
    throw new Emu3Error('The pictures of a contact sheet must be square and of one size.', {
      code: 'shape',
      where: 'pictures',
      fix: 'Pass side x side x 3 bytes for every picture.',
    });
  }
  const pitch = side * scale + GAP;
  const width = columns * pitch + GAP;
  const height = Math.ceil(pictures.length / columns) * pitch + GAP;
  const rgb = new Uint8Array(width * height * 3).fill(GAP_GREY);
  for (const [index, picture] of pictures.entries()) {
    const left = (index % columns) * pitch + GAP;
    const top = Math.floor(index / columns) * pitch + GAP;
    for (let row = 0; row < side * scale; row++) {
      for (let column = 0; column < side * scale; column++) {
        const source = (Math.floor(row / scale) * side + Math.floor(column / scale)) * 3;
        rgb.set(picture.subarray(source, source + 3), ((top + row) * width + left + column) * 3);
      }
    }
  }
  return { width, height, rgb };
}
