import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeTinyModel } from './support.js';

/** What `npm test` has built just now. */
const program = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));

let root = '';
let model = '';
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'emu3-cli-'));
  model = await writeTinyModel(join(root, 'model'));
});
afterAll(() => rm(root, { recursive: true, force: true }));

/** Runs the bundled program; `stopAt` is text on stderr at which it gets a Ctrl-C. */
function run(
  args: readonly string[],
  folder: string,
  stopAt?: string,
): Promise<{ code: number | null; out: string; err: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [program, ...args], { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
    let [out, err, stopped] = ['', '', false];
    child.stdout.on('data', (part: Buffer) => (out += part.toString()));
    child.stderr.on('data', (part: Buffer) => {
      err += part.toString();
      if (stopAt === undefined || stopped || !err.includes(stopAt)) return;
      stopped = true;
      child.kill('SIGINT');
    });
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, out, err }));
  });
}

async function emptyFolder(name: string): Promise<string> {
  const folder = join(root, name);
  await mkdir(folder);
  return folder;
}

describe('the bundled program', () => {
  it('draws a picture and ends', async () => {
    const folder = await emptyFolder('draw');
    const { code, out, err } = await run(['generate', 'A tiger, noto style!', '--model', model], folder);
    expect(err).toContain('adapter: ');
    expect(code, err).toBe(0);
    expect(out).toContain('a-tiger-noto-style.png: 256x256 pixels');
    expect(await readdir(folder)).toEqual(['a-tiger-noto-style.png']);
  });

  it('leaves nothing behind a Ctrl-C', async () => {
    const folder = await emptyFolder('stop');
    const args = ['generate', 'a tiger', '--model', model, '--size', '8x8', '--count', '400'];
    const { code, err } = await run(args, folder, 'drawing');
    expect(code, err).toBe(130);
    expect(err).toContain('error: The operation was cancelled.');
    expect(await readdir(folder)).toEqual([]);
  });
});
