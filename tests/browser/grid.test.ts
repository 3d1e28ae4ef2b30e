import { describe, expect, test } from 'vitest';
import { Marks } from '../../demos/web/marks.js';
import { codebookPalette } from '../../demos/web/palette.js';
import { GridView } from '../../demos/web/view.js';

describe('where cells lie on the canvas', () => {
  test('a grid is fitted and centred', () => {
    const view = new GridView();
    view.fit(4, 8, 400, 400);
    // 8 columns of 50 pixels, and 4 rows in the middle.
    expect(view.cellAt([25, 125])).toEqual({ row: 0, column: 0 });
    expect(view.cellAt([399, 299])).toEqual({ row: 3, column: 7 });
    expect(view.cellAt([25, 99])).toBeUndefined();
    expect(view.cellAt([25, 301])).toBeUndefined();
  });

  test('zooming keeps the cell under the pointer, and back out everything fits again', () => {
    const view = new GridView();
    view.fit(8, 8, 400, 400);
    view.zoomAt(4, [320, 80]);
    expect(view.zoom).toBeCloseTo(4);
    expect(view.cellAt([320, 80])).toEqual({ row: 1, column: 6 });
    view.zoomAt(100, [320, 80]);
    expect(view.zoom).toBeCloseTo(12);
    view.zoomAt(0.001, [10, 10]);
    expect(view.zoom).toBeCloseTo(1);
    expect(view.cellAt([1, 1])).toEqual({ row: 0, column: 0 });
  });

  test('moving stops at the edges, and a cell outside comes into view', () => {
    const view = new GridView();
    view.fit(8, 8, 400, 400);
    view.moveBy([90, -70]);
    expect(view.cellAt([1, 1])).toEqual({ row: 0, column: 0 });
    view.zoomAt(4);
    view.moveBy([10_000, 10_000]);
    expect(view.cellAt([1, 1])).toEqual({ row: 0, column: 0 });
    view.reveal({ row: 7, column: 7 });
    expect(view.cellAt([399, 399])).toEqual({ row: 7, column: 7 });
    expect(view.cellAt([1, 399])).toEqual({ row: 7, column: 6 });
  });
});

describe('marks', () => {
  const begun = (): Marks => {
    const marks = new Marks();
    marks.resize(4, 5);
    return marks;
  };
  const listed = ({ cells }: Marks): number[] => [...cells.keys()].filter((place) => cells[place] === 1);

  test('are painted along a line without gaps, and taken away by a stroke that begins on one', () => {
    const marks = begun();
    marks.begin({ row: 0, column: 0 }, 'paint');
    marks.extend({ row: 2, column: 4 });
    marks.end();
    expect(listed(marks)).toEqual([0, 6, 7, 13, 14]);
    expect(marks.count).toBe(5);
    marks.begin({ row: 1, column: 1 }, 'paint');
    marks.extend({ row: 1, column: 2 });
    marks.end();
    expect(listed(marks)).toEqual([0, 13, 14]);
    marks.extend({ row: 3, column: 3 });
    expect(marks.count).toBe(3);
  });

  test('of a box follow its corner both ways, over what was marked before', () => {
    const marks = begun();
    marks.toggle({ row: 0, column: 0 });
    marks.begin({ row: 2, column: 3 }, 'box');
    marks.extend({ row: 0, column: 0 });
    expect(marks.count).toBe(12);
    marks.extend({ row: 3, column: 4 });
    expect(listed(marks)).toEqual([0, 13, 14, 18, 19]);
    marks.end();
    marks.toggle({ row: 0, column: 0 });
    expect(marks.has({ row: 0, column: 0 })).toBe(false);
    expect(marks.has({ row: -1, column: 4 })).toBe(false);
    expect(marks.has({ row: 3, column: 5 })).toBe(false);
    marks.clear();
    expect([marks.count, marks.cells.length]).toEqual([0, 20]);
  });
});

describe('colours of codebook entries', () => {
  /** Around [1, 0, 0, 0] and [0, 0, 0, 2], a little apart. */
  const entries = 64;
  const codebook = Float32Array.from({ length: entries * 4 }, (_, at) => {
    const [entry, component] = [Math.floor(at / 4), at % 4];
    const main = entry < entries / 2 ? (component === 0 ? 1 : 0) : component === 3 ? 2 : 0;
    return main + 0.05 * Math.sin(1 + 12.9898 * at);
  });
  const palette = codebookPalette(codebook, 4);
  const distance = (a: number, b: number): number =>
    Math.hypot(...[0, 1, 2].map((channel) => palette[3 * a + channel] - palette[3 * b + channel]));

  test('entries of different groups differ in lightness, and each has a colour of its own', () => {
    expect(palette).toHaveLength(3 * entries);
    const luminance = Array.from({ length: entries }, (_, entry) =>
      [0.2126, 0.7152, 0.0722].reduce((sum, weight, channel) => sum + weight * palette[3 * entry + channel], 0),
    );
    const [low, high] = [luminance.slice(0, entries / 2), luminance.slice(entries / 2)];
    const apart = Math.max(Math.min(...high) - Math.max(...low), Math.min(...low) - Math.max(...high));
    expect(apart).toBeGreaterThan(30);
    expect(distance(0, 1)).toBeGreaterThan(0);
  });

  test('a codebook with fewer dimensions than colours has some still', () => {
    const plain = codebookPalette(Float32Array.of(-1, 0, 1), 1);
    expect(plain[6]).not.toBe(plain[0]);
    expect([...plain].every((byte) => Number.isInteger(byte))).toBe(true);
  });
});
