import type { BuildOptions, Metafile } from 'esbuild';

export const bundling: BuildOptions;
export function buildPage(folder: string): Promise<Metafile>;
