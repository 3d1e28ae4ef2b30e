import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { nodeImageCodec } from '../../tokenizer/index.node.js';
import { cli, tinyVision, writeTinyModel } from './support.js';

const side = 64;
let folder = '';
let model = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'emu3-cli-'));
  model = await writeTinyModel(join(folder, 'model'), side, 512);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

interface Report {
  leftOut: string[];
  amounts: Record<string, number>;
  suites: Record<
    string,
    { tables: { rows: { name: string; group: string; values: Record<string, number | null> }[] }[] }
  >;
}

describe('eval', () => {
  it('scores an untrained model as knowing nothing, and the truth as perfect', async () => {
    const names = ['report.json', 'report.html', 'report.md', 'grid.png'];
    const [report, html, markdown, grid] = names.map((name) => join(folder, name));
    const amounts = ['--quick', '--prompts', '1', '--samples', '1', '--pictures', '2', '--questions', '1'];
    const files = ['-o', report, '--html', html, '--markdown', markdown, '--grid', grid];
    const suites = 'geneval,pope,questions,reconstruction';
    const { code, out, err } = await cli(['eval', '--model', model, '--suite', suites, ...amounts, ...files]);
    expect(code, err).toBe(0);
    expect(out).toMatch(/control: true pictures +held out +100\.0 %/);

    const figures = JSON.parse(await readFile(report, 'utf8')) as Report;
    expect(Object.keys(figures.suites)).toEqual(suites.split(','));
    expect(figures.amounts).toEqual({ prompts: 1, samples: 1, pictures: 2, questions: 1, clips: 1 });
    const row = (suite: string, name: string, group: string, table = 0): Record<string, number | null> | undefined =>
      figures.suites[suite].tables[table].rows.find((each) => each.name === name && each.group === group)?.values;
    expect(row('geneval', 'model', 'seen')).toMatchObject({ overall: 0, pictures: 6 });
    expect(row('geneval', 'true pictures', 'seen')).toMatchObject({ overall: 1 });
    expect(row('pope', 'checker, true pictures', 'twemoji')).toMatchObject({ accuracy: 1 });
    expect(row('questions', 'model', 'seen')).toMatchObject({ overall: 0 });
    const psnr = row('reconstruction', 'clips', 'seen')?.['PSNR, dB'] ?? NaN;
    expect(psnr).toBeGreaterThan(0);
    expect(psnr).toBeLessThan(15);
    const codebook = row('reconstruction', 'all of the above', '', 1);
    expect(codebook).toMatchObject({ entries: tinyVision.codebook_size });
    expect(codebook?.['in use']).toBeLessThanOrEqual(tinyVision.codebook_size);

    expect(await readFile(html, 'utf8')).toMatch(/^<!doctype html>[^]*<\/html>\n$/);
    expect(await readFile(markdown, 'utf8')).toMatch(/^\| control: true pictures \| held out \| 100\.0 % \|/m);
    expect((await nodeImageCodec.decodeImage(await readFile(grid))).width).toBeGreaterThan(8 * side);
    expect((await readdir(folder)).filter((name) => name.endsWith('.tmp'))).toEqual([]);
    // Some hundred answers of full length, which the slowest adapter takes minutes for.
  }, 900_000);

  it('refuses what it does not know, before the model is loaded', async () => {
    const unknown = await cli(['eval', '--model', model, '--suite', 'geneval,taste']);
    expect(unknown.code).toBe(2);
    expect(unknown.err).toContain('geneval, pope, questions');
    expect((await cli(['eval', '--model', model, '--prompts', '0'])).code).toBe(2);
    const missing = await cli(['eval', '--model', model, '--html', join(folder, 'nowhere', 'report.html')]);
    expect([missing.code, missing.err]).toEqual([1, expect.stringContaining('does not exist')]);
    const grid = await cli(['eval', '--model', model, '--suite', 'pope', '--grid', join(folder, 'grid.png')]);
    expect([grid.code, grid.err]).toEqual([1, expect.stringContaining('--grid')]);
  });

  it('stops when told to and writes nothing', async () => {
    const output = join(folder, 'stopped.json');
    const { code, out } = await cli(['eval', '--model', model, '--quick', '-o', output], AbortSignal.abort());
    expect(code).toBe(130);
    expect(out).toBe('');
    expect(await readdir(folder)).not.toContain('stopped.json');
  });
});
