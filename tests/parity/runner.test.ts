import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';
import { encodeSafetensors } from '../../loader/index.js';
import { exact, summary, within, withinMean, withinNorm, withinRelative } from './checks.js';
import { runGolden } from './run.js';

const golden = fileURLToPath(new URL('../golden', import.meta.url));
const folders: string[] = [];

afterEach(async () => {
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true, force: true });
});

/** A recording of a few files that need no model. */
async function recordingOf(...paths: string[]): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'emu3-golden-'));
  folders.push(folder);
  for (const path of paths) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await cp(join(golden, path), join(folder, path));
  }
  return folder;
}

async function runOn(dir: string, only?: string): Promise<{ pass: boolean; output: string }> {
  let output = '';
  const write = (text: string): void => {
    output += text;
  };
  return { pass: await runGolden({ dir, tier: 'adapter', write, ...(only === undefined ? {} : { only }) }), output };
}

/** What is printed on a folder that must not pass. */
async function failing(dir: string): Promise<string> {
  const { pass, output } = await runOn(dir);
  expect(pass).toBe(false);
  return output;
}

const sizes = 'generate/sizes.json';

describe('the golden runner', () => {
  it('passes what is right, and prints each case with tolerance and worst error', async () => {
    const { pass, output } = await runOn(await recordingOf(sizes, 'generate/prefix_constraint.json'));
    expect(pass).toBe(true);
    expect(output).toMatch(/generate\/sizes +smart_resize_default \(40\) +exact +0 +pass/);
    expect(output).toMatch(/2 cases passed, 0 failed/);
  });

  it('fails on a number that differs, and names it', async () => {
    const folder = await recordingOf(sizes);
    const path = join(folder, sizes);
    const changed = (await readFile(path, 'utf8')).replace(/"out": \[\s*512,\s*512\s*\]/, '"out": [512, 520]');
    await writeFile(path, changed);
    const { pass, output } = await runOn(folder);
    expect(pass).toBe(false);
    expect(output).toMatch(/1 of 40 failed, .*\[512,512\] instead of \[512,520\] +FAIL/);
  });

  it.each(['vq/new.json', 'surprise.bin', 'elsewhere/x.safetensors'])('fails on the unknown file %s', async (path) => {
    const folder = await recordingOf(sizes);
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), '{}');
    const { pass, output } = await runOn(folder);
    expect(pass).toBe(false);
    expect(output).toContain(path);
  });

  it('fails on an unknown tensor and on an unknown section', async () => {
    const folder = await recordingOf(sizes);
    const tensor = { name: 'what', dtype: 'F32' as const, shape: [1], values: Float32Array.of(1) };
    await mkdir(join(folder, 'vq'));
    await writeFile(join(folder, 'vq/new.safetensors'), await encodeSafetensors([tensor]));
    const recorded = JSON.parse(await readFile(join(folder, sizes), 'utf8')) as object;
    await writeFile(join(folder, sizes), JSON.stringify({ ...recorded, novel: { rows: 3 } }));
    const { pass, output } = await runOn(folder);
    expect(pass).toBe(false);
    expect(output).toMatch(/vq\/new\.safetensors .*unknown tensors: what/);
    expect(output).toMatch(/novel/);
  });

  it('fails on a file that the manifest lists and the folder lacks, or that was changed', async () => {
    const folder = await recordingOf(sizes);
    const files = [{ path: 'gone.json', sha256: '' }];
    await writeFile(join(folder, 'manifest.json'), JSON.stringify({ files }));
    expect(await failing(folder)).toContain('gone.json: is missing');
    await writeFile(join(folder, 'manifest.json'), JSON.stringify({ files: [{ path: sizes, sha256: 'abc' }] }));
    expect(await failing(folder)).toContain('instead of "abc"');
  });

  it('runs only what a glob names, and fails when that is nothing', async () => {
    const folder = await recordingOf(sizes, 'generate/prefix_constraint.json');
    expect((await runOn(folder, '*sizes')).output).toMatch(/1 cases passed/);
    expect((await runOn(folder, 'vq/*')).pass).toBe(false);
  });

  it('refuses a folder without recordings', async () => {
    await expect(runOn(join(golden, 'nowhere'))).rejects.toMatchObject({ code: 'missing' });
  });
});

describe('comparisons', () => {
  it('never pass on NaN, on missing values or on nothing', () => {
    expect(within('x', [NaN], [1], 10).pass).toBe(false);
    expect(within('x', [1], [NaN], 10).pass).toBe(false);
    expect(within('x', [1], [1, 2], 10).pass).toBe(false);
    expect(within('x', [], [], 10).pass).toBe(false);
    expect(within('x', [1], [1], 10, () => false).pass).toBe(false);
    expect(withinNorm('x', [NaN], [1], 10).pass).toBe(false);
    expect(withinNorm('x', [1], [0], 1e9).pass).toBe(false);
    expect(withinMean('x', [NaN, 1], [1, 1], 10).pass).toBe(false);
    expect(withinRelative('x', NaN, 1, 10).pass).toBe(false);
    expect(exact('x', [1, 2], [1, 3])).toMatchObject({ pass: false, worst: '1 of 2 differ, [1] 2 instead of 3' });
    expect(summary('x', []).pass).toBe(false);
  });

  it('pass at the tolerance and fail above it', () => {
    expect(within('x', [1.5], [1], 0.5).pass).toBe(true);
    expect(within('x', [1.51], [1], 0.5).pass).toBe(false);
    expect(withinNorm('x', [3, 4.4], [3, 4], 0.081).pass).toBe(true);
    expect(withinNorm('x', [3, 4.4], [3, 4], 0.079).pass).toBe(false);
    expect(summary('x', [within('a', [1], [1], 1), within('b', [3], [1], 1)]).pass).toBe(false);
  });
});
