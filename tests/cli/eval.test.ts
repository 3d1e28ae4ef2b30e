import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Evaluation } from '../../demos/cli/evaluation.js';
import { PICTURE_SIZE } from '../../demos/nano/data/artwork.node.js';
import { nodeImageCodec } from '../../tokenizer/index.node.js';
import { cli, tinyVision, writeTinyModel } from './support.js';

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'emu3-cli-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

describe('eval', () => {
  it('scores an untrained model as knowing nothing, and the artwork as perfect', async () => {
    const model = await writeTinyModel(join(folder, 'model'), PICTURE_SIZE);
    const [report, grid] = [join(folder, 'report.json'), join(folder, 'grid.png')];
    const args = ['--model', model, '--prompts', '5', '--held-out', '3', '--batch', '4', '-o', report, '--grid', grid];
    const { code, out, err } = await cli(['eval', ...args]);
    expect(code, err).toBe(0);
    expect(out).toMatch(/control: the artwork itself +held out +3 +100\.0 %/);

    const { scores, reconstruction, codebook, drawing } = JSON.parse(await readFile(report, 'utf8')) as Evaluation;
    expect(scores.artwork.trained).toMatchObject({ count: 5, conceptAccuracy: 1, styleAccuracy: 1, meanDistance: 0 });
    expect(scores.drawn.heldOut).toMatchObject({ count: 3, exactAccuracy: 0 });
    expect(scores.drawn.trained.meanDistance).toBeGreaterThan(0.3);
    expect(reconstruction.pictures).toBeGreaterThan(100);
    expect(reconstruction.psnr).toBeGreaterThan(0);
    expect(reconstruction.psnr).toBeLessThan(15);
    expect(codebook.used).toBeGreaterThan(0);
    expect(codebook.used).toBeLessThanOrEqual(tinyVision.codebook_size);
    expect(codebook.perplexity).toBeLessThanOrEqual(codebook.used);
    expect(drawing.tokens).toBe(8 * (8 * 9 + 3));

    const sheet = await nodeImageCodec.decodeImage(await readFile(grid));
    expect(sheet.width).toBeGreaterThan(8 * PICTURE_SIZE);
  });
});
