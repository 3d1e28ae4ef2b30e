import { join } from 'node:path';
import type * as Dawn from 'webgpu';
import { Emu3Error } from '../../kernels/core/errors.js';
import { describeAdapter, mesaVersion } from './describe.js';
import type { AdapterChoice } from './types.js';
import { paceDawnPolling, setPollingSpin } from './polling.node.js';
import { ensureVulkanLoader, lavapipeManifests, swiftShaderFolder } from './vulkan.node.js';

/** Which adapter to take in Node; `auto` prefers a real GPU, then lavapipe, then SwiftShader. */
export type AdapterPreference = 'auto' | 'gpu' | 'lavapipe' | 'swiftshader';

export interface NodeAdapterOptions {
  /** Default: the environment variable EMU3_ADAPTER, else `auto`. */
  prefer?: AdapterPreference;
  /** Receives one line on what was taken and why. Default: standard error, once per process. */
  log?: (line: string) => void;
}

const preferences: readonly AdapterPreference[] = ['auto', 'gpu', 'lavapipe', 'swiftshader'];
/** Dawn needs Vulkan features that older releases of lavapipe get wrong or lack. */
const oldestMesa = 24;
const driverVariable = 'VK_ICD_FILENAMES';
const lastLine = { text: '' };
/** Steps of 65 microseconds guard web pages against each other; in Node they would only hide short kernels. */
const dawnOptions = ['disable-dawn-features=timestamp_quantization'];
/** The binding crashes when an entry point is collected while a device made from it lives, so all are kept. */
const entryPoints: GPU[] = [];

/**
 * Chooses an adapter in Node through Dawn (npm package `webgpu`): Vulkan on Linux, Metal on macOS, Direct3D 12 on
 * Windows. On Linux x64 it always finds one, since SwiftShader comes with the npm packages; a machine without a
 * Vulkan loader gets that from there too. A VK_ICD_FILENAMES set by the user decides alone under `auto`.
 * @throws Emu3Error `no-adapter` when nothing fits the preference, `argument` when the preference is unknown.
 */
export async function requestAdapterNode(options: NodeAdapterOptions = {}): Promise<AdapterChoice> {
  const prefer = options.prefer ?? preferenceFromEnvironment();
  await ensureVulkanLoader();
  const reasons: string[] = [];
  const choice = await chooseAdapter(prefer, reasons);
  if (choice === undefined) throw noAdapter(prefer, reasons);
  setPollingSpin(choice.software ? 0.5 : 2);
  const why = reasons.length > 0 ? `; ${reasons.join('; ')}` : '';
  const line = `adapter: ${choice.description}${choice.software ? ', software' : ''}${why}`;
  if (options.log !== undefined) options.log(line);
  else if (lastLine.text !== line) process.stderr.write(`${line}\n`);
  lastLine.text = line;
  return choice;
}

/** Reads EMU3_ADAPTER. */
function preferenceFromEnvironment(): AdapterPreference {
  const value = process.env['EMU3_ADAPTER'] ?? 'auto';
  const known = preferences.find((name) => name === value);
  if (known === undefined) {
    throw new Emu3Error(`Unknown adapter preference "${value}".`, {
      code: 'argument',
      where: 'EMU3_ADAPTER',
      fix: `Set it to one of ${preferences.join(', ')}.`,
    });
  }
  return known;
}

