import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { homedir, constants as os } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { unpackOnce } from './unpack.node.js';

/** glibc's RTLD_NODELETE: the library stays loaded although Node closes what is not one of its addons. */
const noDelete = 0x1000;

/** The folder of the npm package that carries SwiftShader, a Vulkan loader and a headless Chromium; Linux x64 only. */
export function chromiumPackage(): { archives: string; version: string } | undefined {
  if (process.platform !== 'linux' || process.arch !== 'x64') return undefined;
  try {
    const root = join(dirname(createRequire(import.meta.url).resolve('@sparticuz/chromium')), '..', '..');
    const manifest: unknown = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
    if (typeof manifest !== 'object' || manifest === null || !('version' in manifest)) return undefined;
    return { archives: join(root, 'bin'), version: String(manifest.version) };
  } catch {
    return undefined;
  }
}

/** The folder with SwiftShader's driver, its manifest `vk_swiftshader_icd.json` and `libvulkan.so.1`, unpacked once. */
export async function swiftShaderFolder(): Promise<string | undefined> {
  const source = chromiumPackage();
  if (source === undefined) return undefined;
  return unpackOnce(`swiftshader-${source.version}`, [join(source.archives, 'swiftshader.tar.br')]);
}

/**
 * Sees to it that `libvulkan.so.1` can be found by name: a bare machine has no Vulkan loader, so the one that comes
 * with SwiftShader is loaded into the process, where later look-ups by the same name find it. Doing it here spares
 * the restart that LD_LIBRARY_PATH would need.
 */
export async function ensureVulkanLoader(): Promise<void> {
  if (process.platform !== 'linux' || loadLibrary('libvulkan.so.1')) return;
  const folder = await swiftShaderFolder();
  if (folder !== undefined) loadLibrary(join(folder, 'libvulkan.so.1'));
}

function loadLibrary(path: string): boolean {
  try {
    process.dlopen({ exports: {} }, path, os.dlopen.RTLD_NOW | os.dlopen.RTLD_GLOBAL | noDelete);
    return true;
  } catch (error) {
    // Node complains of any library that is not an addon, after having loaded it.
    return error instanceof Error && error.message.includes('did not self-register');
  }
}

/** Manifests of an installed lavapipe for this processor, in the order of the Vulkan loader's own search. */
export function lavapipeManifests(): string[] {
  if (process.platform !== 'linux') return [];
  const home = homedir();
  const data = (process.env['XDG_DATA_DIRS'] ?? '/usr/local/share:/usr/share').split(delimiter);
  const roots = [
    process.env['XDG_CONFIG_HOME'] ?? join(home, '.config'),
    '/etc',
    process.env['XDG_DATA_HOME'] ?? join(home, '.local', 'share'),
    ...data,
    '/usr/local/share',
    '/usr/share',
  ];
  const architecture = process.arch === 'x64' ? 'x86_64' : process.arch === 'arm64' ? 'aarch64' : process.arch;
  const wanted = new Set(['lvp_icd.json', `lvp_icd.${architecture}.json`]);
  const found = roots.flatMap((root) => {
    const folder = join(root, 'vulkan', 'icd.d');
    try {
      return readdirSync(folder)
        .filter((name) => wanted.has(name))
        .map((name) => join(folder, name));
    } catch {
      return [];
    }
  });
  return [...new Set(found)];
}
