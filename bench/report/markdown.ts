import type { Ceilings } from '../ceilings.js';
import {
  shareOfBound,
  type Header,
  type KernelFigure,
  type KernelTimes,
  type Results,
  type Roofline,
  type Section,
  type WorkloadFigure,
} from '../results.js';
import { digits, formatShare, formatTime, giga, markdownTable, type Column } from './format.js';

const kernelColumns: readonly Column<KernelTimes>[] = [
  { title: 'kernel', cell: ({ kernel }) => kernel },
  { title: 'dispatches', cell: ({ dispatches }) => String(dispatches), right: true },
  { title: 'time', cell: ({ time }) => formatTime(time.best), right: true },
  { title: 'GFLOP/s', cell: ({ flops, time }) => giga(flops / time.best), right: true },
  { title: 'GB/s', cell: ({ bytes, time }) => giga(bytes / time.best), right: true },
  { title: 'of the roofline', cell: (figure) => formatShare(shareOfBound(figure)), right: true },
  { title: 'limit', cell: ({ limit }) => limit },
];

const sectionTitles: Record<Section, string> = { decode: 'Decoding', train: 'Training', vision: 'Vision tokenizer' };

/** The whole run as a Markdown page. `plot` is the path of its picture, relative to the page. */
export function markdownReport(results: Results, plot?: string): string {
  const { header, roofline, kernels, workloads, skipped } = results;
  const parts = [`# Speed on ${header.adapter}`, headerList(header), rooflineText(roofline)];
  if (plot !== undefined) parts.push(`![Kernels under the roofline](${plot})`);
  for (const section of ['decode', 'train', 'vision'] as const) {
    const own = workloads.filter((workload) => workload.section === section);
    if (own.length > 0) parts.push(`## ${sectionTitles[section]}`, ...own.map(workloadText));
  }
  if (kernels.length > 0) parts.push('## Kernels', kernelText(kernels));
  if (skipped.length > 0) {
    const list = skipped.map(({ what, why }) => `- ${what}: ${why}`).join('\n');
    parts.push('## Not run', list);
  }
  return `${parts.join('\n\n')}\n`;
}

function headerList(header: Header): string {
  const lines = [
    `adapter: ${header.adapter}; ${header.driver}`,
    `features: ${header.features || 'none'}`,
    `processor: ${header.processor}, ${header.cores} cores; load when the run began ${header.loadAtStart}`,
    `date: ${header.date}; commit ${header.commit}; Node ${header.node}`,
    `times are the best of ${header.rounds} ${header.rounds === 1 ? 'round' : 'rounds'}, ceilings and kernels measured in turn`,
  ];
  return lines.map((line) => `- ${line}`).join('\n');
}

function rooflineText({ ceilings, median, samples, dispatch }: Roofline): string {
  const names: [string, keyof Ceilings, string][] = [
    ['copy of a large buffer, read and written', 'copy', 'GB/s'],
    ['reading a large buffer', 'read', 'GB/s'],
    ['multiply-add in registers, f32', 'multiplyAdd', 'GFLOP/s'],
    ['multiply-add in registers, f16', 'multiplyAddF16', 'GFLOP/s'],
  ];
  const rows = names
    .filter(([, figure]) => ceilings[figure] > 0)
    .map(([what, figure, unit]) => [what, `${giga(ceilings[figure])} ${unit}`, `${giga(median[figure])} ${unit}`]);
  rows.push(['dispatch of nothing, among many in a submit', formatTime(dispatch.inOneSubmit), '']);
  rows.push(['the same, each in a submit of its own', formatTime(dispatch.submittedAlone), '']);
  rows.push(['the same, each waited for', formatTime(dispatch.waitedFor), '']);
  const table = markdownTable(
    ['ceiling', 'best', 'median'].map((title, at) => ({ title, cell: (row: string[]) => row[at], right: at > 0 })),
    rows,
  );
  return [
    '## Ceilings',
    table,
    [
      `The best and the median of ${samples} samples. A kernel's share is the time the roofline asks for at least, the larger of`,
      'bytes / stream and operations / multiply-add rate, divided by the time it took; the ceilings are the best of those',
      'measured between its rounds and shortly before, and the stream is the faster of copy and reading. Bytes count every',
      'operand once. Work that stays in caches can pass 100 %. `limit` names what asks for that time; `dispatch` where empty',
      'dispatches alone would take longer.',
    ].join('\n'),
  ].join('\n\n');
}

function workloadText(workload: WorkloadFigure): string {
  const { name, time, products, programs, created, kernels, bound } = workload;
  const runs = programs.map((program) => `${program.runs} x ${program.name} (${program.dispatches} dispatches)`);
  const inKernels = kernels.reduce((sum, kernel) => sum + kernel.time.best, 0);
  const facts = [
    `${products.map(({ unit, perSecond }) => `**${digits(perSecond)} ${unit}/s**`).join(', ')}; a run takes ${formatTime(time.best)}, median ${formatTime(time.median)}`,
    `a run: ${runs.join(', ')}`,
    `created by a run: ${created.buffers} buffers, ${created.bindGroups} bind groups`,
    `roofline of all its kernels ${formatTime(bound)}: ${formatShare(bound / time.best)} reached; kernels measured one by one take ${formatTime(inKernels)}`,
  ];
  const columns: Column<KernelTimes>[] = [
    kernelColumns[0],
    { title: 'of all', cell: (kernel) => formatShare(kernel.time.best / inKernels), right: true },
    ...kernelColumns.slice(1),
  ];
  const shown = kernels.filter((kernel) => kernel.time.best >= 0.01 * inKernels);
  const rest = kernels.length - shown.length;
  const note = rest > 0 ? `\n\n${rest} more ${rest === 1 ? 'kernel takes' : 'kernels take'} less than 1 % each.` : '';
  return `### ${name}\n\n${facts.map((fact) => `- ${fact}`).join('\n')}\n\n${markdownTable(columns, shown)}${note}`;
}

function kernelText(kernels: readonly KernelFigure[]): string {
  const byOp = new Map<string, KernelFigure[]>();
  for (const kernel of kernels) byOp.set(kernel.op, [...(byOp.get(kernel.op) ?? []), kernel]);
  const columns: Column<KernelFigure>[] = [{ title: 'sizes', cell: ({ sizes }) => sizes }, ...kernelColumns];
  return [...byOp].map(([op, figures]) => `### ${op}\n\n${markdownTable(columns, figures)}`).join('\n\n');
}
