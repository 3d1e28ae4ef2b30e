// Makes a fresh clone ready to run, with nothing but Node and npm: packages, then bundles. Uses no package itself.
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('..', import.meta.url));

const oldestNode = [20, 19];
const sources = ['kernels', 'engine', 'tokenizer', 'loader', 'demos', 'bench', 'tests/parity', '.config'];
const topLevel = ['index.ts', 'node.ts', 'package.json', 'tsconfig.json', 'tsconfig.build.json'];

/** Runs a program and gives its exit code; with `capture` also what it printed. */
export function run(command, args, { capture = false, env = process.env } = {}) {
  return new Promise((resolve, reject) => {
    // npm is a script with another ending on Windows, which only a shell starts.
    const shell = process.platform === 'win32' && command === 'npm';
    const stdio = capture ? ['ignore', 'pipe', 'pipe'] : 'inherit';
    const child = spawn(command, args, { cwd: root, env, stdio, shell });
    let output = '';
    child.stdout?.on('data', (part) => (output += part));
    child.stderr?.on('data', (part) => (output += part));
    child.on('error', reject);
    child.on('close', (code) => resolve({ code: code ?? 1, output }));
  });
}

/** Runs a program of an installed package by its script, without a shell. */
export function runPackage(script, args, options) {
  return run(process.execPath, [join(root, 'node_modules', script), ...args], options);
}

function newest(path) {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined) return 0;
  if (!found.isDirectory()) return found.mtimeMs;
  const inside = readdirSync(path, { withFileTypes: true }).filter(
    ({ name }) => !name.endsWith('.safetensors') && !name.endsWith('.png'),
  );
  return Math.max(0, ...inside.map(({ name }) => newest(join(path, name))));
}

const time = (name) => newest(join(root, name));

/** Installs the packages of the lock file in a folder of the repository, unless they are there. */
export async function prepareInstall(folder = '.') {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < oldestNode[0] || (major === oldestNode[0] && minor < oldestNode[1])) {
    console.error(`Node ${process.versions.node} is too old: install Node ${oldestNode.join('.')} or newer.`);
    process.exit(1);
  }
  const stamp = join(folder, 'node_modules', '.package-lock.json');
  if (existsSync(join(root, stamp)) && time(stamp) >= time(join(folder, 'package-lock.json'))) return;
  console.error('installing packages (npm ci) ...');
  const { code } = await run('npm', ['ci', '--prefix', folder, '--no-audit', '--no-fund', '--loglevel=error']);
  if (code !== 0) {
    console.error('npm ci failed: check the network and the registry, then try again.');
    process.exit(code);
  }
}

/** Bundles dist/ again when a source is newer than it. */
export async function prepareBuild() {
  const built = time('dist/.built');
  if (built > Math.max(...[...sources, ...topLevel].map(time))) return;
  const { code, output } = await run(process.execPath, [join(root, '.config', 'build.mjs')], { capture: true });
  if (code === 0) return;
  console.error(output);
  process.exit(code);
}
