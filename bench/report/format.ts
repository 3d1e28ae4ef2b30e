/** Three digits and a unit that keeps them before the point: 0.0000123 s to `12.3 µs`. */
export function formatTime(seconds: number): string {
  const units = [
    [1, 's'],
    [1e-3, 'ms'],
    [1e-6, 'µs'],
  ] as const;
  const [scale, unit] = units.find(([size]) => seconds >= size) ?? units[2];
  return `${digits(seconds / scale)} ${unit}`;
}

/** Three significant digits, without exponents. */
export function digits(value: number): string {
  if (!Number.isFinite(value)) return '?';
  const decimals = value === 0 ? 0 : Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return value.toFixed(Math.min(decimals, 4));
}

/** `12 %`. */
export function formatShare(share: number): string {
  return `${digits(100 * share)} %`;
}

/** Operations or bytes per second as thousands of millions. */
export function giga(perSecond: number): string {
  return digits(perSecond / 1e9);
}

export interface Column<Row> {
  readonly title: string;
  readonly cell: (row: Row) => string;
  /** Numbers stand at the right. */
  readonly right?: boolean;
}

/** A Markdown table with aligned columns. */
export function markdownTable<Row>(columns: readonly Column<Row>[], rows: readonly Row[]): string {
  const cells = rows.map((row) => columns.map(({ cell }) => cell(row).replaceAll('|', '\\|')));
  const widths = columns.map(({ title }, at) => Math.max(3, title.length, ...cells.map((row) => row[at].length)));
  const pad = (text: string, at: number): string =>
    columns[at].right ? text.padStart(widths[at]) : text.padEnd(widths[at]);
  const line = (row: readonly string[]): string => `| ${row.map(pad).join(' | ')} |`;
  const rule = widths.map((width, at) => (columns[at].right ? `${'-'.repeat(width - 1)}:` : '-'.repeat(width)));
  return [line(columns.map(({ title }) => title)), `| ${rule.join(' | ')} |`, ...cells.map(line)].join('\n');
}
