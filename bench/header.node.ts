import { execFile } from 'node:child_process';
import { cpus, loadavg } from 'node:os';
import { promisify } from 'node:util';
import type { Device } from '../engine/device.js';
import type { Header } from './results.js';

/** Where, when and on what a run was made. */
export async function describeRun(device: Device, rounds: number): Promise<Header> {
  const { adapter, description, kind } = device.choice;
  const { vendor, architecture, description: driver } = adapter.info;
  const processors = cpus();
  return {
    date: new Date().toISOString(),
    commit: await commitHash(),
    adapter: description,
    kind,
    driver: [vendor, architecture, driver].filter(Boolean).join(', '),
    features: [...device.gpu.features].sort().join(', '),
    node: process.version,
    processor: processors[0]?.model.trim() ?? 'unknown',
    cores: processors.length,
    loadAtStart: Number(loadavg()[0].toFixed(2)),
    rounds,
  };
}

async function commitHash(): Promise<string> {
  const git = async (...args: string[]): Promise<string> => (await promisify(execFile)('git', args)).stdout.trim();
  try {
    const changed = await git('status', '--porcelain', '--untracked-files=no');
    return `${await git('rev-parse', '--short', 'HEAD')}${changed === '' ? '' : '+'}`;
  } catch {
    return 'no repository';
  }
}
