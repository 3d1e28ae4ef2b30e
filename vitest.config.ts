import { readFile } from 'node:fs/promises';
import { defineConfig } from 'vitest/config';
import type { Plugin } from 'vitest/config';

/** Shaders are imported as text, in tests exactly as in the bundles. */
function wgslAsText(): Plugin {
  return {
    name: 'wgsl-as-text',
    enforce: 'pre',
    async load(id) {
      const path = id.split('?')[0] ?? id;
      if (!path.endsWith('.wgsl')) return null;
      return `export default ${JSON.stringify(await readFile(path, 'utf8'))};`;
    },
  };
}

export default defineConfig({
  plugins: [wgslAsText()],
  test: {
    include: ['tests/**/*.test.ts', 'kernels/**/*.test.ts'],
    // One process and one file at a time: a software adapter already uses every core, and every file owns its device.
    pool: 'forks',
    maxWorkers: 1,
    fileParallelism: false,
    // A test that hangs is to end, and no slow machine's is to fail.
    testTimeout: 300_000,
    hookTimeout: 300_000,
  },
});
