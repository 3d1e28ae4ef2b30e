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
  const options = { ...bundling, outdir: folder, platform: 'browser', minify: true, metafile: true };
  const entries = (...names) => names.map((name) => join(source, name));
  // What the page loads on demand, the video library, is a file of its own; the worker is one file.
  const chunks = { splitting: true, chunkNames: 'chunks/[name]-[hash]' };
  const page = await build({ ...options, ...chunks, entryPoints: entries('main.ts', 'style.css') });
  const worker = await build({ ...options, entryPoints: entries('worker.ts') });
  await copyFile(join(source, 'index.html'), join(folder, 'index.html'));
  return {
    inputs: { ...page.metafile.inputs, ...worker.metafile.inputs },
    outputs: { ...page.metafile.outputs, ...worker.metafile.outputs },
  };
}
