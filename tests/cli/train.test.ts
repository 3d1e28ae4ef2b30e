import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { runStage, type Stage } from '../../demos/cli/commands/train.js';
import { plotCurve } from '../../demos/cli/plot.js';
import type { Terminal } from '../../demos/cli/terminal.js';
import { throwIfAborted } from '../../kernels/core/errors.js';
import { testDevice } from '../support/gpu.js';
import { cli, writeText } from './support.js';

let folder = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'emu3-cli-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const points = [10, 20, 30].map((step) => ({
  step,
  loss: 1 / step,
  gradientNorm: 0.5,
  learningRate: 1e-3,
  psnr: 10 + step,
}));

/** Trains nothing, but reports and writes what the real stages do. */
function rehearsal(signal: AbortSignal): Stage {
  return {
    name: 'tokenizer',
    recipe: { steps: 30, schedule: () => ({ kind: 'constant', peak: 1 }) },
    output: (output) => join(output, 'vision_tokenizer'),
    plot: {
      title: 'Rehearsal',
      left: { label: 'loss', logarithmic: true },
      series: [
        { field: 'loss', label: 'loss' },
        { field: 'absent', label: 'absent' },
      ],
    },
    train: async (_, { run, onMetrics }) => {
      throwIfAborted(signal, 'training step 0');
      for (const point of points) onMetrics(point, 0.5);
      await writeText(join(run, 'tokenizer-curve.json'), JSON.stringify(points));
    },
  };
}

function terminal(signal: AbortSignal): Terminal & { text: string } {
  const made = {
    text: '',
    out: (text: string) => {
      made.text += text;
    },
    err: () => undefined,
    input: Readable.from([]),
    progress: undefined,
    signal,
  };
  return made;
}

describe('train', () => {
  it('puts the curves beside the model, as JSON and SVG', async () => {
    const { signal } = new AbortController();
    const output = join(folder, 'out');
    await mkdir(output);
    await mkdir(join(folder, 'run', 'tokenizer'), { recursive: true });
    const screen = terminal(signal);
    const options = { run: join(folder, 'run'), output };
    const summary = await runStage(screen, await testDevice(), rehearsal(signal), options);
    expect(summary.last).toMatchObject({ step: 30 });
    expect(screen.text).toContain('tokenizer trained to step 30');
    expect(JSON.parse(await readFile(join(output, 'tokenizer-curve.json'), 'utf8'))).toEqual(points);
    const svg = await readFile(join(output, 'tokenizer-curve.svg'), 'utf8');
    expect(svg).toMatch(/^<svg[\s\S]*Rehearsal[\s\S]*<\/svg>\s*$/);
    expect(svg).not.toContain('absent');
  });

  it('says how to go on when it is stopped', async () => {
    const signal = AbortSignal.abort();
    const options = { run: join(folder, 'run'), output: folder };
    const stage = runStage(terminal(signal), await testDevice(), rehearsal(signal), options);
    const fix = 'Run the same command again to go on from the checkpoint.';
    await expect(stage).rejects.toMatchObject({ code: 'aborted', fix });
  });

  it('refuses fewer steps than the warm-up before it renders artwork', async () => {
    const { code, err } = await cli(['train', 'nano', '--run', join(folder, 'r'), '--output', folder, '--steps', '5']);
    expect(code).toBe(1);
    expect(err).toContain('--steps of the tokenizer');
    expect(err).not.toContain('adapter');
  });

  it('refuses an output folder that is a file', async () => {
    await writeText(join(folder, 'file'), '');
    const { code, err } = await cli(['train', 'nano', '--run', join(folder, 'r'), '--output', join(folder, 'file')]);
    expect(code).toBe(1);
    expect(err).toContain('cannot be written to');
  });
});

describe('plotCurve', () => {
  it('draws one line a series, and nothing random', () => {
    const plot = {
      title: 'Curves',
      left: { label: 'loss' },
      right: { label: 'dB' },
      series: [
        { field: 'loss', label: 'loss' },
        { field: 'psnr', label: 'PSNR', right: true },
      ],
    };
    const svg = plotCurve(points, plot);
    for (const text of ['Curves', 'loss', 'PSNR', 'optimiser step']) expect(svg).toContain(text);
    expect(svg.match(/stroke-width="1.5"/g)?.length).toBeGreaterThanOrEqual(2);
    expect(svg).not.toContain('NaN');
  });
});
