import { spawn } from 'node:child_process';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { describe, expect, test } from 'vitest';
import {
  diskFolder,
  encodeSafetensors,
  latestCheckpoint,
  loadTrainingCheckpoint,
  openCheckpoint,
  saveTrainingCheckpoint,
} from '../../loader/index.node.js';
import type { HostTensor, TrainingCheckpoint } from '../../loader/index.js';
import { diskWithRoom, killedAt } from './rehearse.js';
import { expectError, inTemporaryFolder, rejection } from './support.js';
import { checkpointAt, sameCheckpoint } from './trainer.js';

const complete = async (folder: string): Promise<string[]> =>
  (await readdir(folder)).filter((name) => /^\d+-step-/.test(name)).sort();

describe('saving and resuming', () => {
  test('everything comes back bit for bit', async () => {
    await inTemporaryFolder(async (folder) => {
      const run = join(folder, 'run/checkpoints');
      const saved = checkpointAt(7);
      const path = await saveTrainingCheckpoint(run, saved);
      expect((await readdir(path)).sort()).toEqual(['model.safetensors', 'optimizer.safetensors', 'trainer.json']);
      expect(await loadTrainingCheckpoint(run)).toEqual(saved);
      expect(await loadTrainingCheckpoint(path)).toEqual(saved);
      const weights = await openCheckpoint(diskFolder(path));
      expect(weights.tensors.size).toBe(3);
      await weights.close();
    });
  });

  test('the last ones stay, in the order of saving, also after going back to an earlier step', async () => {
    await inTemporaryFolder(async (run) => {
      for (const step of [10, 20, 30]) await saveTrainingCheckpoint(run, checkpointAt(step), { keep: 2 });
      expect(await complete(run)).toEqual(['000002-step-00000020', '000003-step-00000030']);
      await saveTrainingCheckpoint(run, checkpointAt(21), { keep: 2 });
      await saveTrainingCheckpoint(run, checkpointAt(21), { keep: 2 });
      expect(await complete(run)).toEqual(['000004-step-00000021', '000005-step-00000021']);
      expect((await loadTrainingCheckpoint(run)).trainer.step).toBe(21);
      await saveTrainingCheckpoint(run, checkpointAt(22), { keep: 1 });
      expect((await readdir(run)).sort()).toEqual(['000006-step-00000022', 'latest']);
    });
  });

  test('a lost or dangling pointer falls back to the newest complete checkpoint', async () => {
    await inTemporaryFolder(async (run) => {
      expect(await latestCheckpoint(join(run, 'nothing'))).toBeUndefined();
      expectError(await rejection(loadTrainingCheckpoint(run)), 'missing', run);
      for (const step of [1, 2]) await saveTrainingCheckpoint(run, checkpointAt(step));
      expect(sameCheckpoint(await loadTrainingCheckpoint(run), checkpointAt(1))).toBe(false);
      await rm(join(run, 'latest'));
      expect((await loadTrainingCheckpoint(run)).trainer.step).toBe(2);
      await writeFile(join(run, 'latest'), '../../etc\n');
      expect((await loadTrainingCheckpoint(run)).trainer.step).toBe(2);
      await writeFile(join(run, 'latest'), '000001-step-00000001\n');
      expect((await loadTrainingCheckpoint(run)).trainer.step).toBe(1);
    });
  });
});

describe('what is refused', () => {
  const good = checkpointAt(3);
  const tensor = (...values: number[]): HostTensor => ({ shape: [values.length], data: Float32Array.from(values) });
  const moments = (entries: [string, HostTensor][]): Pick<TrainingCheckpoint, 'firstMoments' | 'secondMoments'> => ({
    firstMoments: new Map(entries),
    secondMoments: new Map(entries),
  });

  test('state that could not be restored, before anything is written', async () => {
    await inTemporaryFolder(async (folder) => {
      const run = join(folder, 'run');
      const save = (change: Partial<TrainingCheckpoint>): Promise<unknown> =>
        rejection(saveTrainingCheckpoint(run, { ...good, ...change }));
      const trainer = good.trainer;
      expectError(await save({ trainer: { ...trainer, randomState: { seed: NaN } } }), 'argument', 'randomState.seed');
      expectError(await save({ trainer: { ...trainer, step: 1.5 } }), 'argument', '1.5');
      expectError(await save(moments([['other', tensor(1)]])), 'missing', 'other');
      expectError(await save(moments([['running_mean', tensor(1)]])), 'shape', 'running_mean');
      expectError(await save({ secondMoments: new Map() }), 'missing', 'model.embed_tokens.weight');
      const diverged = new Map([...good.weights, ['model.norm.weight', tensor(1, NaN, 2)] as const]);
      expectError(await save({ weights: diverged }), 'not-finite', 'model.norm.weight', 'Element 1');
      expectError(await rejection(saveTrainingCheckpoint(run, good, { keep: 0 })), 'argument', 'keep');
      const signal = AbortSignal.abort();
      expectError(await rejection(saveTrainingCheckpoint(run, good, { signal })), 'aborted');
      expect(await readdir(folder)).toEqual([]);
    });
  });

  test('a damaged checkpoint, by file and name', async () => {
    const damage = async (file: string, content: Uint8Array | string | null): Promise<unknown> =>
      inTemporaryFolder(async (run) => {
        const path = join(await saveTrainingCheckpoint(run, good), file);
        if (content === null) await rm(path);
        else await writeFile(path, content);
        return rejection(loadTrainingCheckpoint(run));
      });
    const json = (change: Record<string, unknown>): string =>
      JSON.stringify({ formatVersion: 1, ...good.trainer, ...change });
    expectError(await damage('trainer.json', '{'), 'format', 'trainer.json');
    expectError(await damage('trainer.json', json({ formatVersion: 2 })), 'unsupported', 'version 2');
    expectError(await damage('trainer.json', json({ step: -1 })), 'format', '-1');
    expectError(await damage('trainer.json', json({ randomState: undefined })), 'format', 'randomState');
    expectError(await damage('trainer.json', null), 'missing', 'trainer.json');
    expectError(await damage('optimizer.safetensors', null), 'missing', 'optimizer.safetensors');
    expectError(await damage('model.safetensors', new Uint8Array(100)), 'format', 'model.safetensors');
    const stray = await encodeSafetensors([{ name: 'x.w', dtype: 'F32', shape: [1], values: Float32Array.of(1) }]);
    expectError(await damage('optimizer.safetensors', stray), 'format', 'x.w');
    const nan = await encodeSafetensors([{ name: 'w', dtype: 'F32', shape: [1], values: Float32Array.of(NaN) }]);
    expectError(await damage('model.safetensors', nan), 'not-finite', 'model.safetensors', 'w');
  });
});

