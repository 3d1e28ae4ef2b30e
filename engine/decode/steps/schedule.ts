import { Emu3Error } from '../../../kernels/core/errors.js';

/** Places written at each step. */
export type Schedule = readonly (readonly number[])[];

/**
 * The order in which lines of tokens are written when several are written at once: a line is never further than `stagger`
 * tokens behind the end of what the line above it has, so its tokens see most of what lies above them (ZipAR, arXiv
 * 2412.04062, section 3.2). A stagger of the longest line is raster order.
 *
 * @param lines tokens of each line, in raster order; in all as many as are written.
 * @param stagger tokens that the line above must be ahead, from 1.
 * @param lanes most lines at once.
 */
export function staggeredSchedule(lines: readonly number[], stagger: number, lanes: number): Schedule {
  const starts: number[] = [];
  let total = 0;
  for (const length of lines) {
    starts.push(total);
    total += length;
  }
  const written = lines.map(() => 0);
  const schedule: number[][] = [];
  for (let first = 0; first < lines.length;) {
    const places: number[] = [];
    const advanced: number[] = [];
    for (let line = first; line < lines.length && places.length < lanes; line++) {
      const above = line === 0 ? undefined : { written: written[line - 1], length: lines[line - 1] };
      const needed = above && Math.min(above.length, written[line] + stagger);
      if (above && needed !== undefined && above.written < needed) break;
      if (written[line] === lines[line]) continue;
      places.push(starts[line] + written[line]);
      advanced.push(line);
    }
    for (const line of advanced) written[line] += 1;
    while (first < lines.length && written[first] === lines[first]) first++;
    if (places.length > 0) schedule.push(places);
  }
  return schedule;
}

/** How many tokens, counted from the first, are all there after each step of a schedule. */
export function certainAfter(schedule: Schedule): number[] {
  const there = new Set<number>();
  let certain = 0;
  return schedule.map((places) => {
    for (const place of places) there.add(place);
    while (there.has(certain)) certain++;
    return certain;
  });
}

/** @throws Emu3Error `argument` for lines that are no whole numbers from 1 or have not as many tokens as are asked for. */
export function checkLines(lines: readonly number[] | undefined, newTokens: number): readonly number[] {
  const refuse = (message: string, fix: string): Emu3Error =>
    new Emu3Error(message, { code: 'argument', where: 'lines', fix });
  if (lines === undefined) throw refuse('A decoder of several lines got none.', 'Give the tokens of each line.');
  const wrong = lines.find((length) => !Number.isInteger(length) || length < 1);
  if (wrong !== undefined) throw refuse(`A line has ${wrong} tokens.`, 'Give whole numbers from 1.');
  const total = lines.reduce((sum, length) => sum + length, 0);
  if (total === newTokens) return lines;
  throw refuse(`The lines have ${total} tokens, and ${newTokens} are asked for.`, 'Give lines of as many tokens.');
}
