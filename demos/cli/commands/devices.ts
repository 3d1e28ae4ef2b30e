import type { Command } from 'commander';
import { requestAdapterNode, type AdapterPreference } from '../../../engine/adapter/request.node.js';
import { Device } from '../../../engine/device.js';
import { Emu3Error } from '../../../kernels/core/errors.js';
import { adapterOption, jsonOption } from '../options.js';
import { jsonText } from '../output.js';
import { formatBytes } from '../report.js';
import type { Terminal } from '../terminal.js';

interface AdapterReport {
  preference: AdapterPreference;
  /** What was found, or why nothing was. */
  description: string;
  kind?: string;
  software?: boolean;
  vendor?: string;
  architecture?: string;
  subgroupSizes?: [number, number];
  features?: string[];
  limits?: Record<string, number>;
  /** Of the device the engine makes: `adapter` takes all that is offered. */
  tier?: string;
  enabledFeatures?: string[];
}

const shownLimits = [
  'maxBufferSize',
  'maxStorageBufferBindingSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupStorageSize',
  'maxStorageBuffersPerShaderStage',
];

export function addDevices(program: Command, terminal: Terminal): void {
  program
    .command('devices')
    .description('list the adapters that can compute here, and the one that is taken')
    .addOption(adapterOption())
    .addOption(jsonOption())
    .action(async (options: { adapter?: AdapterPreference; json?: boolean }) => {
      const preferences: AdapterPreference[] = options.adapter ? [options.adapter] : ['gpu', 'lavapipe', 'swiftshader'];
      const adapters: AdapterReport[] = [];
      for (const preference of preferences) adapters.push(await describe(preference));
      const taken = await describe(options.adapter);
      const none = taken.kind === undefined;
      if (!options.json) terminal.out([...adapters.map(entry), `taken: ${taken.description}\n`].join('\n'));
      else if (!none) terminal.out(jsonText({ taken, adapters }));
      // The caller may have asked for an adapter that is not there.
      if (none) throw noAdapter(taken);
    });
}

function noAdapter({ preference, description }: AdapterReport): Emu3Error {
  return new Emu3Error('No adapter can compute here.', {
    code: 'no-adapter',
    where: `${preference}: ${description}`,
    fix: 'Choose another one with --adapter, or install a Vulkan driver.',
  });
}

async function describe(prefer?: AdapterPreference): Promise<AdapterReport> {
  const preference = prefer ?? 'auto';
  const quiet = { log: () => undefined };
  try {
    const choice = await requestAdapterNode(prefer === undefined ? quiet : { prefer, ...quiet });
    const { info, limits, features } = choice.adapter;
    const report: AdapterReport = {
      preference,
      description: choice.description,
      kind: choice.kind,
      software: choice.software,
      vendor: info.vendor,
      architecture: info.architecture,
      subgroupSizes: [info.subgroupMinSize ?? 0, info.subgroupMaxSize ?? 0],
      features: [...features].sort(),
      limits: readLimits(limits),
    };
    const device = await Device.create(choice);
    report.tier = 'adapter';
    report.enabledFeatures = [...device.gpu.features].sort();
    device.destroy();
    return report;
  } catch (error) {
    if (!(error instanceof Emu3Error)) throw error;
    return { preference, description: `none (${error.where})` };
  }
}

/** All limits: they are getters of the object's class, which spreading would miss. */
function readLimits(limits: GPUSupportedLimits): Record<string, number> {
  const found: Record<string, number> = {};
  for (const name in limits) {
    const value: unknown = Reflect.get(limits, name);
    if (typeof value === 'number') found[name] = value;
  }
  return found;
}

function entry(report: AdapterReport): string {
  const { preference, description, kind, limits = {} } = report;
  if (kind === undefined) return `${preference}: ${description}\n`;
  const limit = (name: string): string => {
    const value = limits[name] ?? 0;
    return `${name} ${/Size$/.test(name) ? formatBytes(value) : value}`;
  };
  return [
    `${preference}: ${description}`,
    `  kind ${kind}${report.software ? ' (software)' : ''}, vendor ${report.vendor || 'unnamed'}`,
    `  limits, tier "${report.tier ?? ''}": ${shownLimits.map(limit).join(', ')}`,
    `  features in use: ${report.enabledFeatures?.join(', ') || 'none'}`,
    `  subgroups of ${report.subgroupSizes?.join(' to ') ?? '?'} lanes`,
    '',
  ].join('\n');
}
