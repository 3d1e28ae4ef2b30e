import { formatPercent, formatSeconds, formatTable } from '../../cli/report.js';
import type { Evaluation } from './evaluate.js';
import type { Format, Table } from './suite.js';

/** How a report introduces itself: what was measured, on what, with which settings. */
export type ReportHead = Readonly<Record<string, unknown>>;

export function formatValue(value: number | undefined, format: Format): string {
  if (value === undefined) return '-';
  if (format === 'share') return formatPercent(value);
  return format === 'count' ? String(value) : value.toFixed(2);
}

function cellsOf({ title, columns, rows }: Table): { heading: string[]; cells: string[][] } {
  const heading = [title, 'group', ...columns.map(({ name }) => name)];
  const cells = rows.map(({ name, group, control, values }) => [
    control ? `control: ${name}` : name,
    group,
    ...values.map((value, index) => formatValue(value, columns[index].format)),
  ]);
  return { heading, cells };
}

function tableText(table: Table): string {
  const { heading, cells } = cellsOf(table);
  return `${formatTable(heading, cells)}${table.note === undefined ? '' : `${table.note}\n`}`;
}

function tableMarkdown(table: Table): string {
  const { heading, cells } = cellsOf(table);
  const line = (values: readonly string[]): string => `| ${values.join(' | ')} |\n`;
  const rule = heading.map((_, index) => (index < 2 ? '---' : '--:'));
  return [heading, rule, ...cells].map(line).join('') + (table.note === undefined ? '' : `\n${table.note}\n`);
}

/** The tables for a model card. */
export function reportMarkdown({ results }: Evaluation): string {
  return results.map(({ title, tables }) => [`### ${title}\n`, ...tables.map(tableMarkdown)].join('\n')).join('\n');
}

/** The tables for a terminal. */
export function reportText({ results, left }: Evaluation): string {
  const parts = results.map(({ title, seconds, tables }) =>
    [`== ${title} (${formatSeconds(seconds)}) ==\n`, ...tables.map(tableText)].join('\n'),
  );
  if (left.length > 0) parts.push(`Left out, as the model cannot do it: ${left.join(', ')}.\n`);
  return parts.join('\n');
}

/** The figures by their names, for files; shares are from 0 to 1, and what could not be measured is null. */
export function reportJson(head: ReportHead, { results, left }: Evaluation): object {
  const suites = results.map(({ name, seconds, tables }) => [
    name,
    {
      seconds,
      tables: tables.map(({ title, columns, rows }) => ({
        title,
        rows: rows.map(({ name: row, group, control, values }) => ({
          name: row,
          group,
          control,
          values: Object.fromEntries(columns.map((column, index) => [column.name, values[index] ?? null])),
        })),
      })),
    },
  ]);
  return { ...head, leftOut: left, suites: Object.fromEntries(suites) as object };
}
