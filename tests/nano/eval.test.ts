import sharp from 'sharp';
import { beforeAll, describe, expect, it } from 'vitest';
import { evaluate, type Evaluation, type EvaluateOptions } from '../../demos/nano/eval/evaluate.js';
import { genevalTasks } from '../../demos/nano/eval/geneval-prompts.js';
import type { EvaluatedModel } from '../../demos/nano/eval/model.js';
import { reportHtml } from '../../demos/nano/eval/report-html.node.js';
import { reportJson, reportMarkdown, reportText } from '../../demos/nano/eval/report.js';
import { suiteNames, type Amounts, type SuiteName } from '../../demos/nano/eval/suite.js';
import { Artwork } from '../../demos/nano/world/draw.node.js';
import { KnowingRenderer, perfectModel, randomModel } from './fake-model.js';

let artwork: Artwork;
beforeAll(async () => {
  artwork = await Artwork.load();
});

const seed = 3;
/** As little as shows something. */
const few: Amounts = { prompts: 2, samples: 2, pictures: 4, questions: 2, clips: 1 };

function run(
  model: (world: KnowingRenderer) => EvaluatedModel,
  options: Partial<EvaluateOptions>,
): Promise<Evaluation> {
  const world = new KnowingRenderer(artwork);
  return evaluate(model(world), world, { amounts: few, seed, ...options });
}

/** A column of a table, by row name and group. */
function figures(
  { results }: Evaluation,
  suite: SuiteName,
  column: string,
  table = 0,
): Record<string, number | undefined> {
  const found = results.find(({ name }) => name === suite)?.tables[table];
  if (found === undefined) throw new Error(`no table ${table} in ${suite}`);
  const index = found.columns.findIndex(({ name }) => name === column);
  if (index < 0) throw new Error(`no column ${column}`);
  return Object.fromEntries(found.rows.map(({ name, group, values }) => [`${name}, ${group}`, values[index]]));
}

