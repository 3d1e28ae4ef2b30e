// `npm run bench:peers`: installs the other engines where only this program sees them, and measures all side by side.
import { build } from 'esbuild';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { bundling } from './bundle.mjs';
import { prepareInstall, root, run } from './prepare.mjs';

await prepareInstall();
const folder = join(root, 'bench', 'peers');
if (!existsSync(join(folder, 'node_modules', '.package-lock.json'))) {
  console.error('installing the other engines ...');
  const { code } = await run('npm', ['ci', '--prefix', folder, '--no-audit', '--no-fund', '--loglevel=error']);
  if (code !== 0) process.exit(code);
}
const script = join(folder, 'dist', 'main.js');
await build({
  ...bundling,
  entryPoints: [join(folder, 'main.ts')],
  outfile: script,
  platform: 'node',
  packages: 'external',
});
const { code } = await run(process.execPath, ['--enable-source-maps', script, ...process.argv.slice(2)]);
process.exitCode = code;
