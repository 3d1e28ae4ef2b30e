import sharp from 'sharp';
import { throwIfAborted } from '../../../kernels/core/errors.js';
import type { RgbImage } from '../../../tokenizer/index.js';
import { formatSeconds } from '../../cli/report.js';
import { framesPerSecond } from '../world/scene.js';
import type { Evaluation } from './evaluate.js';
import { formatValue, type ReportHead } from './report.js';
import type { Example, SuiteResult, Table, TableRow } from './suite.js';

const escapes: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** Text that stands for itself in HTML, in attributes too. */
export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => escapes[character]);
}

const style = `
:root { color-scheme: light dark; --ink: #1c1d21; --soft: #666b76; --page: #f6f6f4; --card: #fff; --line: #e2e2de;
  --right: #2a9d5c; --wrong: #d2493f; --mark: #3b6fd4; }
@media (prefers-color-scheme: dark) { :root { --ink: #ececea; --soft: #9a9fa9; --page: #16171a; --card: #202226;
  --line: #34373d; --right: #4cc382; --wrong: #ef7468; --mark: #7da5f5; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1180px; padding: 2.5rem 1.5rem 4rem; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.9rem; margin: 0 0 .4rem; letter-spacing: -.02em; }
h2 { font-size: 1.3rem; margin: 3rem 0 .3rem; letter-spacing: -.01em; }
h3 { font-size: 1rem; margin: 1.4rem 0 .5rem; }
p { color: var(--soft); max-width: 46rem; margin: 0 0 1rem; }
nav { display: flex; flex-wrap: wrap; gap: .4rem 1.2rem; margin: 1rem 0; }
a { color: var(--mark); text-decoration: none; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1.2rem; margin: 1rem 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
.table { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: .3rem .9rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .88rem; }
th { text-align: left; font-weight: 600; color: var(--soft); vertical-align: bottom; }
th, td { padding: .38rem .6rem .38rem 0; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { white-space: normal; }
tr:last-child td { border-bottom: 0; }
td.n, th.n { text-align: right; }
tr.model td { font-weight: 600; } tr.control td { color: var(--soft); }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(168px, 1fr)); gap: .8rem; margin: .6rem 0; }
.card { background: var(--card); border: 1px solid var(--line); border-top: 4px solid var(--line); border-radius: 10px;
  padding: .7rem; font-size: .82rem; overflow-wrap: anywhere; }
.card.right { border-top-color: var(--right); } .card.wrong { border-top-color: var(--wrong); }
.card b { display: block; margin-top: .45rem; line-height: 1.3; }
.card small { color: var(--soft); }
.pictures { display: flex; gap: .4rem; } figure { margin: 0; flex: 1; } figcaption { color: var(--soft); font-size: .75rem; }
img { display: block; width: 100%; image-rendering: pixelated; border-radius: 5px; outline: 1px solid var(--line); }
.line::before { content: ''; } .line.right::before { content: '✓ '; color: var(--right); }
.line.wrong::before { content: '✗ '; color: var(--wrong); }
`;

/**
 * The report as one HTML file that needs no other: tables, and pictures and clips as data URIs.
 *
 * @throws Emu3Error `aborted`.
 */
