// `npm start`: the command line on the shipped model; without arguments it draws what it wrote out in full, films and answers.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { prepareBuild, prepareInstall, root, run } from './prepare.mjs';

const [program = 'cli', ...given] = process.argv.slice(2);
const tour = [
  ['generate', 'a cat and a tree', '--rewrite', '-o', 'picture.png', '--seed', '7'],
  ['video', 'a blue fish moves right', '-o', 'clip.webp', '--frames', '12', '--seed', '7'],
  ['ask', 'picture.png', 'what is in the picture?'],
];
const commands = program === 'cli' && given.length === 0 ? tour : [given];

await prepareInstall();
await prepareBuild();
const script = join(root, 'dist', `${program}.js`);
if (!existsSync(script)) {
  console.error(`There is no program "${program}" in dist/.`);
  process.exit(1);
}
for (const args of commands) {
  if (commands.length > 1) console.log(`\nemu3 ${args.map((arg) => (arg.includes(' ') ? `"${arg}"` : arg)).join(' ')}`);
  const { code } = await run(process.execPath, ['--enable-source-maps', script, ...args]);
  process.exitCode = code;
  if (code !== 0) break;
}