async function chooseAdapter(prefer: AdapterPreference, reasons: string[]): Promise<AdapterChoice | undefined> {
  const userDrivers = process.env[driverVariable];
  const installed = prefer === 'auto' || prefer === 'gpu' ? await requestWith(userDrivers) : undefined;
  if (installed?.kind === 'gpu') return installed;
  if (prefer === 'gpu') {
    if (installed !== undefined) reasons.push(`only ${installed.description} found`);
    return undefined;
  }
  if (prefer === 'auto') {
    if (installed !== undefined && userDrivers !== undefined) {
      reasons.push(`chosen by ${driverVariable}`);
      return installed;
    }
    reasons.push('no GPU found');
  }
  if (prefer !== 'swiftshader') {
    const lavapipe = await requestLavapipe(installed, reasons);
    if (lavapipe !== undefined) return lavapipe;
  }
  if (prefer !== 'lavapipe') {
    const folder = await swiftShaderFolder();
    const choice = folder && (await requestWith(join(folder, 'vk_swiftshader_icd.json')));
    if (choice) return choice;
    reasons.push('no SwiftShader for this platform among the npm packages');
  }
  return prefer === 'auto' ? (installed ?? (await requestWith(userDrivers, true))) : undefined;
}

async function requestLavapipe(
  installed: AdapterChoice | undefined,
  reasons: string[],
): Promise<AdapterChoice | undefined> {
  const isRecent = ({ adapter }: AdapterChoice): boolean =>
    Number.parseInt(mesaVersion(adapter) ?? '0', 10) >= oldestMesa;
  if (installed?.kind === 'lavapipe' && isRecent(installed)) return installed;
  for (const manifest of lavapipeManifests()) {
    const choice = await requestWith(manifest);
    if (choice?.kind !== 'lavapipe') continue;
    if (isRecent(choice)) return choice;
    reasons.push(`${choice.description} is older than Mesa ${String(oldestMesa)}`);
    return undefined;
  }
  reasons.push('lavapipe not installed');
  return undefined;
}

/**
 * Asks a new Dawn instance for an adapter while VK_ICD_FILENAMES names the drivers (the Vulkan loader reads it when
 * the instance is made), and puts the variable back, so that child processes do not inherit the choice.
 */
async function requestWith(drivers: string | undefined, fallback = false): Promise<AdapterChoice | undefined> {
  const dawn = await loadDawn();
  const before = process.env[driverVariable];
  if (drivers !== undefined) process.env[driverVariable] = drivers;
  try {
    const gpu = dawn.create(dawnOptions);
    entryPoints.push(gpu);
    const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance', forceFallbackAdapter: fallback });
    return adapter === null ? undefined : describeAdapter(gpu, adapter);
  } finally {
    if (before === undefined) Reflect.deleteProperty(process.env, driverVariable);
    else process.env[driverVariable] = before;
  }
}

async function loadDawn(): Promise<typeof Dawn> {
  try {
    const dawn = await import('webgpu');
    const globals = Object.entries(dawn.globals);
    paceDawnPolling(new Map(globals));
    // The engine names buffer usages and map modes by the browser's global constants.
    for (const [name, value] of globals) {
      if (!(name in globalThis)) Reflect.set(globalThis, name, value);
    }
    return dawn;
  } catch (cause) {
    throw new Emu3Error('The WebGPU library of Node could not be loaded.', {
      code: 'no-adapter',
      where: `npm package webgpu on ${process.platform}-${process.arch}`,
      fix: 'Run `npm ci` on this machine; it needs Linux with glibc, macOS or Windows on x64 or arm64.',
      cause,
    });
  }
}

function noAdapter(prefer: AdapterPreference, reasons: readonly string[]): Emu3Error {
  const fix =
    prefer !== 'auto' && process.platform === 'linux'
      ? 'Set EMU3_ADAPTER=auto to take what there is, or install the driver (Debian: apt install mesa-vulkan-drivers).'
      : process.platform === 'linux'
        ? 'Install a Vulkan driver: the GPU maker’s own, or lavapipe (Debian: apt install mesa-vulkan-drivers).'
        : process.platform === 'darwin'
          ? 'Run it on a Mac with Metal outside a virtual machine.'
          : 'Update the graphics driver; Windows 10 or later brings a software adapter with DirectX 12.';
  return new Emu3Error(`No WebGPU adapter${prefer === 'auto' ? '' : ` of kind ${prefer}`} was found.`, {
    code: 'no-adapter',
    where: reasons.join('; ') || `${process.platform}-${process.arch}`,
    fix,
  });
}
