// `npm run bench:peers`: installs the other engines where only this program sees them, and measures all side by side.
import { build } from 'esbuild';
import { join } from 'node:path';
import { bundling } from './bundle.mjs';
import { prepareInstall, root, run } from './prepare.mjs';

await prepareInstall();
const folder = join('bench', 'peers');
await prepareInstall(folder);
const script = join(root, folder, 'dist', 'main.js');
await build({
  ...bundling,
  entryPoints: [join(folder, 'main.ts')],
  outfile: script,
  platform: 'node',
  packages: 'external',
  // TensorFlow.js for Node leaves its gradients out; the registry they go to is one for the process.
  inject: [join(folder, 'node_modules', '@tensorflow', 'tfjs-core', 'dist', 'register_all_gradients.js')],
});
const { code } = await run(process.execPath, ['--enable-source-maps', script, ...process.argv.slice(2)]);
process.exitCode = code;
