import { appendFile, readFile, readdir, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  PreferenceStore,
  choosePairs,
  collectPreferences,
  readPreferenceSamples,
  writePreferenceSamples,
  type CollectOptions,
  type PreferenceSample,
  type SampleRequest,
} from '../../loader/index.node.js';
import { diskWithRoom, killedAt } from './rehearse.js';
import { expectError, inTemporaryFolder, randomNumbers, rejection, thrown } from './support.js';

function sample(change: Partial<PreferenceSample> = {}): PreferenceSample {
  return {
    prompt: 'a "cat"\n猫',
    promptIds: [1, 2],
    responseIds: [3, 4, 5],
    seed: 7,
    scores: { checker: 0.5 },
    ...change,
  };
}

describe('a file of samples', () => {
  test('gives back what was appended, over several openings', async () => {
    await inTemporaryFolder(async (folder) => {
      const path = join(folder, 'runs', 'samples.jsonl');
      const settings = { model: 'nano', temperature: 0.5 };
      const all = [sample(), sample({ seed: 0xffffffff, scores: {} }), sample({ responseIds: [9] })];
      for (const [index, one] of all.entries()) {
        const store = await PreferenceStore.open(path, settings);
        expect(store.samples).toEqual(all.slice(0, index));
        await store.append([one]);
        expect(store.samples).toEqual(all.slice(0, index + 1));
        await store.close();
      }
      expect(await readPreferenceSamples(path)).toEqual({ settings, samples: all });
      expect((await readFile(path, 'utf8')).trimEnd().split('\n')).toHaveLength(4);
      expectError(await rejection(PreferenceStore.open(path, { model: 'other' })), 'config', path);
      expectError(await rejection(readPreferenceSamples(path, AbortSignal.abort())), 'aborted');
      const scored = all.map((one) => ({ ...one, scores: { aesthetic: one.seed } }));
      await writePreferenceSamples(path, { settings, samples: scored });
      expect((await readPreferenceSamples(path)).samples).toEqual(scored);
      expect(await readdir(join(folder, 'runs'))).toEqual(['samples.jsonl']);
    });
  });

  test('is read whole where lines are longer than a read', async () => {
    await inTemporaryFolder(async (folder) => {
      const path = join(folder, 'samples.jsonl');
      const random = randomNumbers(4);
      const samples = [40_000, 3, 90_000].map((length) =>
        sample({ responseIds: Array.from({ length }, () => Math.floor(random() * 184_622)) }),
      );
      await writePreferenceSamples(path, { settings: null, samples });
      expect((await readPreferenceSamples(path)).samples).toEqual(samples);
    });
  });

  test('names the line and the field that is wrong', async () => {
    await inTemporaryFolder(async (folder) => {
      const path = join(folder, 'samples.jsonl');
      const good = sample();
      await writePreferenceSamples(path, { settings: {}, samples: [good] });
      const start = await readFile(path, 'utf8');
      const withLine = async (line: string): Promise<unknown> => {
        await writeFile(path, `${start}${line}\n`);
        return rejection(readPreferenceSamples(path));
      };
      const wrong = (change: Record<string, unknown>): Promise<unknown> =>
        withLine(JSON.stringify({ ...good, ...change }));
      expectError(await withLine('{"prompt": "a cat"'), 'format', 'line 3', 'JSON');
      expectError(await withLine('[]'), 'format', 'line 3', 'object');
      expectError(await withLine(''), 'format', 'line 3');
      expectError(await withLine('{"seed":1,"seed":2}'), 'duplicate', 'line 3', 'seed');
      expectError(await wrong({ prompt: 5 }), 'format', 'line 3', 'prompt', '5');
      expectError(await wrong({ promptIds: [] }), 'format', 'line 3', 'promptIds', '[]');
      expectError(await wrong({ responseIds: [1, -2] }), 'format', 'line 3', 'responseIds', '[1,-2]');
      expectError(await wrong({ responseIds: [1.5] }), 'format', 'responseIds');
      expectError(await wrong({ seed: 2 ** 32 }), 'format', 'line 3', 'seed', '4294967296');
      expectError(await wrong({ scores: { checker: '1' } }), 'format', 'line 3', 'scores', 'checker');
      expectError(await wrong({ scores: undefined }), 'format', 'line 3', 'scores', 'undefined');
      await writeFile(path, Buffer.concat([Buffer.from(start), Buffer.from([0xff, 0x0a])]));
      expectError(await rejection(readPreferenceSamples(path)), 'format', 'line 3', 'UTF-8');
      await writeFile(path, '');
      expectError(await rejection(readPreferenceSamples(path)), 'format', 'line 1');
      await writeFile(path, '{"format":"something else"}\n');
      expectError(await rejection(readPreferenceSamples(path)), 'format', 'line 1');
      await writeFile(path, start.replace('"version":1', '"version":2'));
      expectError(await rejection(readPreferenceSamples(path)), 'unsupported', 'version 2');
      expectError(await rejection(readPreferenceSamples(join(folder, 'nothing'))), 'missing', 'nothing');
    });
  });

  test('refuses to write what it would refuse to read', async () => {
    await inTemporaryFolder(async (folder) => {
      const path = join(folder, 'samples.jsonl');
      const store = await PreferenceStore.open(path, {});
      const before = await readFile(path);
      const append = (change: Partial<PreferenceSample>): Promise<unknown> =>
        rejection(store.append([sample(), sample(change)]));
      expectError(await append({ scores: { checker: NaN } }), 'argument', 'sample 1', 'scores');
      expectError(await append({ responseIds: [] }), 'argument', 'responseIds');
      await store.close();
      expect(await readFile(path)).toEqual(before);
      expectError(await rejection(PreferenceStore.open(path, { rate: Infinity })), 'argument', 'settings.rate');
    });
  });

  test('says that a last line is unfinished, and mends it when it is opened to go on', async () => {
    await inTemporaryFolder(async (folder) => {
      const path = join(folder, 'samples.jsonl');
      await writePreferenceSamples(path, { settings: {}, samples: [sample()] });
      await appendFile(path, '{"prompt":"a dog","prom');
      expectError(await rejection(readPreferenceSamples(path)), 'format', 'line 3', 'unfinished');
      const store = await PreferenceStore.open(path, {});
      expect(store.samples).toEqual([sample()]);
      await store.append([sample({ seed: 8 })]);
      await store.close();
      expect((await readPreferenceSamples(path)).samples).toEqual([sample(), sample({ seed: 8 })]);
    });
  });

  test('a full disk takes nothing away and leaves nothing half-written', async () => {
    await inTemporaryFolder(async (folder) => {
      const path = join(folder, 'samples.jsonl');
      await writePreferenceSamples(path, { settings: {}, samples: [sample()] });
      const long = sample({ responseIds: new Array<number>(3000).fill(1) });
      for (const room of [0, 1, 3]) {
        const store = await PreferenceStore.open(path, {}, { fileSystem: diskWithRoom(room) });
        expectError(await rejection(store.append([long])), 'disk-full', path);
        expect(store.samples).toEqual([sample()]);
        await store.close();
        expect((await readPreferenceSamples(path)).samples).toEqual([sample()]);
      }
    });
  });
});