export async function reportHtml(
  head: ReportHead,
  evaluation: Evaluation,
  { signal }: { signal?: AbortSignal } = {},
): Promise<string> {
  const { results, left } = evaluation;
  const sections: string[] = [];
  for (const result of results) {
    throwIfAborted(signal, 'eval');
    sections.push(await sectionOf(result));
  }
  const links = results.map(({ name, title }) => `<a href="#${name}">${escapeHtml(title)}</a>`);
  const facts = Object.entries(head).map(
    ([name, value]) => `<dt>${escapeHtml(name)}</dt><dd>${escapeHtml(factText(value))}</dd>`,
  );
  const missing =
    left.length === 0 ? '' : `<p>Left out, as the model cannot do it: ${escapeHtml(left.join(', '))}.</p>`;
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Evaluation</title><style>${style}</style></head><body>
<h1>Evaluation</h1>
<p>What a model of the nano world can do, measured by programs that know what is right, without a learned judge. Rows in
grey are controls.</p>
<dl>${facts.join('')}</dl>${missing}
<nav>${links.join('')}</nav>
${sections.join('\n')}
</body></html>
`;
}

function factText(value: unknown): string {
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? '');
}

async function sectionOf({
  name,
  title,
  about,
  tables,
  examples,
  seconds,
}: SuiteResult & { seconds: number }): Promise<string> {
  const parts = [
    `<h2 id="${name}">${escapeHtml(title)}</h2>`,
    `<p>${escapeHtml(about)} <small>${escapeHtml(formatSeconds(seconds))}</small></p>`,
    ...tables.map(tableHtml),
  ];
  for (const group of new Set(examples.map((example) => example.group))) {
    const cards = await Promise.all(examples.filter((example) => example.group === group).map(cardHtml));
    parts.push(`<h3>${escapeHtml(group)}</h3>`, `<div class="grid">${cards.join('')}</div>`);
  }
  return `<section>${parts.join('\n')}</section>`;
}

function tableHtml({ title, columns, rows, note }: Table): string {
  const heading = columns.map(({ name }) => `<th class="n">${escapeHtml(name)}</th>`).join('');
  const rowHtml = ({ name, group, control, values }: TableRow): string => {
    const cells = values.map((value, index) => `<td class="n">${formatValue(value, columns[index].format)}</td>`);
    const label = `<td>${escapeHtml(name)}</td><td>${escapeHtml(group)}</td>`;
    return `<tr class="${control ? 'control' : 'model'}">${label}${cells.join('')}</tr>`;
  };
  return `<h3>${escapeHtml(title)}</h3><div class="table"><table><thead><tr><th></th><th></th>${heading}</tr></thead>
<tbody>${rows.map(rowHtml).join('\n')}</tbody></table></div>${note === undefined ? '' : `<p>${escapeHtml(note)}</p>`}`;
}

async function cardHtml({ title, pictures, lines, right }: Example): Promise<string> {
  const figures = await Promise.all(
    pictures.map(async ({ label, frames }) => {
      const caption = label === undefined ? '' : `<figcaption>${escapeHtml(label)}</figcaption>`;
      const words = escapeHtml(label ?? title);
      return `<figure><img alt="${words}" src="${await dataUri(frames)}">${caption}</figure>`;
    }),
  );
  const verdict = (value: boolean | undefined): string => (value === undefined ? '' : value ? ' right' : ' wrong');
  const texts = lines.map((line) => `<div class="line${verdict(line.right)}">${escapeHtml(line.text)}</div>`);
  const heading = title === '' ? '' : `<b>${escapeHtml(title)}</b>`;
  return `<div class="card${verdict(right)}"><div class="pictures">${figures.join('')}</div>${heading}${texts.join('')}</div>`;
}

/** A PNG of one frame, an animated WebP of several, both without loss. */
async function dataUri(frames: readonly RgbImage[]): Promise<string> {
  const [{ width, height }] = frames;
  if (frames.length === 1) {
    const png = await sharp(frames[0].rgb, { raw: { width, height, channels: 3 } })
      .png()
      .toBuffer();
    return `data:image/png;base64,${png.toString('base64')}`;
  }
  const tall = Buffer.concat(frames.map(({ rgb }) => rgb));
  const raw = { width, height: height * frames.length, channels: 3 as const, pageHeight: height };
  const delay = frames.map(() => Math.round(1000 / framesPerSecond));
  const webp = await sharp(tall, { raw }).webp({ lossless: true, loop: 0, delay }).toBuffer();
  return `data:image/webp;base64,${webp.toString('base64')}`;
}
