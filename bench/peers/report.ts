import { formatShare, formatTime, markdownTable } from '../report/format.js';
import type { Header } from '../results.js';
import type { PeerFigure, PeerOutcome } from './compare.js';

export interface PeerResults {
  readonly header: Header;
  readonly figures: readonly PeerFigure[];
}

/** Results are said to be off from here; f32 in another order is some 1e-6. */
const tellError = 1e-4;

/** The figures as a Markdown page: the best time of each engine, and how many times ours it is. */
export function peersMarkdown({ header, figures }: PeerResults): string {
  const names = Object.keys(figures[0]?.outcomes ?? {});
  const [first] = names;
  const cell = (figure: PeerFigure, name: string): string => {
    const outcome = figure.outcomes[name];
    const own = figure.outcomes[first];
    if (outcome.kind !== 'measured') return outcome.kind === 'failed' ? 'failed' : '-';
    const time = formatTime(outcome.time.best);
    if (name === first || own.kind !== 'measured') return time;
    return `${time} (${(outcome.time.best / own.time.best).toFixed(2)} x)`;
  };
  const columns = [
    { title: 'problem', cell: ({ problem }: PeerFigure) => problem },
    ...names.map((name) => ({ title: name, cell: (figure: PeerFigure) => cell(figure, name), right: true })),
  ];
  const failures = figures.flatMap(({ problem, outcomes }) =>
    Object.entries(outcomes).flatMap(([name, outcome]: [string, PeerOutcome]) =>
      outcome.kind === 'failed' ? [`- ${name}, ${problem}: ${outcome.reason}`] : [],
    ),
  );
  const rounded = figures.flatMap(({ problem, outcomes }) =>
    Object.entries(outcomes).flatMap(([name, outcome]: [string, PeerOutcome]) =>
      outcome.kind === 'measured' && outcome.error > tellError
        ? [`- ${name}, ${problem}: ${formatShare(outcome.error)} off the first engine's result (relative, rms)`]
        : [],
    ),
  );
  const speeds = figures.flatMap(({ problem, tokens, outcomes }) => {
    if (tokens === undefined) return [];
    const each = Object.entries(outcomes).flatMap(([name, outcome]: [string, PeerOutcome]) =>
      outcome.kind === 'measured' ? [`${name} ${Math.round(tokens / outcome.time.best)}`] : [],
    );
    return [`- ${problem}: ${each.join(', ')}`];
  });
  const parts = [
    `# Side by side on ${header.adapter}`,
    `Commit ${header.commit}, ${header.date.slice(0, 10)}, ${header.cores} cores (${header.processor}), Node ${header.node}; best of ${header.rounds} rounds, the engines in turn. In brackets: how many times as long as this engine takes.`,
    markdownTable(columns, figures),
    ...(speeds.length > 0 ? ['## Tokens a second', speeds.join('\n')] : []),
    ...(rounded.length > 0 ? ['## Less exact', rounded.join('\n')] : []),
    ...(failures.length > 0 ? ['## Failed', failures.join('\n')] : []),
  ];
  return `${parts.join('\n\n')}\n`;
}
