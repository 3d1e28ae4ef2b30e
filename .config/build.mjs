// Bundles the package and its programs into dist/. `--types` adds the declarations that are published.
import { build } from 'esbuild';
import { existsSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buildPage, bundling } from './bundle.mjs';
import { root, runPackage } from './prepare.mjs';

const dist = join(root, 'dist');

/** What the package exports: no packages inside, shared code in chunks, so that users' bundlers can drop the rest. */
const library = { index: 'index.ts', node: 'node.ts', cli: 'demos/cli/main.ts' };
/** Programs of the repository. */
const programs = {
  bench: 'bench/main.ts',
  golden: 'tests/parity/main.ts',
  'full-size': 'tests/full-size/main.ts',
  demo: 'demos/web/serve.node.ts',
};

const present = (entries) =>
  Object.fromEntries(Object.entries(entries).filter(([, path]) => existsSync(join(root, path))));

const forPublishing = process.argv.includes('--types');

// A program that is running may still load a chunk of the last build, so only a published build starts empty.
if (forPublishing) await rm(dist, { recursive: true, force: true });
await mkdir(dist, { recursive: true });
await rm(join(dist, '.built'), { force: true });
await build({
  ...bundling,
  entryPoints: present({ ...library, ...programs }),
  outdir: dist,
  chunkNames: 'chunks/[name]-[hash]',
  platform: 'node',
  packages: 'external',
  splitting: true,
});
await buildPage(join(dist, 'web'));
if (forPublishing) {
  const { code } = await runPackage('typescript/bin/tsc', ['-p', 'tsconfig.build.json']);
  if (code !== 0) process.exit(code);
}
await writeFile(join(dist, '.built'), '');
