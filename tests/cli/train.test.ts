import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { foldersOf, plan, runStage } from '../../demos/cli/commands/train.js';
import { plotCurve } from '../../demos/cli/plot.js';
import type { Terminal } from '../../demos/cli/terminal.js';
import { stages, type Stage, type StageFolders } from '../../demos/cli/training-stages.js';
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
    makes: 'vision tokenizer',
    recipe: { steps: 30, schedule: () => ({ kind: 'constant', peak: 1 }) },
    plot: {
      title: 'Rehearsal',
      left: { label: 'loss', logarithmic: true },
      series: [
        { field: 'loss', label: 'loss' },
        { field: 'absent', label: 'absent' },
      ],
    },
    train: async (_, { run, product, onMetrics }) => {
      throwIfAborted(signal, 'training step 0');
      for (const point of points) onMetrics(point, 0.5);
      await writeText(join(run, 'tokenizer-curve.json'), JSON.stringify(points));
      await mkdir(product, { recursive: true });
      await writeText(join(product, 'config.json'), '{}');
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
    const stage = rehearsal(signal);
    const folders = foldersOf(stage, join(folder, 'run'), undefined);
    const summary = await runStage(screen, await testDevice(), stage, folders, { output });
    expect(summary.last).toMatchObject({ step: 30 });
    expect(screen.text).toContain('tokenizer trained to step 30');
    expect(JSON.parse(await readFile(join(output, 'tokenizer-curve.json'), 'utf8'))).toEqual(points);
    const svg = await readFile(join(output, 'tokenizer-curve.svg'), 'utf8');
    expect(svg).toMatch(/^<svg[\s\S]*Rehearsal[\s\S]*<\/svg>\s*$/);
    expect(svg).not.toContain('absent');
    const again = { ...stage, train: () => Promise.reject(new Error('trained twice')) };
    await runStage(screen, await testDevice(), again, folders, { output });
    expect(screen.text).toContain('tokenizer was trained already');
  });

  it('starts each stage from what the one before has made, or from a folder it is told', () => {
    const [tokenizer, encoder, decoder, first, second] = stages;
    const folders = (stage: Stage): StageFolders => foldersOf(stage, 'run', undefined);
    expect(folders(tokenizer).from).toBeUndefined();
    expect(folders(encoder).from).toBe(folders(tokenizer).product);
    expect(folders(decoder).from).toBe(folders(encoder).product);
    expect(folders(first)).toMatchObject({ vision: folders(decoder).product, from: undefined });
    expect(folders(second)).toMatchObject({ vision: folders(decoder).product, from: folders(first).product });
    expect(foldersOf(decoder, 'run', 'other').from).toBe(join('other', 'vision_tokenizer'));
    expect(foldersOf(second, 'run', 'other')).toMatchObject({
      from: 'other',
      vision: join('other', 'vision_tokenizer'),
    });
  });

  it('refuses a stage whose start is missing, and says where it should be', async () => {
    const { code, err } = await cli(['train', 'pretrain', '--run', join(folder, 'r'), '--output', folder]);
    expect(code).toBe(1);
    expect(err).toContain('starts from is missing');
    expect(err).toContain(join('r', 'decoder', 'model'));
    const decoder = await cli(['train', 'decoder', '--run', join(folder, 'r'), '--output', folder]);
    expect(decoder.code).toBe(1);
    expect(decoder.err).toContain('starts from is missing');
    expect(decoder.err).toContain(join('r', 'encoder', 'model'));
  });

  it('says how to go on when it is stopped', async () => {
    const signal = AbortSignal.abort();
    const rehearsed = rehearsal(signal);
    const folders = foldersOf(rehearsed, join(folder, 'run'), undefined);
    const stage = runStage(terminal(signal), await testDevice(), rehearsed, folders, { output: folder });
    const fix = 'Run the same command again to go on from the checkpoint.';
    await expect(stage).rejects.toMatchObject({ code: 'aborted', fix });
  });

  it('refuses fewer steps than the warm-up before it renders artwork', async () => {
    const { code, err } = await cli(['train', 'nano', '--run', join(folder, 'r'), '--output', folder, '--steps', '5']);
    expect(code).toBe(1);
    expect(err).toContain('--steps of tokenizer');
    expect(err).not.toContain('adapter');
  });

  it.each([
    ['adapters where nothing has been trained', ['nano', '--lora', '4'], '--lora of tokenizer'],
    ['adapters beside random weights', ['pretrain', '--lora', '4', '--weights', 'q4'], '--lora of pretrain-1'],
    ['packed weights that are to be trained', ['qft', '--weights', 'q4'], '--weights'],
    ['a scale without adapters', ['qft', '--lora-alpha', '4'], '--lora-alpha'],
  ])('refuses %s before anything is made ready', async (_, args, where) => {
    const { code, err } = await cli(['train', ...args, '--run', join(folder, 'r'), '--output', join(folder, 'o')]);
    expect(code).toBe(1);
    expect(err).toContain(where);
    expect(err).not.toContain('adapter: ');
    expect(await readdir(folder)).toEqual([]);
  });

  it('refuses ranks and scales that cannot be', async () => {
    for (const args of [
      ['--lora', '0'],
      ['--lora', 'x'],
      ['--lora', '4', '--lora-alpha', '0'],
      ['--weights', 'q5'],
    ]) {
      const { code, err } = await cli(['train', 'qft', ...args, '--run', folder, '--output', folder]);
      expect(code).toBe(2);
      expect(err).toMatch(/Give a|Allowed choices/);
    }
  });

  it('keeps the vision tokenizer of the model begun with through all stages, and starts each from the one before', () => {
    const models = stages.filter(({ makes }) => makes === 'model').slice(0, 3);
    const begun = plan(models, { run: 'r', from: 'm' }).map(({ folders }) => folders);
    expect(begun.map(({ vision }) => vision)).toEqual(models.map(() => join('m', 'vision_tokenizer')));
    expect(begun.map(({ from }) => from)).toEqual(['m', begun[0].product, begun[1].product]);
    const whole = plan(stages, { run: 'r', from: undefined }).map(({ folders }) => folders);
    expect(whole[0].from).toBeUndefined();
    expect(whole.slice(1, 3).map(({ from }) => from)).toEqual([whole[0].product, whole[1].product]);
    expect(whole[3].from).toBeUndefined();
    expect(whole.slice(3).map(({ vision }) => vision)).toEqual(stages.slice(3).map(() => whole[2].product));
    const tokenizers = plan(stages.slice(0, 3), { run: 'r', from: 'm' }).map(({ folders }) => folders);
    const starts = [join('m', 'vision_tokenizer'), tokenizers[0].product, tokenizers[1].product];
    expect(tokenizers.map(({ from }) => from)).toEqual(starts);
  });

  it('hands adapters to the stage that trains them', async () => {
    const { signal } = new AbortController();
    const given: unknown[] = [];
    const rehearsed = rehearsal(signal);
    const stage: Stage = {
      ...rehearsed,
      train: (device, options) => {
        given.push(options.lora);
        return rehearsed.train(device, options);
      },
    };
    const folders = foldersOf(stage, join(folder, 'run'), undefined);
    await mkdir(folders.run, { recursive: true });
    const lora = { rank: 4, alpha: 8, weights: 'q4' as const };
    await runStage(terminal(signal), await testDevice(), stage, folders, { output: folder, lora });
    expect(given).toEqual([lora]);
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
