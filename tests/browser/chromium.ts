import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import puppeteer from 'puppeteer';
import type { Browser } from 'puppeteer';
import { unpackOnce } from '../../engine/adapter/unpack.node.js';
import { chromiumPackage } from '../../engine/adapter/vulkan.node.js';

const quiet = [
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-default-apps',
  '--disable-sync',
  '--no-first-run',
  '--disable-quic',
];
const webgpu = [
  '--enable-unsafe-webgpu',
  '--use-webgpu-adapter=swiftshader',
  '--enable-features=Vulkan',
  '--ignore-gpu-blocklist',
];
/** A `webgpu` canvas on SwiftShader needs the whole graphics stack on it, not only the compute part. */
const canvas = ['--use-gl=angle', '--use-angle=swiftshader', '--enable-unsafe-swiftshader', '--use-vulkan=swiftshader'];

/**
 * A headless Chromium whose WebGPU runs on SwiftShader. On Linux x64 it comes with the npm packages, shared
 * libraries included; elsewhere the installed Chrome is taken, with the adapter it has.
 */
export async function openChromium(): Promise<Browser> {
  const source = chromiumPackage();
  if (source === undefined) {
    return puppeteer.launch({ channel: 'chrome', headless: true, args: [...quiet, '--enable-unsafe-webgpu'] });
  }
  const archives = ['chromium.br', 'fonts.tar.br', 'swiftshader.tar.br', 'al2023.tar.br'];
  const folder = await unpackOnce(
    `chromium-${source.version}`,
    archives.map((name) => join(source.archives, name)),
  );
  const executablePath = join(folder, 'chromium');
  const env = { ...process.env, FONTCONFIG_PATH: join(folder, 'fonts') };
  // A bare machine lacks the security libraries that Chromium links to; those of the archive are second best.
  const starts = spawnSync(executablePath, ['--version'], { env }).status === 0;
  return puppeteer.launch({
    executablePath,
    headless: 'shell',
    env: starts ? env : { ...env, LD_LIBRARY_PATH: join(folder, 'lib') },
    args: ['--no-sandbox', ...quiet, ...webgpu, ...canvas],
  });
}