/** Tokens and a score that depend on the request alone. */
function drawn({ prompt, seed }: SampleRequest): Pick<PreferenceSample, 'promptIds' | 'responseIds' | 'scores'> {
  const random = randomNumbers(seed);
  const responseIds = Array.from({ length: 4 }, () => Math.floor(random() * 1000));
  return { promptIds: [prompt.length], responseIds, scores: { checker: random() } };
}

describe('a sampling run', () => {
  const options = (path: string, sizes: number[] = []): CollectOptions => ({
    path,
    prompts: ['a cat', 'two dogs', 'a red cube'],
    samplesPerPrompt: 3,
    seed: 11,
    settings: { model: 'nano' },
    batch: 4,
    draw: async (requests) => {
      sizes.push(requests.length);
      return requests.map(drawn);
    },
  });

  test('draws every prompt as often as asked, each with a seed of its own', async () => {
    await inTemporaryFolder(async (folder) => {
      const sizes: number[] = [];
      const progress: number[] = [];
      const path = join(folder, 'samples.jsonl');
      const all = await collectPreferences({ ...options(path, sizes), onProgress: (done) => progress.push(done) });
      expect(sizes).toEqual([4, 4, 1]);
      expect(progress).toEqual([0, 4, 8, 9]);
      expect(all.map(({ prompt }) => prompt)).toEqual(
        ['a cat', 'two dogs', 'a red cube'].flatMap((prompt) => [prompt, prompt, prompt]),
      );
      expect(new Set(all.map(({ seed }) => seed)).size).toBe(9);
      expect((await readPreferenceSamples(path)).samples).toEqual(all);
      // A finished run draws nothing more.
      expect(await collectPreferences(options(path, sizes))).toEqual(all);
      expect(sizes).toHaveLength(3);
      const more = await collectPreferences({
        ...options(path),
        prompts: ['a cat', 'two dogs', 'a red cube', 'a bee'],
      });
      expect(more).toHaveLength(12);
      expect(more.slice(0, 9)).toEqual(all);
    });
  });

  test('ends with the same bytes however it was stopped', async () => {
    await inTemporaryFolder(async (folder) => {
      const whole = join(folder, 'whole.jsonl');
      await collectPreferences(options(whole));
      const expected = await readFile(whole);

      const cancelled = join(folder, 'cancelled.jsonl');
      const abort = new AbortController();
      const stopping = {
        ...options(cancelled),
        signal: abort.signal,
        onProgress: (done: number) => {
          if (done >= 4) abort.abort();
        },
      };
      expectError(await rejection(collectPreferences(stopping)), 'aborted', '4 of 9');
      await collectPreferences(options(cancelled));
      expect(await readFile(cancelled)).toEqual(expected);

      // Cut anywhere behind the header, as a kill may leave it.
      const header = expected.indexOf(0x0a) + 1;
      for (let bytes = header; bytes < expected.length; bytes += 37) {
        const path = join(folder, `cut-${bytes}.jsonl`);
        await writeFile(path, expected);
        await truncate(path, bytes);
        await collectPreferences(options(path));
        expect(await readFile(path)).toEqual(expected);
      }
    });
  });

  test('goes on after death at every single step', async () => {
    await inTemporaryFolder(async (folder) => {
      const whole = join(folder, 'whole.jsonl');
      await collectPreferences(options(whole));
      const expected = await readFile(whole);
      let finished = false;
      for (let failing = 0; !finished; failing++) {
        const path = join(folder, `run-${failing}.jsonl`);
        try {
          await collectPreferences({ ...options(path), fileSystem: killedAt(failing).fileSystem });
          finished = true;
        } catch (error) {
          expectError(error, 'io');
        }
        await collectPreferences(options(path));
        expect(await readFile(path)).toEqual(expected);
        expect(failing).toBeLessThan(100);
      }
    });
  });

  test('refuses to go on with another plan, and what is no plan', async () => {
    await inTemporaryFolder(async (folder) => {
      const path = join(folder, 'samples.jsonl');
      await collectPreferences(options(path));
      const before = await readFile(path);
      const again = (change: Partial<CollectOptions>): Promise<unknown> =>
        rejection(collectPreferences({ ...options(path), ...change }));
      expectError(await again({ seed: 12 }), 'config', path);
      expectError(await again({ settings: { model: 'other' } }), 'config', path);
      expectError(await again({ prompts: ['a cat', 'a dog', 'a red cube'] }), 'config', 'line 5', 'two dogs', 'a dog');
      expectError(await again({ prompts: ['a cat'] }), 'config', '9 samples', 'only 3');
      expectError(await again({ samplesPerPrompt: 0 }), 'argument', 'samplesPerPrompt');
      expectError(await again({ batch: 1.5 }), 'argument', 'batch');
      const short = { ...options(join(folder, 'short.jsonl')), draw: async () => [] };
      expectError(await rejection(collectPreferences(short)), 'argument', '0 samples', '4 requests');
      expect(await readFile(path)).toEqual(before);
    });
  });
});

