// How this repository is bundled, and the demo page with it.
import { build } from 'esbuild';
import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import { root } from './prepare.mjs';

export const bundling = {
  absWorkingDir: root,
  bundle: true,
  format: 'esm',
  target: 'es2022',
  loader: { '.wgsl': 'text' },
  sourcemap: true,
  logLevel: 'warning',
};

/** Bundles the demo page, everything inside; a worker is an entry of its own. Fails on any module of Node. */
export async function buildPage(folder) {
  const source = join(root, 'demos', 'web');
  const { metafile } = await build({
    ...bundling,
    entryPoints: ['main.ts', 'worker.ts', 'style.css'].map((name) => join(source, name)),
    outdir: folder,
    platform: 'browser',
    minify: true,
    metafile: true,
    // What is loaded on demand, the video library, is a file of its own.
    splitting: true,
    chunkNames: 'chunks/[name]-[hash]',
  });
  await copyFile(join(source, 'index.html'), join(folder, 'index.html'));
  return metafile;
}
