import type { Check } from './checks.js';

/** What came of one case. */
export interface CaseResult {
  readonly name: string;
  readonly checks: readonly Check[];
  readonly seconds: number;
}

const columns = [36, 34, 24, 12] as const;

function row(cells: readonly string[]): string {
  return cells
    .map((cell, index) => cell.padEnd(columns[index] ?? 0))
    .join('  ')
    .trimEnd();
}

/** A line for each check: case, quantity, tolerance, worst error, pass or FAIL. */
export function table(results: readonly CaseResult[], withHead: boolean): string {
  const lines = withHead ? [row(['case', 'quantity', 'tolerance', 'worst error', ''])] : [];
  for (const { name, checks } of results) {
    if (checks.length === 0) lines.push(row([name, 'nothing was compared', '', '', 'FAIL']));
    for (const { what, tolerance, worst, pass } of checks) {
      lines.push(row([name, what, tolerance, worst, pass ? 'pass' : 'FAIL']));
    }
  }
  return `${lines.join('\n')}\n`;
}