describe('voting', () => {
  const of = (prompt: number, ...scores: Record<string, number>[]): PreferenceSample[] =>
    scores.map((each, index) =>
      sample({ promptIds: [prompt], responseIds: [prompt, index], seed: index, scores: each }),
    );

  test('sets the best mean rank against the worst, whatever the scales', () => {
    const samples = of(
      1,
      { checker: 0.9, aesthetic: 10 },
      { checker: 0.8, aesthetic: 900 },
      { checker: 0.1, aesthetic: 20 },
      { checker: 0.2, aesthetic: 5 },
    );
    // Ranks by checker 1 2 4 3, by aesthetic 3 1 2 4: means 2, 1.5, 3, 3.5.
    const { pairs, prompts, dropped } = choosePairs(samples);
    expect(pairs).toEqual([
      { prompt: samples[0].prompt, chosen: samples[1], rejected: samples[3], ranks: { chosen: 1.5, rejected: 3.5 } },
    ]);
    expect(prompts).toBe(1);
    expect(dropped).toEqual({ single: 0, tied: 0, identical: 0 });
    const [byChecker] = choosePairs(samples, ['checker']).pairs;
    expect([byChecker.chosen, byChecker.rejected]).toEqual([samples[0], samples[2]]);
  });

  test('shares ranks among equal scores and takes the earlier of equally good samples', () => {
    const samples = of(1, { checker: 1 }, { checker: 0 }, { checker: 1 }, { checker: 0 }, { checker: 0 });
    const [{ chosen, rejected, ranks }] = choosePairs(samples).pairs;
    expect([chosen, rejected]).toEqual([samples[0], samples[1]]);
    expect(ranks).toEqual({ chosen: 1.5, rejected: 4 });
  });

  test('drops and counts prompts without a preference', () => {
    const identical = of(4, { checker: 1 }, { checker: 0 }).map((each) => ({ ...each, responseIds: [5] }));
    const samples = [
      ...of(1, { checker: 1 }, { checker: 1 }, { checker: 1 }),
      ...of(2, { checker: 1 }),
      ...of(3, { checker: 0.25 }, { checker: 0.75 }),
      ...identical,
    ];
    const { pairs, prompts, dropped } = choosePairs(samples);
    expect(prompts).toBe(4);
    expect(dropped).toEqual({ single: 1, tied: 1, identical: 1 });
    expect(pairs.map(({ chosen }) => chosen.promptIds)).toEqual([[3]]);
    // Voters that contradict each other tie as well.
    expect(choosePairs(of(1, { a: 1, b: 0 }, { a: 0, b: 1 })).dropped.tied).toBe(1);
    expect(choosePairs([])).toEqual({ pairs: [], prompts: 0, dropped: { single: 0, tied: 0, identical: 0 } });
  });

  test('refuses samples that not every voter has scored', () => {
    const samples = of(1, { checker: 1, aesthetic: 2 }, { checker: 0 });
    expectError(
      thrown(() => choosePairs(samples)),
      'missing',
      'aesthetic',
      'seed 1',
    );
    expectError(
      thrown(() => choosePairs(samples, ['toString'])),
      'missing',
      'toString',
    );
    expectError(
      thrown(() => choosePairs(of(1, {}, {}))),
      'argument',
      'no voter',
    );
    expect(choosePairs(samples, ['checker']).pairs).toHaveLength(1);
  });
});