describe('a disk that fills up, a process that dies', () => {
  test('a full disk leaves the earlier checkpoint and nothing else', async () => {
    await inTemporaryFolder(async (run) => {
      await saveTrainingCheckpoint(run, checkpointAt(1));
      const before = (await readdir(run)).sort();
      for (const room of [0, 1, 3, 6, 8]) {
        const fileSystem = diskWithRoom(room);
        expectError(await rejection(saveTrainingCheckpoint(run, checkpointAt(2, 200), { fileSystem })), 'disk-full');
        expect((await readdir(run)).sort()).toEqual(before);
        expect(await loadTrainingCheckpoint(run)).toEqual(checkpointAt(1));
      }
    });
  });

  test('death at every single step of a save leaves a loadable checkpoint, and the next save cleans up', async () => {
    const seen = new Set<number>();
    for (let failing = 0, finished = false; !finished; failing++) {
      await inTemporaryFolder(async (run) => {
        for (const step of [1, 2]) await saveTrainingCheckpoint(run, checkpointAt(step), { keep: 2 });
        const { fileSystem } = killedAt(failing);
        try {
          await saveTrainingCheckpoint(run, checkpointAt(3), { keep: 2, fileSystem });
          finished = true;
        } catch (error) {
          expectError(error, 'io');
        }
        const loaded = await loadTrainingCheckpoint(run);
        expect(sameCheckpoint(loaded, checkpointAt(loaded.trainer.step))).toBe(true);
        seen.add(loaded.trainer.step);
        await saveTrainingCheckpoint(run, checkpointAt(4), { keep: 2 });
        expect((await loadTrainingCheckpoint(run)).trainer.step).toBe(4);
        const left = await readdir(run);
        expect(left.length, left.join()).toBe(3);
      });
      expect(failing).toBeLessThan(200);
    }
    expect([...seen].sort()).toEqual([2, 3]);
  });

  test('a process killed while it saves leaves a loadable checkpoint', async () => {
    await inTemporaryFolder(async (folder) => {
      const script = join(folder, 'save-forever.mjs');
      await build({
        entryPoints: [fileURLToPath(new URL('save-forever.ts', import.meta.url))],
        outfile: script,
        bundle: true,
        platform: 'node',
        format: 'esm',
        logLevel: 'error',
      });
      const run = join(folder, 'run');
      await mkdir(run);
      let unfinished = 0;
      let last = 0;
      // Kills come at different moments until three of them have hit a save in progress.
      for (let round = 0; unfinished < 3; round++) {
        expect(round).toBeLessThan(80);
        const child = spawn(process.execPath, [script, run], { stdio: ['ignore', 'pipe', 'inherit'] });
        const closed = new Promise((resolve) => child.once('close', resolve));
        await new Promise((resolve) => child.stdout.once('data', resolve));
        await new Promise((resolve) => setTimeout(resolve, (round * 7) % 45));
        child.kill('SIGKILL');
        await closed;
        if ((await readdir(run)).some((name) => name.startsWith('.saving-') || name.endsWith('.tmp'))) unfinished++;
        const loaded = await loadTrainingCheckpoint(run);
        expect(sameCheckpoint(loaded, checkpointAt(loaded.trainer.step, 30_000))).toBe(true);
        last = loaded.trainer.step;
      }
      expect(last).toBeGreaterThan(0);
      expect(await readFile(join(run, 'latest'), 'utf8')).toMatch(/^\d+-step-\d+\n$/);
    });
  });
});