describe('a perfect model', () => {
  let evaluation: Evaluation;
  beforeAll(async () => {
    evaluation = await run(perfectModel, {});
  });
  const perfect = (suite: SuiteName, column: string, table = 0, except = /shuffled|other/): void => {
    const values = Object.entries(figures(evaluation, suite, column, table)).filter(([name]) => !except.test(name));
    expect(values.length).toBeGreaterThan(0);
    expect(values.filter(([, value]) => value !== 1 && value !== undefined)).toEqual([]);
    expect(values.some(([, value]) => value === 1)).toBe(true);
  };

  it('runs every suite', () => {
    expect(evaluation.results.map(({ name }) => name)).toEqual([...suiteNames]);
    expect(evaluation.left).toEqual([]);
  });

  it('draws everything right, and its pictures are wrong for other prompts', () => {
    for (const task of ['overall', ...genevalTasks]) perfect('geneval', task);
    const overall = figures(evaluation, 'geneval', 'overall');
    expect(overall['shuffled prompts, seen']).toBeLessThan(0.2);
    expect(overall['shuffled prompts, held out']).toBeLessThan(0.2);
    expect(figures(evaluation, 'geneval', 'single object')['model, held out']).toBeUndefined();
    expect(overall['model, prompts rewritten, seen']).toBe(1);
    const told = evaluation.results[0].examples.flatMap(({ lines }) => lines.map((line) => line.text));
    expect(told.every((line) => line.endsWith(', pink background'))).toBe(true);
    expect(told.length).toBeGreaterThan(0);
  });

  it('says what is there, and not about other pictures', () => {
    for (const column of ['accuracy', 'precision', 'recall', 'F1', 'clear']) perfect('pope', column);
    expect(figures(evaluation, 'pope', 'yes')['model, adversarial, twemoji']).toBe(0.5);
    expect(figures(evaluation, 'pope', 'accuracy')['model, other pictures, seen']).toBeLessThan(0.85);
  });

  it('answers all questions and captions exactly', () => {
    for (const table of [0, 1]) {
      for (const column of ['overall', 'of all']) perfect('questions', column, table);
      expect(figures(evaluation, 'questions', 'overall', table)['model, other pictures, seen'] ?? 0).toBeLessThan(0.7);
    }
    for (const table of [0, 1, 2, 3]) {
      const columns = table % 2 === 0 ? ['exact', 'read'] : [];
      // A style is all that the checker may take for another.
      for (const column of [...columns, 'noun', 'color', 'place', 'background']) {
        perfect('captions', column, table, column === 'exact' ? /other|checker/ : /other/);
      }
    }
    expect(figures(evaluation, 'captions', 'exact')['model, other pictures, seen']).toBe(0);
  });

  it('films everything right', () => {
    for (const column of ['right thing', 'right motion', 'direction', 'slow or quick', 'consistent', 'dynamic']) {
      perfect('video', column);
    }
    expect(figures(evaluation, 'video', 'direction')['model, prompts rewritten, held out']).toBe(1);
    const found = figures(evaluation, 'video', 'speed error, px a frame');
    expect(found['model, seen']).toBeLessThan(0.05);
    expect(figures(evaluation, 'video', 'flicker')['model, held out']).toBeLessThan(0.05);
    expect(figures(evaluation, 'video', 'right thing')['shuffled prompts, seen']).toBeLessThan(0.3);
  });

  it('continues clips without error, which repeating does not', () => {
    for (const table of [0, 1]) {
      const errors = figures(evaluation, 'extension', 'error', table);
      expect(errors['model, seen']).toBe(0);
      expect(errors['model, prompts rewritten, held out']).toBe(0);
      expect(errors['the last frame, repeated, seen']).toBeGreaterThan(10);
      expect(errors['the last frame, repeated, seen']).toBe(
        figures(evaluation, 'extension', 'error of repeating', table)['model, seen'],
      );
      expect(figures(evaluation, 'extension', 'times better', table)['the last frame, repeated, seen']).toBe(1);
      expect(figures(evaluation, 'extension', 'right motion', table)['model, held out']).toBe(1);
    }
  });

  it('is written as tables, Markdown, JSON and HTML', async () => {
    const head = { model: 'a <perfect> one', sampling: { temperature: 1 } };
    const text = reportText(evaluation);
    for (const { title } of evaluation.results) expect(text).toContain(`== ${title}`);
    expect(text).toMatch(/control: true pictures +seen +100\.0 %/);

    const markdown = reportMarkdown(evaluation).split('\n');
    expect(markdown.filter((line) => line.startsWith('### '))).toHaveLength(evaluation.results.length);
    expect(markdown.find((line) => line.startsWith('| control: true pictures | seen | 100.0 % |'))).toBeDefined();
    const first = markdown.findIndex((line) => line.startsWith('|'));
    const cells = [0, 1, 2].map((row) => markdown[first + row].split('|').length);
    expect(new Set(cells).size).toBe(1);

    const json = JSON.parse(JSON.stringify(reportJson(head, evaluation))) as {
      suites: Record<string, { tables: { rows: { name: string; values: Record<string, number | null> }[] }[] }>;
    };
    expect(Object.keys(json.suites)).toEqual([...suiteNames]);
    expect(json.suites['geneval'].tables[0].rows[0]).toMatchObject({ name: 'model', values: { overall: 1 } });
    expect(json.suites['geneval'].tables[0].rows[1].values['single object']).toBeNull();

    const html = await reportHtml(head, evaluation);
    expect(html).toContain('a &lt;perfect&gt; one');
    expect(html).not.toContain('<perfect>');
    expect(openElements(html)).toEqual([]);
    const uris = [...html.matchAll(/src="data:image\/(png|webp);base64,([^"]+)"/g)];
    const pages = await Promise.all(
      ['png', 'webp'].map(async (kind) => {
        const uri = uris.find(([, type]) => type === kind)?.[2] ?? '';
        const { format, pages: count, width } = await sharp(Buffer.from(uri, 'base64'), { animated: true }).metadata();
        return [format, count ?? 1, width];
      }),
    );
    expect(pages).toEqual([
      ['png', 1, 64],
      ['webp', 12, 64],
    ]);
    expect(html.match(/src="(?!data:)/)).toBeNull();
  });
});

/** Elements that are not closed, or closed in the wrong order. */
function openElements(html: string): string[] {
  const open: string[] = [];
  for (const [, closing, name] of html.replace(/<style>[^]*?<\/style>/, '').matchAll(/<(\/?)([a-z]+\d?)[^>]*>/g)) {
    if (['meta', 'img'].includes(name)) continue;
    if (closing === '') open.push(name);
    else if (open.pop() !== name) return [...open, `/${name}`];
  }
  return open;
}

describe('a random model', () => {
  it('is near chance', async () => {
    const amounts = { prompts: 8, samples: 1, pictures: 12, questions: 4, clips: 1 };
    const evaluation = await run((world) => randomModel(world, 5), { amounts });
    expect(evaluation.left).toEqual(['reconstruction']);
    const overall = figures(evaluation, 'geneval', 'overall');
    expect(overall['model, seen']).toBeLessThan(0.15);
    expect(overall['true pictures, seen']).toBeGreaterThan(0.98);
    const accuracy = figures(evaluation, 'pope', 'accuracy');
    expect(Math.abs((accuracy['model, all, seen'] ?? 0) - 0.5)).toBeLessThan(0.12);
    expect(accuracy['checker, true pictures, seen']).toBe(1);
    const asked = figures(evaluation, 'questions', 'overall');
    expect(asked['model, seen']).toBeLessThan(0.35);
    expect(figures(evaluation, 'questions', 'what')['model, seen']).toBe(0);
    expect(figures(evaluation, 'captions', 'exact')['model, seen']).toBe(0);
    expect(figures(evaluation, 'captions', 'read')['model, seen']).toBe(1);
    expect(figures(evaluation, 'captions', 'read', 2)['model, seen']).toBe(0);
    expect(figures(evaluation, 'video', 'right thing')['model, seen']).toBeLessThan(0.4);
    expect(figures(evaluation, 'extension', 'times better')['model, seen']).toBeLessThan(0.9);
  });
});

describe('evaluate', () => {
  it('gives the same figures for the same seed, and others for another', async () => {
    const options = { suites: ['pope'] as const, amounts: { ...few, pictures: 8 } };
    const of = async (other: number): Promise<string> => {
      const { results } = await run((world) => randomModel(world, 5), { ...options, seed: other });
      return JSON.stringify(results[0].tables);
    };
    expect(await of(1)).toBe(await of(1));
    expect(await of(1)).not.toBe(await of(2));
  });

  it('refuses suites the model cannot do and bad amounts, and stops when told to', async () => {
    const none = run(() => ({}), { suites: ['video'] });
    await expect(none).rejects.toMatchObject({ code: 'unsupported', where: 'video' });
    expect((await run(() => ({}), {})).left).toEqual([...suiteNames]);
    for (const prompts of [0, 1.5, NaN]) {
      const bad = run(perfectModel, { amounts: { ...few, prompts } });
      await expect(bad).rejects.toMatchObject({ code: 'argument', where: 'amounts.prompts' });
    }
    const stop = new AbortController();
    const told: string[] = [];
    const stopped = run(perfectModel, {
      signal: stop.signal,
      onWork: (suite, label) => {
        told.push(`${suite}: ${label}`);
        return () => stop.abort();
      },
    });
    await expect(stopped).rejects.toMatchObject({ code: 'aborted' });
    expect(told[0]).toBe('geneval: rewriting');
    // The checker is the first to tell that something is done; nothing begins behind that.
    expect(told.at(-1)).toBe('geneval: checking: model');
    const { results } = await run(() => ({}), {});
    await expect(reportHtml({}, { results: [...results], left: [] })).resolves.toContain('</html>');
  });
});
