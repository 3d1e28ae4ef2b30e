// `npm start`: the command line on the shipped model; without arguments it draws a tiger.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { prepareBuild, prepareInstall, root, run } from './prepare.mjs';

const [program = 'cli', ...given] = process.argv.slice(2);
const args =
  program === 'cli' && given.length === 0
    ? ['generate', 'a tiger face, fluent style', '-o', 'tiger.png', '--seed', '7']
    : given;

await prepareInstall();
await prepareBuild();
const script = join(root, 'dist', `${program}.js`);
if (!existsSync(script)) {
  console.error(`There is no program "${program}" in dist/.`);
  process.exit(1);
}
const { code } = await run(process.execPath, ['--enable-source-maps', script, ...args]);
process.exitCode = code;
