import { build } from 'esbuild';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { serveFolders, type StaticServer } from '../../demos/web/static-server.node.js';

/**
 * Bundles a page's program of this folder into an empty folder and serves it.
 *
 * @param entry name of its file, e.g. `video-page.ts`.
 * @param others folders served beside it, by their paths.
 */
export async function servePage(
  folder: string,
  entry: string,
  others: Readonly<Record<string, string>> = {},
): Promise<StaticServer> {
  await build({
    entryPoints: [fileURLToPath(new URL(entry, import.meta.url))],
    outfile: join(folder, 'page.js'),
    bundle: true,
    format: 'esm',
    target: 'es2022',
    platform: 'browser',
    loader: { '.wgsl': 'text' },
    logLevel: 'warning',
  });
  const html = '<!doctype html><title>test</title><body><script type="module" src="./page.js"></script>';
  await writeFile(join(folder, 'index.html'), html);
  return serveFolders({ '': folder, ...others });
}
